"""/extract and its multipart twin: faces, embeddings and attributes of many images."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from visage.api.answers import embeddings, extraction, shape_of
from visage.api.bodies import answering, image_sources, is_picture, missing, read_body, read_form, read_picture
from visage.api.context import RequestContext, context_of
from visage.api.documents import Form, picture_content, query_parameters, schema
from visage.api.encoding import MSGPACK, answer_type, render
from visage.api.refusals import declared
from visage.api.samples import PICTURE
from visage.api.schemas import ExtractAnswer, ExtractBody, ExtractFields
from visage.api.state import state_of
from visage.faces import Outcome
from visage.images.fetching import ImageSource, Raw
from visage.networks import described

router = APIRouter(tags=["faces"])

# Past so many outcomes writing the answer is handed to a thread.
_MANY_FACES = 32

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ExtractAnswer,
        "description": "One entry an image, in order. A list of lists for `api_ver` 1; other entries for `embed_only`",
        "content": {MSGPACK: {}},
    },
    **declared(413, 415, 422, 503),
}


_EXAMPLE = {"images": {"data": [PICTURE]}, "threshold": 0.6, "return_landmarks": True}
FORM = Form("ExtractForm", ExtractFields, "files", many=True)


@router.post(
    "/extract",
    summary="Faces of images",
    responses=_ANSWERS,
    openapi_extra={
        "parameters": query_parameters(ExtractFields),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema(ExtractBody), "example": _EXAMPLE},
                MSGPACK: {"schema": schema(ExtractBody)},
                **picture_content(),
            },
        },
    },
)
async def extract(request: Request) -> Response:
    """Boxes, landmarks, aligned crops, embeddings and attributes for every face of every image.

    A bad image is `failed` in a 200; its neighbours keep their faces. The leanest way to send one picture is its
    file as the body, with the fields in the query:

    `curl --data-binary @a.jpg -H 'Content-Type: image/jpeg' 'http://127.0.0.1:18080/extract?return_landmarks=true'`
    """
    if await is_picture(request):
        fields, data = await read_picture(request, ExtractFields)
        return await _answer(request, fields, [Raw(data)], [], place="query")
    settings = state_of(request).settings
    body = await read_body(request, ExtractBody, or_picture=True)
    sources, warnings = image_sources(body.images, body.headers_or(settings), settings.max_images)
    return await _answer(request, body, sources, warnings)


@router.post(
    "/multipart/extract",
    summary="Faces of uploaded files",
    responses=_ANSWERS,
    openapi_extra={"requestBody": {"required": True, "content": FORM.content}},
)
async def multipart_extract(request: Request) -> Response:
    """/extract for a form with one or several files; its other fields are those of /extract."""
    settings = state_of(request).settings
    fields, files = await read_form(request, ExtractFields, settings.max_images)
    if not files:
        raise missing("files", "At least one file is needed: -F files=@picture.jpg")
    return await _answer(request, fields, [Raw(data) for data in files], [])


async def _answer(
    request: Request, fields: ExtractFields, sources: list[ImageSource], warnings: list[str], place: str = "body"
) -> Response:
    """`place`: where the fields came from, for what is to be said of them."""
    state, context = state_of(request), context_of(request)
    options, runtime = fields.options(state.settings), state.ready()
    context.models = described(answering(options, runtime.networks, place))
    outcomes = await runtime.service.extract(sources, options, context.deadline, crops=bool(fields.embed_only))
    context.count(outcomes)
    media_type = answer_type(", ".join(request.headers.getlist("accept")), bool(fields.msgpack))
    shape = shape_of(
        fields.api_ver_or(state.settings),
        state.settings.compat_api,
        landmarks=fields.landmarks_or(state.settings),
        verbose=bool(fields.verbose_timings),
    )

    def written() -> Response:
        write = embeddings if fields.embed_only else extraction
        answer = write(
            outcomes, options, shape, total_ms=context.milliseconds, models=dict(context.models), warnings=warnings
        )
        return render(answer, media_type, single=shape.form != "0.7")

    return await _written(written, outcomes, context)


async def _written(written: Any, outcomes: list[Outcome], context: RequestContext) -> Response:
    if len(outcomes) + context.faces > _MANY_FACES:
        response: Response = await asyncio.to_thread(written)
    else:
        response = written()
    return response
