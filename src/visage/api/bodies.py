"""Request bodies: JSON, msgpack, forms and bare pictures into the same models."""

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from visage.api.encoding import parse
from visage.api.schemas import Images
from visage.errors import RequestTooLarge
from visage.images.fetching import Encoded, ImageSource, Raw, source_of
from visage.networks import Loaded, Networks
from visage.options import ExtractOptions

M = TypeVar("M", bound=BaseModel)

# Past this size parsing is handed to a thread; below, that costs more than it saves.
_LARGE = 256 * 1024
_FORM_FIELDS = 64
_MOST_QUERY = 8192  # bytes; the server itself sets no limit, and they are read on the event loop


def is_picture(request: Request) -> bool:
    """Whether the body is one picture's file as it is."""
    kind = _media_type(request)
    return kind.startswith("image/") or kind == "application/octet-stream"


async def read_picture(request: Request, model: type[M]) -> tuple[M, bytes]:
    """A body that is a picture: the query's parameters as `model`, and the file. Raises RequestValidationError."""
    fields = validated(model, _texts(_query(request)), "query")  # before the body: a refusal need not wait for it
    return fields, await request.body()


async def read_body(request: Request, model: type[M]) -> M:
    """A JSON or msgpack body as `model`. Raises RequestValidationError."""
    body = await request.body()
    content_type = request.headers.get("content-type", "")
    if (kind := _media_type(request)).startswith("multipart/"):
        raise _fault(
            "content_type",
            ("header", "content-type"),
            f"{kind} is not read here: send JSON, msgpack or a picture (Content-Type: image/jpeg), "
            "or the form to /multipart/extract or /multipart/draw_detections",
        )
    if len(body) > _LARGE:
        return await asyncio.to_thread(lambda: validated(model, parse(body, content_type)))
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
    try:
        async with request.form(max_files=max_files, max_fields=_FORM_FIELDS) as form:
            return validated(model, _texts(form.items())), await _files(form)
    except HTTPException as exc:  # what Starlette makes of its own MultiPartException inside an application
        if exc.detail.startswith("Too many files"):
            raise RequestTooLarge(f"The request has more than {max_files} images (MAX_IMAGES)") from exc
        raise _fault("form_invalid", ("body",), f"The body is no valid form: {exc.detail}") from exc


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


async def _files(form: FormData) -> list[bytes]:
    return [await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)]


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
