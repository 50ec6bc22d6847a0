"""A /v1 API over galleries in memory, for tests of the page alone: the networks are real, what it keeps is not kept.

It answers as the API's contract says. Where the application has routes of its own under /v1, those are used instead.
"""

import base64
import itertools
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import JSONResponse, Response

from visage.api.state import state_of
from visage.deadline import Deadline
from visage.errors import ImageError
from visage.faces import Face
from visage.images.fetching import Encoded, ImageSource, Raw
from visage.options import ExtractOptions

LIMIT = 0.363
Json = dict[str, Any]


class Refused(Exception):
    def __init__(self, status: int, kind: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.kind, self.more = status, kind, more


@dataclass
class Galleries:
    collections: dict[str, Json] = field(default_factory=dict)
    persons: dict[str, dict[str, Json]] = field(default_factory=dict)
    faces: dict[str, list[Json]] = field(default_factory=dict)
    ids: Any = field(default_factory=itertools.count)


def add_galleries(app: FastAPI) -> None:
    app.state.galleries = Galleries()
    app.include_router(router)
    app.exception_handler(Refused)(_refusal)


def problem(status: int, kind: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    body = {
        "type": f"urn:visage:{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        **more,
    }
    return JSONResponse(body, status, headers, "application/problem+json")


async def _refusal(_: Request, error: Refused) -> Response:
    return problem(error.status, error.kind, str(error), **error.more)


router = APIRouter(prefix="/v1")


def _kept(request: Request) -> Galleries:
    found: Galleries = request.app.state.galleries
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _round(values: Any) -> list[float]:
    return [round(float(value), 1) for value in values]


def _quality(face: Face) -> Json:
    size = float(min(face.box[2] - face.box[0], face.box[3] - face.box[1]))
    reasons = ["too small"] if size < 40 else []
    return {
        "score": face.score,
        "size": size,
        "sharpness": 120.5,
        "yaw": -3.2,
        "pitch": 4.1,
        "roll": 0.8,
        "verdict": "poor" if reasons else "good",
        "reasons": reasons,
    }


def _png(face: Face) -> bytes:
    assert face.crop is not None
    return bytes(cv2.imencode(".png", face.crop)[1])


def _face(face: Face, *, embedding: bool = False, crops: bool = False) -> Json:
    width, height = float(face.box[2] - face.box[0]), float(face.box[3] - face.box[1])
    told: Json = {
        "box": _round(face.box),
        "score": float(face.score),
        "landmarks": [_round(point) for point in face.landmarks],
        "size": min(width, height),
        "quality": _quality(face),
    }
    if embedding and face.embedding:
        told |= {"embedding": face.embedding.vector.tolist(), "norm": face.embedding.norm}
    if crops:
        told["crop"] = base64.b64encode(_png(face)).decode()
    return told


async def _found(request: Request, sources: list[ImageSource], threshold: float = 0.6) -> list[Any]:
    service = state_of(request).ready().service
    outcomes = await service.extract(sources, ExtractOptions(threshold=threshold, crops=True), Deadline(30))
    return [outcome.result if isinstance(outcome.result, ImageError) else outcome for outcome in outcomes]


def _largest(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: -float((face.box[2] - face.box[0]) * (face.box[3] - face.box[1])))


def _models(request: Request) -> Json:
    return dict(state_of(request).models())


async def _images(request: Request) -> tuple[list[ImageSource], Json]:
    if request.headers.get("content-type", "").startswith(("image/", "application/octet-stream")):
        query = request.query_params
        return [Raw(await request.body())], {**query, "threshold": float(query.get("threshold", 0.6))}
    body = await request.json()
    return [Encoded(text) for text in body.get("images", [])], body


@router.post("/detect")
@router.post("/embeddings")
async def detect(request: Request) -> Json:
    started = time.perf_counter()
    sources, fields = await _images(request)
    images = []
    for found in await _found(request, sources, fields.get("threshold") or 0.6):
        if isinstance(found, ImageError):
            images.append(
                {
                    "status": "failed",
                    "error": {"type": "urn:visage:image-undecodable", "title": found.title, "detail": str(found)},
                    "faces": [],
                }
            )
            continue
        width, height = found.result.size
        faces = [
            _face(face, embedding=request.url.path.endswith("embeddings"), crops=fields.get("crops") in (True, "true"))
            for face in found.result.faces
        ]
        images.append(
            {"status": "ok", "width": width, "height": height, "faces": faces, "took_ms": found.network_seconds * 1000}
        )
    return {"images": images, "models": _models(request), "took_ms": (time.perf_counter() - started) * 1000}


@router.post("/compare")
async def compare(request: Request) -> Json:
    started = time.perf_counter()
    body = await request.json()
    vectors, sides = [], {}
    for name in ("a", "b"):
        side = body[name]
        if "vector" in side:
            vectors.append(np.array(side["vector"], np.float32))
            sides[name] = {"kind": "vector"}
            continue
        (found,) = await _found(request, [Encoded(side["image"])])
        if isinstance(found, ImageError):
            raise Refused(422, "image-undecodable", f"{name}: {found}")
        if not found.result.faces:
            raise Refused(422, "no-face", f"No face in image {name}")
        faces = found.result.faces
        chosen = _largest(faces)[0]
        vectors.append(chosen.embedding.vector)
        why = "the only face" if len(faces) == 1 else f"the largest of {len(faces)} faces"
        sides[name] = {"kind": "image", "faces": len(faces), "index": faces.index(chosen), **_face(chosen), "why": why}
    similarity = float(vectors[0] @ vectors[1])
    limit = body.get("threshold", LIMIT)
    return {
        "similarity": similarity,
        "same": similarity >= limit,
        "threshold": limit,
        "threshold_from": "request" if "threshold" in body else "catalogue",
        **sides,
        "models": _models(request),
        "took_ms": (time.perf_counter() - started) * 1000,
    }


def _collection(kept: Galleries, name: str) -> Json:
    if name not in kept.collections:
        raise Refused(404, "collection-missing", f"There is no collection {name}")
    own = kept.faces[name]
    return kept.collections[name] | {"persons": len(kept.persons[name]), "faces": len(own)}


def _person(kept: Galleries, name: str, person: str) -> Json:
    _collection(kept, name)
    if person not in kept.persons[name]:
        raise Refused(404, "person-missing", f"There is no person {person}")
    return kept.persons[name][person] | {"faces": sum(face["person"] == person for face in kept.faces[name])}


def _paged(items: list[Json], limit: int, cursor: str | None) -> Json:
    begin = int(cursor or 0)
    return {"items": items[begin : begin + limit], "next": str(begin + limit) if begin + limit < len(items) else None}


def _stored(face: Json) -> Json:
    return {key: face[key] for key in ("id", "person", "about", "created", "has_crop")}


@router.post("/collections", status_code=201)
async def create(request: Request) -> Json:
    kept, body = _kept(request), await request.json()
    name = body["name"]
    if name in kept.collections:
        raise Refused(409, "already-there", f"There is a collection {name} already")
    kept.collections[name] = {
        "name": name,
        "model": {"name": "sface", "sha256": "f" * 64, "dimension": 128},
        "precision": body.get("precision", "fp32"),
        "index": body.get("index", "exact"),
        "description": body.get("description", ""),
        "metadata": {},
        "created": _now(),
    }
    kept.persons[name], kept.faces[name] = {}, []
    return _collection(kept, name)


@router.get("/collections")
async def collections(request: Request, limit: int = 100, cursor: str | None = None) -> Json:
    kept = _kept(request)
    return _paged([_collection(kept, name) for name in sorted(kept.collections)], limit, cursor)


@router.get("/collections/{name}")
async def collection(request: Request, name: str) -> Json:
    return _collection(_kept(request), name)


@router.delete("/collections/{name}", status_code=204)
async def drop(request: Request, name: str) -> None:
    kept = _kept(request)
    _collection(kept, name)
    for part in (kept.collections, kept.persons, kept.faces):
        del part[name]


async def _enrolled(request: Request, name: str, person: str, body: Json) -> list[Json]:
    kept, told = _kept(request), []
    for found in await _found(request, [Encoded(text) for text in body.get("images", [])]):
        if isinstance(found, ImageError):
            told.append({"status": "failed", "reasons": [], "error": {"title": found.title, "detail": str(found)}})
            continue
        faces = _largest(found.result.faces)
        reasons = [] if faces else ["no face"]
        if len(faces) > 1 and body.get("faces", "one") == "one":
            reasons = [f"{len(faces)} faces"]
        if reasons:
            told.append({"status": "refused", "reasons": reasons})
            continue
        vector = faces[0].embedding.vector
        twins = [(float(other["vector"] @ vector), other) for other in kept.faces[name]]
        twin = max(twins, key=lambda pair: pair[0], default=None)
        stored = {
            "id": f"f{next(kept.ids):06}",
            "person": person,
            "about": {"score": faces[0].score, "size": _quality(faces[0])["size"]},
            "created": _now(),
            "has_crop": True,
            "vector": vector,
            "png": _png(faces[0]),
        }
        near = (
            {"near_duplicate": {"person": twin[1]["person"], "face": twin[1]["id"], "similarity": twin[0]}}
            if twin and twin[0] > 0.95
            else {}
        )
        kept.faces[name].append(stored)
        told.append({"status": "enrolled", "face": _stored(stored), "reasons": [], **near})
    return told


@router.post("/collections/{name}/persons", status_code=201)
async def enrol(request: Request, name: str) -> Json:
    kept, body = _kept(request), await request.json()
    _collection(kept, name)
    person = body.get("id") or f"p{next(kept.ids):06}"
    if person in kept.persons[name]:
        raise Refused(409, "already-there", f"There is a person {person} already")
    images = await _enrolled(request, name, person, body)
    if body.get("images") and not any(entry["status"] == "enrolled" for entry in images):
        raise Refused(422, "nothing-enrolled", "No picture was taken", images=images)
    kept.persons[name][person] = {
        "id": person,
        "name": body.get("name") or "",
        "metadata": body.get("metadata") or {},
        "created": _now(),
        "updated": _now(),
    }
    return {"person": _person(kept, name, person), "images": images, "vectors": 0}


@router.post("/collections/{name}/persons/{person}/faces", status_code=201)
async def more_faces(request: Request, name: str, person: str) -> Json:
    kept = _kept(request)
    _person(kept, name, person)
    images = await _enrolled(request, name, person, await request.json())
    if not any(entry["status"] == "enrolled" for entry in images):
        raise Refused(422, "nothing-enrolled", "No picture was taken", images=images)
    return {"person": _person(kept, name, person), "images": images, "vectors": 0}


def _meets(metadata: Json, where: Json) -> bool:
    """The part of the filters that the page's own tests use."""
    tests = {
        "gte": lambda a, b: a >= b,
        "gt": lambda a, b: a > b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
        "ne": lambda a, b: a != b,
    }
    for key, wanted in where.items():
        if key not in metadata:
            return False
        if not isinstance(wanted, dict):
            if metadata[key] != wanted:
                return False
        elif not all(tests[operator](metadata[key], value) for operator, value in wanted.items()):
            return False
    return True


@router.get("/collections/{name}/persons")
async def persons(request: Request, name: str, limit: int = 100, cursor: str | None = None, where: str = "{}") -> Json:
    kept = _kept(request)
    _collection(kept, name)
    wanted = json.loads(where)
    found = [
        _person(kept, name, one)
        for one in sorted(kept.persons[name])
        if _meets(kept.persons[name][one]["metadata"], wanted)
    ]
    return _paged(found, limit, cursor)


@router.get("/collections/{name}/persons/{person}")
async def person(request: Request, name: str, person: str) -> Json:
    return _person(_kept(request), name, person)


@router.patch("/collections/{name}/persons/{person}")
async def rename(request: Request, name: str, person: str) -> Json:
    kept = _kept(request)
    _person(kept, name, person)
    kept.persons[name][person] |= await request.json()
    return _person(kept, name, person)


@router.delete("/collections/{name}/persons/{person}", status_code=204)
async def forget(request: Request, name: str, person: str) -> None:
    kept = _kept(request)
    _person(kept, name, person)
    del kept.persons[name][person]
    kept.faces[name] = [face for face in kept.faces[name] if face["person"] != person]


@router.get("/collections/{name}/persons/{person}/faces")
async def faces(request: Request, name: str, person: str, limit: int = 100, cursor: str | None = None) -> Json:
    kept = _kept(request)
    return _paged([_stored(face) for face in kept.faces[name] if face["person"] == person], limit, cursor)


@router.delete("/collections/{name}/persons/{person}/faces/{face}", status_code=204)
async def forget_face(request: Request, name: str, person: str, face: str) -> None:
    kept = _kept(request)
    kept.faces[name] = [one for one in kept.faces[name] if one["id"] != face]


@router.get("/collections/{name}/persons/{person}/faces/{face}/crop")
async def crop(request: Request, name: str, person: str, face: str) -> Response:
    found = next((one for one in _kept(request).faces[name] if one["id"] == face), None)
    if found is None:
        raise Refused(404, "face-missing", "There is no such crop")
    return Response(found["png"], media_type="image/png")


@router.post("/collections/{name}/search")
async def search(request: Request, name: str) -> Json:
    started = time.perf_counter()
    kept, body = _kept(request), await request.json()
    _collection(kept, name)
    limit, probes = body.get("threshold", LIMIT), []
    for index, found in enumerate(await _found(request, [Encoded(text) for text in body["images"]])):
        if isinstance(found, ImageError):
            probes.append(
                {
                    "image": index,
                    "face": None,
                    "vector": None,
                    "status": "failed",
                    "error": {"title": found.title, "detail": str(found)},
                    "verdict": "unknown",
                    "matches": [],
                }
            )
            continue
        probes += [_probe(kept, name, index, face, body, limit) for face in _largest(found.result.faces)]
    return {
        "probes": probes,
        "threshold": limit,
        "threshold_from": "request" if "threshold" in body else "catalogue",
        "models": _models(request),
        "took_ms": (time.perf_counter() - started) * 1000,
    }


def _probe(kept: Galleries, name: str, index: int, face: Face, body: Json, limit: float) -> Json:
    assert face.embedding is not None
    near = sorted(
        ((float(one["vector"] @ face.embedding.vector), one) for one in kept.faces[name]), key=lambda pair: -pair[0]
    )
    matches: list[Json] = []
    seen: set[str] = set()
    for similarity, one in near:
        if body.get("by", "persons") == "persons" and one["person"] in seen:
            continue
        if similarity < limit and not body.get("below"):
            continue
        who = _person(kept, name, one["person"])
        if not _meets(who["metadata"], body.get("where", {})):
            continue
        seen.add(one["person"])
        matches.append({"person": who, "face": _stored(one), "similarity": similarity})
    matches = matches[: body.get("top", 5)]
    known = bool(matches) and matches[0]["similarity"] >= limit
    return {
        "image": index,
        "face": _face(face),
        "vector": None,
        "status": "ok",
        "verdict": "known" if known else "unknown",
        "matches": matches,
    }


@router.get("/collections/{name}/export")
async def export(request: Request, name: str) -> Response:
    kept = _kept(request)
    lines = [
        json.dumps(
            {"person": _person(kept, name, face["person"]), "face": _stored(face), "vector": face["vector"].tolist()}
        )
        for face in kept.faces[name]
    ]
    return Response("\n".join(lines) + "\n", media_type="application/x-ndjson")
