"""A call before it is sent and after it was answered: no input or output here, so that both clients share it."""

import base64
import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgpack

from visage_client.errors import BadAnswer, Refused, refusal, shown
from visage_client.pictures import Image, Read, is_array, is_file_array, is_one, listed, read, written
from visage_client.vectors import VectorLike, is_bytes, packed
from visage_client.vectors import listed as listed_vectors

T = TypeVar("T")

Form = Literal["msgpack", "json"]

JSON = "application/json"
MSGPACK = "application/msgpack"
NDJSON = "application/x-ndjson"
_MSGPACK_TYPES = (MSGPACK, "application/x-msgpack", "application/vnd.msgpack")
# A longer one would be refused by the service, or by what is before it.
_LONGEST_QUERY = 4096
_ACCEPT = {"msgpack": "application/x-msgpack, application/json;q=0.5", "json": JSON}


@dataclass(frozen=True, slots=True)
class Prepared:
    """What goes over the wire."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over it."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    reason: str = ""

    def value(self) -> Any:
        """The body as plain values. Raises BadAnswer."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if kind in _MSGPACK_TYPES:
                return msgpack.unpackb(self.content, raw=False, strict_map_key=False)
            return json.loads(self.content) if self.content else None
        except (ValueError, msgpack.UnpackException) as exc:
            raise BadAnswer(
                f"what answers is no visage: {kind or 'no type'} that cannot be read", status=self.status
            ) from exc

    def error(self) -> Refused:
        try:
            body = self.value()
        except BadAnswer:
            body = None
        return refusal(self.status, body, self.reason, self.headers.get("x-request-id"))


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """`prepare` makes the request, reading files where there are any; `parse` makes the result of a 2xx answer.

    Every call may be sent twice: it reads, or computes, or carries an idempotency key. `unfinished`: whether an answer
    says that the service could not finish, so that another try is worth it.
    """

    prepare: Callable[[Form], Prepared]
    parse: Callable[[Answer], T]
    unfinished: Callable[[Answer], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class Body:
    """A request's values; pictures and vectors are written as its form has them.

    `images` go under the key images. `bare`: one picture may be the body itself, with the other values in the query.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    images: Image | Sequence[Image] | None = None
    vectors: Sequence[VectorLike] | None = None
    bare: bool = False

    def prepared(self, method: str, path: str, form: Form, headers: Mapping[str, str]) -> Prepared:
        """Raises OSError, ValueError, TypeError."""
        values = given(self.values)
        images = None if self.images is None else [read(image) for image in listed(self.images)]
        accept = {"Accept": _ACCEPT[form], **headers}
        if self.bare and images is not None and len(images) == 1 and isinstance(images[0], bytes):
            query = {name: _in_query(value) for name, value in values.items()}
            if len(urlencode(query)) <= _LONGEST_QUERY:
                return Prepared(method, path, query, {**accept, "Content-Type": _picture_type(images[0])}, images[0])
        if images is not None:
            values["images"] = [written(image, as_json=form == "json") for image in images]
        if self.vectors is not None:
            values["vectors"] = [vector_in(vector, form) for vector in listed_vectors(self.vectors)]
        return Prepared(method, path, {}, {**accept, "Content-Type": content_type(form)}, content(values, form))


class Lines:
    """A body as it comes, cut into lines. These end in a newline, and in nothing else that names may hold."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        return whole

    def last(self) -> list[bytes]:
        """What stands without an end."""
        return [self._rest] if self._rest else []


def content(values: Any, form: Form) -> bytes:
    """Raises TypeError for what a body cannot hold, ValueError for NaN in JSON."""
    if form == "json":
        return in_json(values).encode()
    made: bytes = msgpack.packb(values, use_bin_type=True, default=_plain)
    return made


def in_json(values: Any) -> str:
    return json.dumps(values, separators=(",", ":"), default=_plain, allow_nan=False)


def _plain(value: Any) -> Any:
    """Of NumPy's numbers and arrays what they hold."""
    if is_array(value) and hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a field holds texts, numbers, true, false, None, lists and dicts, and not {type(value).__name__}")


def content_type(form: Form) -> str:
    return JSON if form == "json" else MSGPACK


def vector_in(vector: VectorLike, form: Form) -> bytes | str:
    data = packed(vector)
    return data if form == "msgpack" else base64.b64encode(data).decode()


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was left out: the service's defaults hold for it."""
    return {name: value for name, value in values.items() if value is not None}


def accepting(form: Form) -> dict[str, str]:
    return {"Accept": _ACCEPT[form]}


def path_of(*parts: str) -> str:
    """Of segments, each quoted: an id is never more than one, nor less.

    Raises ValueError for "", "." and "..", which every HTTP client takes out of a path before it sends it: what is left
    would name something else; and TypeError for what is no text.
    """
    for part in parts:
        if not isinstance(part, str):
            raise TypeError(f"a name or an id is text, and not {type(part).__name__}: {shown(part)}")
        if part in ("", ".", ".."):
            raise ValueError(f"{part!r} names no collection, person or face")
    return "/" + "/".join(quote(part, safe="") for part in parts)


def side(what: Image | VectorLike | None, form: Form) -> dict[str, Any]:
    """One of two that are compared: a picture, or a row of numbers."""
    if what is None:
        raise ValueError("two are compared: a picture or a vector each")
    if not is_one(what) or _is_row(what):
        return {"vector": vector_in(what, form)}  # type: ignore[arg-type] # the line above has told
    image: Read = read(what)  # type: ignore[arg-type] # nor is it a vector
    return {"image": written(image, as_json=form == "json")}


def _is_row(what: object) -> bool:
    """Of what may be a picture as well: whether it is a row of numbers, and not the bytes of a file."""
    if isinstance(what, memoryview | array):
        return not is_bytes(what)
    return is_array(what) and getattr(what, "ndim", 0) == 1 and not is_file_array(what)


def _picture_type(data: bytes) -> str:
    """That it is a picture must be said; of what kind the service sees from its bytes."""
    known = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png"}
    return known.get(data[:2], "image/x-unknown")


def _in_query(value: Any) -> str:
    if is_array(value):
        value = _plain(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return in_json(value) if isinstance(value, Mapping) else str(value)
