"""/v1/detect, /v1/embeddings, /v1/compare: pictures in, nothing kept."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from visage.api.bodies import answering, missing, read_body
from visage.api.context import context_of
from visage.api.state import state_of
from visage.api.v1 import answers, documents, schemas
from visage.api.v1.bodies import (
    CompareBody,
    DetectBody,
    DetectFields,
    EmbeddingBody,
    EmbeddingFields,
    Finding,
    Side,
    read,
    source,
)
from visage.api.v1.fields import StrictRoute
from visage.api.v1.recognisers import check_alike
from visage.api.v1.vectors import Form
from visage.errors import ImageError, NoFace, NoRecogniser
from visage.faces import Floats, ImageFaces, Outcome
from visage.images.fetching import ImageSource
from visage.networks import described
from visage.options import ExtractOptions
from visage.verification import similarity, threshold_of, why_chosen

router = APIRouter(prefix="/v1", tags=["v1: faces"], route_class=StrictRoute)

_FOUND = {"status": "ok", "width": 512, "height": 600, "faces": [documents.FACE], "took_ms": 21.4}
_DETECTED = {"images": [_FOUND], "models": {"det": documents.MODELS["det"]}, "took_ms": 22.0}
_EMBEDDED = {
    "images": [_FOUND | {"faces": [documents.FACE | {"embedding": [-0.0512, 0.0377], "norm": 12.39}]}],
    "models": documents.MODELS,
    "took_ms": 37.5,
}
_CHOSEN = {
    "kind": "image",
    "faces": 1,
    "index": 0,
    "box": documents.FACE["box"],
    "landmarks": documents.FACE["landmarks"],
    "score": 0.944,
    "why": "the only face",
}
_COMPARED = {
    "similarity": 0.7312,
    "same": True,
    "threshold": 0.363,
    "threshold_from": "catalogue",
    "a": _CHOSEN,
    "b": {"kind": "vector"},
    "models": documents.MODELS,
    "took_ms": 40.2,
}


@router.post(
    "/detect",
    summary="Faces of images, with their quality",
    responses=documents.answers(schemas.Found, _DETECTED, 413, 422, 503, about="One entry an image, in order"),
    openapi_extra=documents.body(DetectBody, {"images": [documents.PICTURE], "limit": 10}, DetectFields),
)
async def detect(request: Request) -> Response:
    """Boxes, landmarks, sizes and quality of every face, the largest first. A bad image fails alone."""
    fields, sources = await read(request, DetectFields, DetectBody)
    return await _found(request, fields, sources)


@router.post(
    "/embeddings",
    summary="Vectors of all faces of images",
    responses=documents.answers(schemas.Found, _EMBEDDED, 413, 422, 503, about="One entry an image, in order"),
    openapi_extra=documents.body(EmbeddingBody, {"images": [documents.PICTURE]}, EmbeddingFields),
)
async def embeddings(request: Request) -> Response:
    """As /v1/detect, with a vector of unit length for each face. Only the faces that `limit` leaves are embedded."""
    fields, sources = await read(request, EmbeddingFields, EmbeddingBody)
    packed = answers.wants_msgpack(request)
    return await _found(request, fields, sources, fields.vectors or ("bytes" if packed else "numbers"))


async def _found(
    request: Request, fields: DetectFields, sources: list[ImageSource], vectors: Form | None = None
) -> Response:
    attributes = bool(fields.attributes)
    options = fields.options(
        state_of(request).settings,
        limit=fields.limit or 0,
        score=fields.threshold,
        embedding=vectors is not None,
        gender_age=attributes,
        masks=attributes,
    )
    outcomes, models = await extracted(request, options, sources, place_of(fields))
    packed = answers.wants_msgpack(request)
    shape = answers.Shape(fields.landmarks is not False, attributes, bool(fields.crops), vectors, packed)
    context = context_of(request)

    def answer() -> dict[str, Any]:
        images = [answers.image(outcome, shape) for outcome in outcomes]
        return {"images": images, "models": models, "took_ms": context.milliseconds}

    return await answers.answered(request, answer)


async def extracted(
    request: Request, options: ExtractOptions, sources: list[ImageSource], place: str = "body"
) -> tuple[list[Outcome], dict[str, str]]:
    """One outcome a picture, and the networks that answered. `place`: where those that are named come from. Raises what
    the service raises.
    """
    state, context = state_of(request), context_of(request)
    runtime = state.ready()
    networks = answering(options, runtime.networks, place)
    if options.embedding and "rec" not in networks:
        raise NoRecogniser("No recognition network is loaded (REC_NAME): faces have no vectors")
    used = {role: one for role, one in networks.items() if _is_used(role, options)}
    models = described(used)
    context.models = models
    outcomes = await runtime.service.extract(sources, options, context.deadline.part()) if sources else []
    context.count(outcomes)
    return outcomes, models


def place_of(fields: BaseModel) -> str:
    """Where a request's fields are: in the query where the body is a picture, which has none for `images`."""
    return "body" if "images" in type(fields).model_fields else "query"


def _is_used(role: str, options: ExtractOptions) -> bool:
    asked = {"rec": options.embedding, "ga": options.gender_age, "mask": options.masks, "lmk": options.landmarks_106}
    return asked.get(role, True)


@router.post(
    "/compare",
    summary="Is it the same person?",
    responses=documents.answers(schemas.Compared, _COMPARED, 403, 409, 413, 415, 422, 502, 503),
    openapi_extra=documents.body(CompareBody, {"a": {"image": documents.PICTURE}, "b": {"vector": documents.VECTOR}}),
)
async def compare(request: Request) -> Response:
    """The cosine of two faces, each of a picture (its largest face) or a vector, and whether it is one person's."""
    state, context = state_of(request), context_of(request)
    body = await read_body(request, CompareBody)
    sides = {"a": body.a, "b": body.b}
    for name, side in sides.items():
        if (side.image is None) == (side.vector is None):
            raise missing(name, "Either an image or a vector is needed")
    recogniser = answering(ExtractOptions(recogniser=body.rec_name), state.ready().networks).get("rec")
    check_alike({name: side.model for name, side in sides.items()}, recogniser)
    chosen, models = await _chosen(request, body, sides)
    known = recogniser.entry if recogniser else None
    threshold = threshold_of(
        body.threshold,
        state.settings.same_threshold,
        known.threshold if known else None,
        known.name if known else "no network",
    )
    alike = similarity(chosen["a"][0], chosen["b"][0])
    answer = {
        "similarity": alike,
        "same": alike >= threshold.value,
        "threshold": threshold.value,
        "threshold_from": threshold.origin,
        "a": chosen["a"][1],
        "b": chosen["b"][1],
        "models": models,
    }
    return await answers.answered(request, lambda: answer | {"took_ms": context.milliseconds})


async def _chosen(
    request: Request, body: Finding, sides: dict[str, Side]
) -> tuple[dict[str, tuple[Floats, dict[str, Any]]], dict[str, str]]:
    """By side the vector that stands for it, and which face that is. Raises ImageError, NoFace."""
    settings = state_of(request).settings
    shown = [name for name, side in sides.items() if side.image is not None]
    pictures = [source(side.image, settings) for side in sides.values() if side.image is not None]
    options = body.options(settings, limit=1, embedding=bool(pictures))
    outcomes, models = await extracted(request, options, pictures)
    found = {name: _largest(name, outcome) for name, outcome in zip(shown, outcomes, strict=True)}
    for name, side in sides.items():
        if side.vector is not None:
            found[name] = (side.vector, {"kind": "vector"})
    return found, models if pictures else {}


def _largest(side: str, outcome: Outcome) -> tuple[Floats, dict[str, Any]]:
    if isinstance(outcome.result, ImageError):
        raise type(outcome.result)(f"Image {side}: {outcome.result}")
    result: ImageFaces = outcome.result
    if not result.faces:
        raise NoFace(f"Image {side} shows no face: send one with a face, or a lower DEF_DET_THRESH", side=side)
    face = result.faces[0]
    if face.embedding is None:
        raise NoRecogniser("No recognition network is loaded (REC_NAME): faces have no vectors")
    return face.embedding.vector, {
        "kind": "image",
        "faces": result.found,
        "index": 0,
        "box": answers.rounded(face.box),
        "landmarks": answers.rounded(face.landmarks),
        "score": face.score,
        "why": why_chosen(result.found),
    }
