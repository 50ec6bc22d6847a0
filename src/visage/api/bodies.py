"""Request bodies: JSON, msgpack, forms and bare pictures into the same models."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from visage.api.encoding import parse
from visage.api.schemas import Images
from visage.errors import RequestTooLarge
from visage.images.fetching import Encoded, ImageSource, Raw, source_of
from visage.networks import Loaded, Networks
from visage.options import ExtractOptions

M = TypeVar("M", bound=BaseModel)

_FORM_FIELDS = 64
_OBJECT = re.compile(rb"[ \t\r\n]*\{")  # how a JSON body begins, and no picture does
_MOST_QUERY = 8192  # bytes; the server itself sets no limit, and they are read on the event loop


async def is_picture(request: Request) -> bool:
    """Whether the body is one picture's file as it is.

    application/octet-stream may be JSON as well, since callers who say nothing of their JSON are read, too.
    """
    kind = _media_type(request)
    if kind == "application/octet-stream":
        return _OBJECT.match(await request.body()) is None
    return kind.startswith("image/")


async def read_picture(request: Request, model: type[M]) -> tuple[M, bytes]:
    """A body that is a picture: the query's parameters as `model`, and the file. Raises RequestValidationError."""
    fields = validated(model, _texts(_query(request)), "query")  # before the body: a refusal need not wait for it
    return fields, await request.body()


async def read_body(request: Request, model: type[M]) -> M:
    """A JSON or msgpack body as `model`. Raises RequestValidationError.

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
    return validated(model, parse(body, content_type))


def validated(model: type[M], value: Any, place: str = "body") -> M:
    """`value` as `model`; pydantic's faults become FastAPI's, found under `place`."""
    try:
        return model.model_validate(value)
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
    reader = _FormReader(request.headers, request.stream(), max_files=max_files, max_fields=_FORM_FIELDS)
    try:
        form = await reader.parse()
    except MultiPartException as exc:
        if exc.message.startswith("Too many files"):
            raise RequestTooLarge(f"The request has more than {max_files} images (MAX_IMAGES)") from exc
        raise _fault("form_invalid", ("body",), f"The body is no valid form: {exc.message}") from exc
    await form.close()
    return validated(model, _texts(form.items())), [b"".join(pieces) for pieces in reader.files]


class _FormReader(MultiPartParser):
    """Keeps files as pieces of the body, in memory, which the door bounds, and joins each once.

    Starlette's own writes them to temporary files (on disk past 1 MB, by a thread for each piece) and reads them back.
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.files: list[list[memoryview]] = []
        self._pieces: list[memoryview] = []

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            super().on_part_data(data, start, end)
        else:
            self._pieces.append(memoryview(data)[start:end])

    def on_part_end(self) -> None:
        super().on_part_end()
        if self._current_part.file is not None:  # one that is cut off never comes here
            self.files.append(self._pieces)
            self._pieces = []


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


def _texts(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Fields of a form or a query as a JSON body would carry them; an empty one, or the text null, is absent."""
    texts = {name: value for name, value in fields if isinstance(value, str) and value.strip() not in ("", "null")}
    if "max_size" in texts:
        return texts | {"max_size": [part.strip() for part in texts["max_size"].strip("[] ").split(",")]}
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
