"""Request bodies: JSON, msgpack and forms into the same models."""

import asyncio
from typing import Any, TypeVar

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


async def read_body(request: Request, model: type[M]) -> M:
    """A JSON or msgpack body as `model`. Raises RequestValidationError."""
    body = await request.body()
    content_type = request.headers.get("content-type", "")
    if content_type.startswith(("image/", "multipart/")):
        raise _fault(
            "content_type",
            ("header", "content-type"),
            f"{content_type.split(';')[0]} is not read here: send JSON "
            "or msgpack, or a form to /multipart/extract or /multipart/draw_detections",
        )
    if len(body) > _LARGE:
        return await asyncio.to_thread(lambda: validated(model, parse(body, content_type)))
    return validated(model, parse(body, content_type))


def validated(model: type[M], value: Any) -> M:
    """`value` as `model`; pydantic's faults become FastAPI's, found under "body"."""
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        faults = [
            {**fault, "loc": ("body", *fault["loc"]), "input": _told(fault["input"])}
            for fault in exc.errors(include_url=False)
        ]
        raise RequestValidationError(faults) from exc


async def read_form(request: Request, model: type[M], max_files: int) -> tuple[M, list[bytes]]:
    """A multipart form: its texts as `model`, its files' bytes in order. Raises RequestValidationError."""
    try:
        async with request.form(max_files=max_files, max_fields=_FORM_FIELDS) as form:
            return validated(model, _texts(form)), await _files(form)
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


def answering(options: ExtractOptions, networks: Networks) -> dict[str, Loaded]:
    """By role, the networks that answer a request with these options. Raises RequestValidationError."""
    for field, role, name in (("det_name", "det", options.detector), ("rec_name", "rec", options.recogniser)):
        there = networks.named.get(role, {})
        if name is not None and name not in there:
            known = ", ".join(there) or "none"
            raise _fault("model_not_loaded", ("body", field), f"No such network is loaded; loaded are: {known}", name)
    return networks.answering(det=options.detector, rec=options.recogniser)


def missing(field: str, what: str) -> RequestValidationError:
    return _fault("missing", ("body", field), what)


def _texts(form: FormData) -> dict[str, Any]:
    """Form fields as a JSON body would carry them; an empty one, or the text null, is absent."""
    texts = {
        name: value for name, value in form.items() if isinstance(value, str) and value.strip() not in ("", "null")
    }
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
