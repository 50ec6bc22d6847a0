"""JSON and msgpack, both ways."""

from typing import Any

import mimeparse
import numpy as np
import orjson
import ormsgpack
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

JSON = "application/json"
MSGPACK = "application/x-msgpack"
_MSGPACK_TYPES = ("application/x-msgpack", "application/msgpack", "application/vnd.msgpack")


def is_msgpack(content_type: str) -> bool:
    """Whether a Content-Type header, with or without parameters, says msgpack."""
    return content_type.split(";", maxsplit=1)[0].strip().lower() in _MSGPACK_TYPES


def accepts(header: str | None, offered: tuple[str, ...], default: str) -> str:
    """The type among `offered` that an Accept header likes best; `default` where it likes several, any or none."""
    if header is None or header in ("*/*", default):  # what nearly every caller says
        return default
    ranges = [item for item in header.lower().split(",") if "/" in item]  # a malformed one costs itself only
    if not ranges:
        return default
    try:
        # mimeparse takes the last of equals: what we prefer goes there.
        ordered = [kind for kind in offered if kind != default] + [default]
        best: str = mimeparse.best_match(ordered, ",".join(ranges))
    except (mimeparse.MimeTypeParseException, ValueError):
        return default
    return best or default


def answer_type(header: str | None, wants_msgpack: bool) -> str:
    """JSON or msgpack, from a request's Accept header and its `msgpack` field."""
    if wants_msgpack:
        return MSGPACK
    return MSGPACK if accepts(header, (JSON, *_MSGPACK_TYPES), JSON) in _MSGPACK_TYPES else JSON


def parse(body: bytes, content_type: str) -> Any:
    """A request's body as Python values. Raises RequestValidationError, as FastAPI does for broken JSON."""
    packed = is_msgpack(content_type)
    try:
        return ormsgpack.unpackb(body) if packed else orjson.loads(body)
    except (ormsgpack.MsgpackDecodeError, orjson.JSONDecodeError, RecursionError) as exc:
        kind = "msgpack" if packed else "json"
        fault = {
            "type": f"{kind}_invalid",
            "loc": ("body",),
            "msg": f"The body is no valid {kind}: {str(exc)[:200]}. Send JSON, or msgpack with Content-Type: {MSGPACK}",
            "input": None,
        }
        raise RequestValidationError([fault]) from exc


def render(value: Any, media_type: str, *, single: bool = True) -> Response:
    """An answer: JSON with float32 numbers printed as 64-bit ones, or msgpack with `single` or double floats."""
    if media_type == MSGPACK:
        return Response(
            ormsgpack.packb(_floats(value, single), option=ormsgpack.OPT_SERIALIZE_NUMPY), media_type=MSGPACK
        )
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)


def _floats(value: Any, single: bool) -> Any:
    """All floats of an answer in the width that msgpack is to carry."""
    if isinstance(value, dict):
        return {key: _floats(inner, single) for key, inner in value.items()}
    if isinstance(value, list):
        return [_floats(inner, single) for inner in value]
    if isinstance(value, np.ndarray):
        return value.astype(np.float32 if single else np.float64) if value.dtype.kind == "f" else value
    if isinstance(value, float) and single:
        return np.float32(value)
    return value
