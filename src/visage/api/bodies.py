"""Request bodies: JSON, msgpack, forms and bare pictures into the same models."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from visage.api.encoding import STRIPPED, is_msgpack, parse
from visage.api.forms import FormReader
from visage.api.schemas import Images
from visage.errors import RequestTooLarge
from visage.images.fetching import Encoded, ImageSource, Raw, source_of
from visage.images.signatures import is_picture as begins_as_picture
from visage.images.signatures import is_stripped_picture
from visage.networks import Loaded, Networks
from visage.options import ExtractOptions

M = TypeVar("M", bound=BaseModel)

_FORM_FIELDS = 64
# How a JSON body begins, and no picture does: in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.
_OBJECT = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|(?:\0\0)?\xfe\xff)?[ \t\r\n\0]*\{")
_OCTETS = ("application/octet-stream", "binary/octet-stream")
_MOST_QUERY = 8192  # bytes; the server itself sets no limit, and they are read on the event loop


async def is_picture(request: Request) -> bool:
    """Whether the body is one picture's file as it is: it says so, or its first bytes do, whatever else it says.

    Bytes of no kind (application/octet-stream) are one unless they are JSON, which callers send so, too. What says that
    it is msgpack is that, since it may begin with any byte; a form is told where forms are read.
    """
    kind = _media_type(request)
    if kind.startswith("image/"):
        return True
    if is_msgpack(kind) or kind.startswith("multipart/"):
        return False
    body = await request.body()
    return begins_as_picture(body) or (kind in _OCTETS and _OBJECT.match(body) is None)


async def read_picture(request: Request, model: type[M]) -> tuple[M, bytes]:
    """A body that is a picture: the query's parameters as `model`, and the file. Raises RequestValidationError."""
    # Before the body: a refusal need not wait for it.
    fields = validated(model, _texts(_query(request), model), "query")
    body = await request.body()
    if is_stripped_picture(body):
        raise _fault("picture_stripped", ("body",), STRIPPED)
    if _OBJECT.match(body):
        said = f"The body is JSON, and not {_media_type(request)}: send it with Content-Type: application/json"
        raise _fault("content_type", ("header", "content-type"), said)
    return fields, body


async def read_body(request: Request, model: type[M], *, or_picture: bool = False) -> M:
    """A JSON or msgpack body as `model`; `or_picture`: the route takes a picture's file, too, which this is not. Raises
    RequestValidationError.

    On the event loop, however large: both parsers keep the interpreter's lock, so that a thread would hold the loop up
    as long and cost a change of thread besides.
    """
    body = await request.body()
    content_type = request.headers.get("content-type", "")
    if (kind := _media_type(request)).startswith("multipart/"):
        raise _fault(
            "content_type",
            ("header", "content-type"),
            f"{kind} is not read here: send JSON, msgpack or a picture (Content-Type: image/jpeg), "
            "or the form to /multipart/extract or /multipart/draw_detections",
        )
    value = parse(body, content_type, or_picture=or_picture)
    return validated(model, value, written=None if is_msgpack(content_type) else body)


def validated(model: type[M], value: Any, place: str = "body", *, written: bytes | None = None) -> M:
    """`value` as `model`; pydantic's faults become FastAPI's, found under `place`. `written`: the JSON that it was."""
    try:
        return model.model_validate(value, context={"written": written})
    except ValidationError as exc:
        faults = [
            {**fault, "loc": (place, *fault["loc"]), "input": _told(fault["input"])}
            for fault in exc.errors(include_url=False)
        ]
        raise RequestValidationError(faults) from exc


async def read_form(request: Request, model: type[M], max_files: int) -> tuple[M, list[bytes]]:
    """A multipart form: its texts as `model`, its files' bytes in order. Raises RequestValidationError."""
    if _media_type(request) != "multipart/form-data":
        return validated(model, {}), []
    reader = FormReader(request.headers, request.stream(), max_files=max_files, max_fields=_FORM_FIELDS)
    try:
        form = await reader.parse()
    except MultiPartException as exc:
        if exc.message.startswith("Too many files"):
            raise RequestTooLarge(f"The request has more than {max_files} images (MAX_IMAGES)") from exc
        raise _fault("form_invalid", ("body",), f"The body is no valid form: {exc.message}") from exc
    await form.close()
    return validated(model, _texts(form.multi_items(), model)), reader.files


def image_sources(images: Images, headers: dict[str, str], most: int) -> tuple[list[ImageSource], list[str]]:
    """The images that a body names, and what is to be said about that choice: `urls` win over `data`.

    Raises RequestTooLarge.
    """
    count = len(images.urls or images.data or [])
    if count > most:
        raise RequestTooLarge(f"The request has {count} images; at most {most} are taken at a time (MAX_IMAGES)")
    if images.urls:
        said = ["images.data was not used: images.urls was given too"] if images.data else []
        return [source_of(url, headers) for url in images.urls], said
    return [Raw(item) if isinstance(item, bytes) else Encoded(item) for item in images.data or []], []


def answering(options: ExtractOptions, networks: Networks, place: str = "body") -> dict[str, Loaded]:
    """By role, the networks that answer a request with these options, which came in `place`.

    Raises RequestValidationError.
    """
    for field, role, name in (("det_name", "det", options.detector), ("rec_name", "rec", options.recogniser)):
        there = networks.named.get(role, {})
        if name is not None and name not in there:
            known = ", ".join(there) or "none"
            raise _fault("model_not_loaded", (place, field), f"No such network is loaded; loaded are: {known}", name)
    return networks.answering(det=options.detector, rec=options.recogniser)


def missing(field: str, what: str) -> RequestValidationError:
    return _fault("missing", ("body", field), what)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";", maxsplit=1)[0].strip().lower()


def _query(request: Request) -> list[tuple[str, str]]:
    query: bytes = request.scope["query_string"]
    if len(query) > _MOST_QUERY:
        raise _fault("query_too_long", ("query",), f"The query has {len(query)} bytes; at most {_MOST_QUERY} are read")
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True)


def _texts(fields: Iterable[tuple[str, Any]], model: type[BaseModel]) -> dict[str, Any]:
    """Fields of a form or a query as a JSON body would carry them. The last of a name counts, but of a size that comes
    one number at a time; an empty one, or the text null, is absent.
    """
    known = model.model_fields
    given = [
        (name, value)
        for name, value in fields
        if isinstance(value, str) and (value.strip() not in ("", "null") or name not in known)
    ]
    texts: dict[str, Any] = dict(given)
    if "max_size" in texts:
        sizes = [value for name, value in given if name == "max_size"]
        whole = sizes[-1:] if any("," in size for size in sizes) else sizes
        texts["max_size"] = [part.strip() for size in whole for part in size.strip("[] ").split(",")]
    return texts


def _told(value: Any) -> Any:
    """What an error repeats of a caller's value: of a list or an object only its size.

    To print it could take seconds, show a picture, or go deeper than Python's stack.
    """
    match value:
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"an object of {len(value)}"
        case _:
            return value


def _fault(kind: str, where: tuple[str, ...], message: str, given: str | None = None) -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": where, "msg": message, "input": given}])
