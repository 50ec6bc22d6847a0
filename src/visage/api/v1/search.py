"""/v1/collections/{collection}/search: who is this?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response

from visage.api.bodies import missing
from visage.api.context import context_of
from visage.api.problems import described
from visage.api.state import state_of
from visage.api.v1 import answers, documents, schemas
from visage.api.v1.answers import Shape
from visage.api.v1.bodies import SearchBody, SearchFields, read
from visage.api.v1.collections import Name, named, run
from visage.api.v1.faces import extracted, place_of
from visage.api.v1.fields import StrictRoute
from visage.api.v1.recognisers import bound, check_length, check_model
from visage.errors import ImageError, SearchError
from visage.faces import Face, Floats, Outcome
from visage.images.fetching import ImageSource
from visage.search import filters
from visage.search.base import Collection, Match, Question, Store
from visage.verification import Threshold, threshold_of

router = APIRouter(prefix="/v1", tags=["v1: search"], route_class=StrictRoute)

_TOP = 5
# Of one request. A match may carry its person's metadata (64 KiB) and what is told of the face (64 KiB): their bytes
# are counted, and so many are read at a time that a number of large ones is found out before the memory is full.
_MOST_PROBES = 10_000
_MOST_MATCHES = 100_000
_MOST_BYTES = 64 * 2**20
_AT_ONCE = 2000
_MATCH = {"person": documents.PERSON, "face": documents.STORED, "similarity": 0.7312}
_PROBE = {
    "image": 0,
    "face": documents.FACE,
    "vector": None,
    "status": "ok",
    "verdict": "known",
    "matches": [_MATCH],
}
_SEARCHED = {
    "probes": [_PROBE],
    "threshold": 0.363,
    "threshold_from": "catalogue",
    "models": documents.MODELS,
    "took_ms": 41.8,
}


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """What is searched for; without a `sought` it is told only why there is nothing to search for."""

    image: int | None = None
    vector: int | None = None
    face: Face | None = None
    sought: Floats | None = None
    error: ImageError | None = None


@router.post(
    "/collections/{collection}/search",
    summary="Who is this?",
    responses=documents.answers(schemas.Searched, _SEARCHED, 404, 409, 413, 422, 503, about="One entry a probe"),
    openapi_extra=documents.body(SearchBody, {"images": [documents.PICTURE], "top": 5}, SearchFields),
)
async def search(request: Request, collection: Name) -> Response:
    """One probe for every face of every image, the largest first, and one for each vector. "unknown": nobody is at or
    above the threshold. An image without a face has no probe; one that fails has a probe that says why.
    """
    fields, sources = await read(request, SearchFields, SearchBody)
    vectors: Sequence[Floats] = getattr(fields, "vectors", None) or []
    if not sources and not vectors:
        raise missing("images", "At least one image or vector is needed")
    _check_room(len(vectors), fields)
    filters.parse(fields.where)  # what is wrong with it is said even where nobody is searched for
    held = await run(request, lambda store: store.collection(collection))
    threshold = _threshold(request, held, fields)
    probes, models = await _of_pictures(request, held, fields, sources)
    probes += [Probe(vector=i, sought=vector) for i, vector in enumerate(vectors)]
    _check_room(len(probes), fields)
    for probe in probes:
        if probe.sought is not None:
            check_length(held, len(probe.sought))
    found = await run(request, lambda store: _matches(store, held, probes, fields, threshold))
    context = context_of(request)
    packed = answers.wants_msgpack(request)

    def answer() -> dict[str, Any]:
        told = [_told(probe, some, threshold, Shape(packed=packed)) for probe, some in zip(probes, found, strict=True)]
        return {
            "probes": told,
            "threshold": threshold.value,
            "threshold_from": threshold.origin,
            "models": models,
            "took_ms": context.milliseconds,
        }

    return await answers.answered(request, answer)


def _check_room(probes: int, fields: SearchFields) -> None:
    """Raises SearchError where the answer could be too long."""
    top = fields.top or _TOP
    if probes > _MOST_PROBES:
        raise SearchError(
            f"{probes} faces and vectors are searched for, at most {_MOST_PROBES} are at a time: send fewer "
            "pictures, or limit the faces of each (limit)"
        )
    if probes * top > _MOST_MATCHES:
        raise SearchError(
            f"{probes} probes × top {top} are more than {_MOST_MATCHES} matches: send fewer pictures or vectors at a "
            "time, or ask for a smaller top"
        )


def _threshold(request: Request, held: Collection, fields: SearchFields) -> Threshold:
    """Of vectors too, since the collection says whose they are."""
    state = state_of(request)
    name = held.recogniser.name
    loaded = state.ready().networks.named.get("rec", {}).get(name)
    known = loaded.entry if loaded else state.ready().catalogue.entries.get(name)
    return threshold_of(fields.threshold, state.settings.same_threshold, known.threshold if known else None, name)


async def _of_pictures(
    request: Request, held: Collection, fields: SearchFields, sources: list[ImageSource]
) -> tuple[list[Probe], dict[str, str]]:
    """Raises EmbeddingMismatch."""
    state = state_of(request)
    check_model(held, getattr(fields, "model", None))
    name = bound(state, held, fields.rec_name, place_of(fields)) if sources or fields.rec_name else ""
    if not sources:
        named(request, held)
        return [], {}
    finding = fields.model_copy(update={"rec_name": name})
    options = finding.options(state.settings, limit=fields.limit or 0, embedding=True)
    outcomes, models = await extracted(request, options, sources, place_of(fields))
    return [probe for i, outcome in enumerate(outcomes) for probe in _of_picture(i, outcome)], models


def _of_picture(index: int, outcome: Outcome) -> list[Probe]:
    if isinstance(outcome.result, ImageError):
        return [Probe(image=index, error=outcome.result)]
    return [
        Probe(image=index, face=face, sought=face.embedding.vector if face.embedding else None)
        for face in outcome.result.faces
    ]


def _matches(
    store: Store, held: Collection, probes: Sequence[Probe], fields: SearchFields, threshold: Threshold
) -> list[list[Match]]:
    """One list a probe. All are searched for in one go, or as many as can have 2,000 matches. Raises SearchError."""
    which = [i for i, probe in enumerate(probes) if probe.sought is not None]
    found: list[list[Match]] = [[] for _ in probes]
    least = -1.0 if fields.below else threshold.value
    question = Question(fields.top or _TOP, fields.by or "persons", least, fields.where or {})
    size, step = 0, max(1, _AT_ONCE // question.top)
    for some in (which[start : start + step] for start in range(0, len(which), step)):
        sought = np.stack([vector for i in some if (vector := probes[i].sought) is not None])  # (q, D)
        for i, matches in zip(some, store.search(held.name, sought, question, expected=held.recogniser), strict=True):
            found[i] = matches
            size += sum(_carried(match) for match in matches)
        if size > _MOST_BYTES:
            raise SearchError(
                f"The matches carry more than {_MOST_BYTES} bytes of metadata: search for fewer pictures or vectors "
                "at a time, or ask for a smaller top"
            )
    return found


def _carried(match: Match) -> int:
    """Bytes of JSON that the caller's own words take in a match."""
    return len(orjson.dumps(dict(match.person.metadata))) + len(orjson.dumps(dict(match.face.about)))


def _told(probe: Probe, matches: Sequence[Match], threshold: Threshold, shape: Shape) -> dict[str, Any]:
    known = any(match.similarity >= threshold.value for match in matches)
    answer: dict[str, Any] = {
        "image": probe.image,
        "face": answers.face(probe.face, shape) if probe.face is not None else None,
        "vector": probe.vector,
        "status": "failed" if probe.error is not None else "ok",
    }
    if probe.error is not None:
        answer["error"] = described(probe.error)
    return answer | {
        "verdict": "known" if known else "unknown",
        "matches": [answers.match(match) for match in matches],
    }
