"""Values → what the /v1 routes answer."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pybase64
from starlette.requests import Request
from starlette.responses import Response

from visage.api.answers import png
from visage.api.encoding import JSON, MSGPACK, answer_type, render
from visage.api.problems import described
from visage.api.v1.vectors import Form, written_vector
from visage.errors import ImageError
from visage.faces import Face, Outcome
from visage.quality import Cause, Mode, Quality, measured, shortcomings
from visage.search.base import Collection, Match, Person, Recogniser, StoredFace


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a face is told. `vectors`: their form, None for none; `packed`: the answer is msgpack."""

    landmarks: bool = True
    attributes: bool = False
    crops: bool = False
    vectors: Form | None = None
    packed: bool = False


def wants_msgpack(request: Request) -> bool:
    return answer_type(", ".join(request.headers.getlist("accept")), False) == MSGPACK


async def answered(
    request: Request, make: Callable[[], Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """What `make` returns, made and written on a thread."""
    media_type = MSGPACK if wants_msgpack(request) else JSON

    def written() -> Response:
        response = render(make(), media_type, single=False)
        response.status_code = status
        response.headers.update(headers or {})
        return response

    return await asyncio.to_thread(written)


def image(outcome: Outcome, shape: Shape) -> dict[str, Any]:
    took_ms = (outcome.read_seconds + outcome.network_seconds) * 1000
    if isinstance(outcome.result, ImageError):
        return {"status": "failed", "error": described(outcome.result), "faces": [], "took_ms": took_ms}
    width, height = outcome.result.size
    found = {"status": "ok", "width": width, "height": height}
    if outcome.result.warnings:
        found["warnings"] = list(outcome.result.warnings)
    return found | {"faces": [face(one, shape) for one in outcome.result.faces], "took_ms": took_ms}


def face(found: Face, shape: Shape) -> dict[str, Any]:
    quality = measured(found)
    answer: dict[str, Any] = {"box": rounded(found.box), "score": found.score}
    if shape.landmarks:
        answer["landmarks"] = rounded(found.landmarks)
    answer |= {"size": quality.size, "quality": judged(quality)}
    if shape.attributes:
        answer |= _attributes(found)
    if shape.vectors is not None and found.embedding is not None:
        vector = written_vector(found.embedding.vector, shape.vectors)
        answer |= {"embedding": vector, "norm": found.embedding.norm}
    if shape.crops and found.crop is not None:
        picture = png(found.crop)
        answer["crop"] = picture if shape.packed else pybase64.b64encode_as_string(picture)
    return answer


def _attributes(found: Face) -> dict[str, Any]:
    """Those that a network is loaded for; `gender` 1 male, 0 female."""
    answer: dict[str, Any] = {}
    if found.gender_age is not None:
        answer |= {"gender": found.gender_age.gender, "age": found.gender_age.age}
    if found.mask is not None:
        answer["mask"] = found.mask.worn
    return answer


def judged(quality: Quality, mode: Mode = "standard") -> dict[str, Any]:
    causes = shortcomings(quality, mode)
    return figures(quality) | {"verdict": "poor" if causes else "good", **why(causes)}


def why(causes: Sequence[Cause]) -> dict[str, Any]:
    """The same for people and for programs."""
    told = [{"kind": one.kind, "value": one.value, "limit": one.limit} for one in causes]
    return {"reasons": [one.said for one in causes], "causes": told}


def figures(quality: Quality) -> dict[str, float]:
    return {
        "score": quality.score,
        "size": round(quality.size, 1),
        "sharpness": round(quality.sharpness, 1),
        "yaw": quality.pose.yaw,
        "pitch": quality.pose.pitch,
        "roll": quality.pose.roll,
    }


def rounded(values: Any) -> list[Any]:
    """Pixels to a hundredth: more is noise."""
    listed: list[Any] = np.round(np.asarray(values, np.float64), 2).tolist()
    return listed


def time_of(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def model(held: Recogniser) -> dict[str, Any]:
    """Whose vectors they are, as requests may say it again."""
    return {"name": held.name, "sha256": held.sha256, "preprocess": held.preprocess, "dimension": held.dimension}


def collection(found: Collection) -> dict[str, Any]:
    return {
        "name": found.name,
        "model": model(found.recogniser),
        "precision": found.precision,
        "index": found.index,
        "description": found.description,
        "metadata": dict(found.metadata),
        "created": time_of(found.created),
        "persons": found.persons,
        "faces": found.faces,
    }


def person(found: Person) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "metadata": dict(found.metadata),
        "created": time_of(found.created),
        "updated": time_of(found.updated),
        "faces": found.faces,
    }


def stored_face(found: StoredFace) -> dict[str, Any]:
    return {
        "id": found.id,
        "person": found.person,
        "about": dict(found.about),
        "created": time_of(found.created),
        "has_crop": found.has_crop,
    }


def match(found: Match) -> dict[str, Any]:
    return {
        "person": person(found.person),
        "face": stored_face(found.face),
        "similarity": round(float(found.similarity), 6),
    }
