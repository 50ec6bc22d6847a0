"""Errors → HTTP, in one table (RFC 9457).

On the compatible routes `detail` keeps the type that clients of the reference know: FastAPI's list for 422, else
a string; the rest of the problem stands beside it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from visage import errors
from visage.codings import CODINGS
from visage.errors import VisageError

STATUS: dict[type[VisageError], int] = {
    errors.ImageError: 422,
    errors.ImageUndecodable: 422,
    errors.CropRejected: 422,
    errors.UnsupportedFormat: 415,
    errors.ImageTooLarge: 413,
    errors.PathForbidden: 403,
    errors.UrlForbidden: 403,
    errors.ImageUnreachable: 502,
    errors.RequestTooLarge: 413,
    errors.UnknownContentCoding: 415,
    errors.BodyBroken: 400,
    errors.Overloaded: 503,
    errors.RateLimited: 429,
    errors.InferenceFailed: 500,
    errors.Unauthorised: 401,
    errors.Forbidden: 403,
    errors.BackendUnavailable: 501,
    errors.NoRecogniser: 501,
    errors.NoFace: 422,
    errors.ThresholdUnknown: 422,
    errors.KeyReused: 409,
    errors.SearchError: 422,
    errors.CollectionMissing: 404,
    errors.PersonMissing: 404,
    errors.FaceMissing: 404,
    errors.AlreadyThere: 409,
    errors.EmbeddingMismatch: 409,
    errors.StoreUnavailable: 503,
    VisageError: 500,
}

# Names for programs that are not the class's own.
_KINDS: dict[type[VisageError], str] = {errors.KeyReused: "idempotency-key-reused"}

# A validation error repeats what was sent; a picture is too much of it.
_MOST_INPUT = 200


def status_of(error: VisageError) -> int:
    """The status of the nearest ancestor that the table names."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def kind_of(error: VisageError) -> str:
    """A stable name for programs: ImageUndecodable → image-undecodable."""
    return _KINDS.get(type(error)) or re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


def described(error: VisageError) -> dict[str, str]:
    """The `error` object of a failed image inside a batch."""
    return {"type": f"urn:visage:{kind_of(error)}", "title": error.title, "detail": str(error)}


def problem(
    status: int,
    title: str,
    detail: Any,
    *,
    kind: str = "",
    compat: bool = False,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """A problem document; under COMPAT_API only the reference's `detail`."""
    body: dict[str, Any] = {"detail": detail}
    if not compat:
        body = {
            "type": f"urn:visage:{kind}" if kind else "about:blank",
            "title": title,
            "status": status,
            **body,
            **more,
        }
    media = "application/json" if compat else "application/problem+json"
    return Response(orjson.dumps(body), status, dict(headers or {}), media)


def problem_of(error: VisageError, *, compat: bool = False) -> Response:
    return problem(
        status_of(error),
        error.title,
        str(error),
        kind=kind_of(error),
        compat=compat,
        headers=_headers(error),
        **_members(error),
    )


def _headers(error: VisageError) -> Mapping[str, str] | None:
    match error:
        case errors.Overloaded() | errors.StoreUnavailable():
            return {"Retry-After": str(error.retry_after)}
        case errors.Unauthorised() if status_of(error) == 401:
            return {"WWW-Authenticate": "Bearer"}
        case errors.UnknownContentCoding():
            return {"Accept-Encoding": ", ".join(CODINGS)}
        case _:
            return None


def _members(error: VisageError) -> dict[str, Any]:
    """What an error tells beside its text (RFC 9457, 3.2)."""
    match error:
        case errors.NothingEnrolled():
            return {"images": list(error.images)}
        case errors.NoFace() if error.side:
            return {"side": error.side}
        case _:
            return {}


def validation_problem(faults: Sequence[Any], *, compat: bool = False) -> Response:
    """422 with FastAPI's list: where, what, and the start of what was sent."""
    listed = [
        {"loc": list(fault["loc"]), "msg": fault["msg"], "type": fault["type"], "input": _short(fault.get("input"))}
        for fault in faults
    ]
    return problem(422, "Validation error", listed, kind="validation", compat=compat)


def _short(value: Any) -> Any:
    if isinstance(value, bool | int | type(None)):
        return value if not isinstance(value, int) or abs(value) < 2**53 else str(value)[:_MOST_INPUT]
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _MOST_INPUT else text[:_MOST_INPUT] + "…"
