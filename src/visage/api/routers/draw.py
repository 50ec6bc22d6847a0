"""Pictures with the faces drawn in."""

from typing import Any

from fastapi import APIRouter, Request, Response

from visage.api import answers
from visage.api.bodies import answering, image_sources, is_picture, missing, read_body, read_form, read_picture
from visage.api.context import context_of
from visage.api.documents import Form, picture_content, query_parameters, schema
from visage.api.encoding import accepts
from visage.api.refusals import declared
from visage.api.samples import PICTURE
from visage.api.schemas import DrawBody, DrawFields
from visage.api.state import state_of
from visage.drawing import draw
from visage.faces import Outcome
from visage.images.fetching import ImageSource, Raw
from visage.networks import described

router = APIRouter(tags=["pictures"])

_EXAMPLE = {"images": {"data": [PICTURE]}, "threshold": 0.6}
FORM = Form("DrawForm", DrawFields, "file")
_JPEG, _PNG = "image/jpeg", "image/png"
_QUALITY = 95

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {_JPEG: {}, _PNG: {}}, "description": "The picture; PNG for `Accept: image/png`"},
    **declared(403, 413, 415, 422, 502, 503),
}


@router.post(
    "/draw_detections",
    summary="Draw the faces of an image",
    responses=_ANSWERS,
    response_class=Response,
    openapi_extra={
        "parameters": query_parameters(DrawFields),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema(DrawBody), "example": _EXAMPLE}, **picture_content()},
        },
    },
)
async def draw_detections(request: Request) -> Response:
    """The first image with boxes, landmarks, scores and sizes drawn in.

    Or a picture's file as the body, with the fields in the query:

    `curl --data-binary @a.jpg -H 'Content-Type: image/jpeg' -o drawn.jpg http://127.0.0.1:18080/draw_detections`
    """
    if await is_picture(request):
        fields, data = await read_picture(request, DrawFields)
        return await _drawn(request, fields, Raw(data), place="query")
    body = await read_body(request, DrawBody, or_picture=True)
    settings = state_of(request).settings
    sources, _ = image_sources(body.images, body.headers_or(settings), settings.max_images)
    if not sources:
        raise missing("images", "One image is needed, in images.data or images.urls")
    return await _drawn(request, body, sources[0])


@router.post(
    "/multipart/draw_detections",
    summary="Draw the faces of an uploaded file",
    responses=_ANSWERS,
    response_class=Response,
    openapi_extra={"requestBody": {"required": True, "content": FORM.content}},
)
async def multipart_draw_detections(request: Request) -> Response:
    """/draw_detections for a form with a `file`."""
    fields, files = await read_form(request, DrawFields, state_of(request).settings.max_images)
    if not files:
        raise missing("file", "A file is needed: -F file=@picture.jpg")
    return await _drawn(request, fields, Raw(files[0]))


async def _drawn(request: Request, fields: DrawFields, source: ImageSource, place: str = "body") -> Response:
    state, context = state_of(request), context_of(request)
    options, runtime = fields.options(state.settings), state.ready()
    networks = answering(options, runtime.networks, place)
    context.models = described(networks)
    image = await runtime.service.read(source, context.deadline)
    found = await runtime.service.faces(image, options, context.deadline)
    context.count([Outcome(found)])
    wants_png = accepts(", ".join(request.headers.getlist("accept")), (_JPEG, _PNG), _JPEG) == _PNG

    def picture() -> bytes:
        canvas = draw(image.pixels, found, fields.drawing(), networks["det"].entry.name)
        return answers.png(canvas) if wants_png else answers.jpeg(canvas, _QUALITY)

    content = await runtime.service.run_in_worker(picture, context.deadline)
    return Response(content, media_type=_PNG if wants_png else _JPEG)
