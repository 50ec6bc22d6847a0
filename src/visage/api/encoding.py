"""JSON and msgpack, both ways."""

import codecs
import json
from dataclasses import dataclass
from typing import Any

import mimeparse
import msgpack
import numpy as np
import orjson
import ormsgpack
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from visage.images.signatures import is_picture, is_stripped_picture

JSON = "application/json"
MSGPACK = "application/x-msgpack"
STRIPPED = (
    "The picture lost its line breaks and NUL bytes on the way, as with curl -d: send it with "
    "curl --data-binary @a.jpg -H 'Content-Type: image/jpeg'"
)
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


def parse(body: bytes, content_type: str, *, or_picture: bool = False) -> Any:
    """A request's body as Python values; `or_picture`: the route takes a picture's file as well, for what is said of
    a body that is neither. Raises RequestValidationError, as FastAPI does for broken JSON.
    """
    packed = is_msgpack(content_type)
    try:
        return read_msgpack(body) if packed else read_json(body)
    except (ValueError, RecursionError) as exc:
        kind, said = _unreadable(body, str(exc)[:200], packed=packed, or_picture=or_picture)
        raise RequestValidationError([{"type": kind, "loc": ("body",), "msg": said, "input": None}]) from exc


def read_json(body: bytes) -> Any:
    """In UTF-8, UTF-16 or UTF-32, with a byte order mark or without. Raises ValueError, RecursionError."""
    return orjson.loads(as_utf8(body))


def as_utf8(body: bytes) -> bytes:
    """A JSON text in UTF-8; what it is in is told by its first bytes, as by Python's own `json`. Raises ValueError."""
    found = json.detect_encoding(body)
    if found == "utf-8":  # nearly always
        return body
    return body[len(codecs.BOM_UTF8) :] if found == "utf-8-sig" else body.decode(found).encode()


def read_msgpack(body: bytes) -> Any:
    """Extensions become an `Extension`, keys that are no texts an `OtherKey`: fields that nobody reads may hold what
    they like. Raises ValueError, RecursionError.
    """
    try:
        return ormsgpack.unpackb(body, ext_hook=Extension.of)
    except ormsgpack.MsgpackDecodeError:
        try:  # the slower parser can be told what to do with other keys
            return msgpack.unpackb(body, strict_map_key=False, object_pairs_hook=_mapped, ext_hook=Extension.of)
        except (ValueError, msgpack.UnpackException):
            pass
        raise


@dataclass(frozen=True, slots=True)
class Extension:
    """What a msgpack extension type carried is of no use here."""

    code: int

    @classmethod
    def of(cls, code: int, _: bytes) -> "Extension":
        return cls(code)


@dataclass(frozen=True, slots=True, eq=False)
class OtherKey:
    """A key of a msgpack map that is no text. Each is like no other: numbers could be chosen so that a dict of them
    takes for ever.
    """

    said: str

    def __str__(self) -> str:
        return self.said


def _mapped(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return {key if isinstance(key, str) else OtherKey(_said(key)): value for key, value in pairs}


def _said(key: Any) -> str:
    return repr(key) if isinstance(key, int | float | None) else f"a {type(key).__name__}"


def _unreadable(body: bytes, why: str, *, packed: bool, or_picture: bool) -> tuple[str, str]:
    """A name and the words for what a body is, and what to do about it."""
    if is_stripped_picture(body):
        return "picture_stripped", STRIPPED
    name = "msgpack" if packed else "json"
    kind = f"{name}_invalid"
    if is_picture(body) and not or_picture:
        why = "it is a picture's file, and here pictures stand in JSON as base64 or in msgpack as bytes"
    said = f"The body is no valid {name}: {why}. Send JSON, or msgpack with Content-Type: {MSGPACK}"
    if or_picture:
        said += ", or a picture's file as it is: curl --data-binary @a.jpg -H 'Content-Type: image/jpeg'"
    return kind, said


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
