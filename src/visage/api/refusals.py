"""What the API's document says of refusals: which statuses a route may answer with, and the bodies that they have.

The bodies are written by `problems`, which writes those of the service: what is shown is what comes.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response

from visage import errors
from visage.api.access import NO_KEY, need_of
from visage.api.door import speaks_compat
from visage.api.problems import problem, problem_of, validation_problem
from visage.api.unpacking import too_large
from visage.codings import CODINGS
from visage.errors import VisageError
from visage.images.foreign import unread
from visage.settings import Settings

_NO_SCOPE = "This needs a key with the scope write; 'door' has read"
_NOT_PUBLIC = "169.254.169.254 is not an address that pictures are fetched from"
_CODING = f"Content-Encoding: 'compress' is not undone here; known are {', '.join(CODINGS)}"
_FAULT = {
    "loc": ["body", "threshold"],
    "msg": "Input should be less than or equal to 1",
    "type": "less_than_equal",
    "input": 1.5,
}
# A refusal as the service writes it; True: in the reference's form.
_Written = Callable[[bool], Response]


class _Refusal(NamedTuple):
    about: str
    examples: Mapping[str, _Written]


def _of(error: VisageError) -> _Written:
    return lambda compat: problem_of(error, compat=compat)


_REFUSALS: dict[int, _Refusal] = {
    400: _Refusal(
        "The body cannot be unpacked",
        {"packed": _of(errors.BodyBroken("The body is not what Content-Encoding says: it is no valid gzip"))},
    ),
    401: _Refusal("Under AUTH=keys: who calls is not known", {"no key": _of(errors.Unauthorised(NO_KEY))}),
    403: _Refusal(
        "Not allowed: the caller, or a path or an address that the request names",
        {"scope": _of(errors.Forbidden(_NO_SCOPE)), "address": _of(errors.UrlForbidden(_NOT_PUBLIC))},
    ),
    404: _Refusal(
        "No such collection, person or face",
        {"collection": _of(errors.CollectionMissing("there is no collection 'staff'"))},
    ),
    409: _Refusal(
        "Already there, vectors of another recogniser, or an idempotency key used for another request",
        {"there": _of(errors.AlreadyThere("there is a collection 'staff' already"))},
    ),
    413: _Refusal(
        "Body, picture or number of images over the limit",
        {"body": _of(too_large(67_108_864))},
    ),
    415: _Refusal(
        "Picture format or encoding of the body not read",
        {
            "format": _of(unread("JPEG XL")),
            "coding": _of(errors.UnknownContentCoding(f"{_CODING}; or send the body as it is")),
        },
    ),
    422: _Refusal(
        "The request does not say what it should, or a picture does not show it",
        {"field": lambda compat: validation_problem([_FAULT], compat=compat)},
    ),
    429: _Refusal(
        "Under AUTH=keys: more often than the key allows; Retry-After says when to try again",
        {"rate": _of(errors.RateLimited("The key 'door' may make 600 requests a minute", retry_after=3))},
    ),
    500: _Refusal(
        "Only another process can answer",
        {
            "self check": lambda compat: problem(
                500, "Internal error", "self check failed", kind="self-check", compat=compat
            )
        },
    ),
    501: _Refusal(
        "No recognition network is loaded",
        {"none": _of(errors.NoRecogniser("No recognition network is loaded (REC_NAME): faces have no vectors"))},
    ),
    502: _Refusal(
        "A picture cannot be fetched", {"not there": _of(errors.ImageUnreachable("File: 'anna.jpg' not found"))}
    ),
    503: _Refusal(
        "No room, not ready, too late, or the store is away; Retry-After says when to try again",
        {
            "full": _of(errors.Overloaded("24 requests are being worked on; try again in 1 s", retry_after=1)),
            "starting": _of(errors.NotReady("The networks are still being loaded", retry_after=1)),
        },
    ),
}
_MET_AT_THE_DOOR = (401, 403, 429)
_OF_A_BODY = (400, 413, 415, 422)


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: refusals of its own, which `declare` words."""
    return {status: {"description": _REFUSALS[status].about} for status in statuses}


def declare(document: dict[str, Any], settings: Settings, guarded: Callable[[str, str], bool]) -> None:
    """Write into an OpenAPI document what each route may refuse and how: those that it names itself, and those of the
    door. `guarded`: whether a method and path need a place inside.
    """
    for path, operations in document["paths"].items():
        compat = speaks_compat(settings, path)
        for method, operation in operations.items():
            found = operation["responses"]
            named = {int(status) for status in found if status.isdigit() and int(status) in _REFUSALS}
            for status in sorted(named | set(_general(method.upper(), path, operation, settings, guarded))):
                found[str(status)] = _told(status, compat=compat)
            operation["responses"] = dict(sorted(found.items()))
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which no route answers with
        schemas.pop(unused, None)


def _general(
    method: str,
    path: str,
    operation: Mapping[str, Any],
    settings: Settings,
    guarded: Callable[[str, str], bool],
) -> Iterator[int]:
    if need_of(method, path, metrics_public=settings.metrics_public) is not None:
        yield from _MET_AT_THE_DOOR
    if "requestBody" in operation:
        yield from _OF_A_BODY
    if guarded(method, path):
        yield 503


def _told(status: int, *, compat: bool) -> dict[str, Any]:
    about, examples = _REFUSALS[status]
    written = {name: write(compat) for name, write in examples.items()}
    [media] = {response.media_type for response in written.values()}
    schema = {"$ref": "#/components/schemas/Problem"}
    told: dict[str, Any] = {
        "description": about,
        "content": {
            media: {
                "schema": {"type": "object", "properties": {"detail": {}}} if compat else schema,
                "examples": {name: {"value": orjson.loads(response.body)} for name, response in written.items()},
            }
        },
    }
    sent = {name for response in written.values() for name in response.headers}
    if headers := {name: _HEADERS[name] for name in _HEADERS if name.lower() in sent}:
        told["headers"] = headers
    return told


_HEADERS = {
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}},
    "Accept-Encoding": {"description": "Codings that are undone", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}},
}
