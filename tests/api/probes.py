"""What is asked of each field that the API's document names: a value that has to change something, or be refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.v1.test_persons import SHARP
from tests.support import b64, settings_of
from visage.api.app import create_app

V = [1.0, 0.0, 0.0]
C = "/v1/collections/{collection}"
P = C + "/persons"
OWN = {"name": "constant_embedder", "sha256": "e" * 64}
FOREIGN = {"name": "foreign", "sha256": "ab" * 32}
LONG_AGO = "2020-01-02T03:04:05.000Z"

# Of each field a value that changes something, whatever the route; by route where another is needed.
PROBES: dict[str, Any] = {
    "threshold": 0.8,
    "limit": 1,
    "limit_faces": 1,
    "min_face_size": 50,
    "max_size": [320, 320],
    "det_name": "fewer",
    "rec_name": "other",
    "embed_only": True,
    "return_face_data": True,
    "return_landmarks": True,
    "return_landmarks_106": True,
    "extract_embedding": False,
    "extract_ga": True,
    "detect_masks": True,
    "verbose_timings": True,
    "api_ver": "1",
    "msgpack": True,
    "img_req_headers": {"x-let": "me"},
    "draw_landmarks": False,
    "draw_landmarks_106": True,
    "draw_scores": False,
    "draw_sizes": False,
    "images": None,  # see `changed`
    "landmarks": False,
    "attributes": True,
    "crops": True,
    "vectors": "base64",
    "a": {"vector": [0.0, 1.0, 0.0]},
    "b": {"vector": [0.0, 1.0, 0.0]},
    "name": "Another",
    "id": "another",
    "metadata": {"city": "Bergen"},
    "quality": "off",
    "faces": "largest",
    "precision": "int8",
    "index": "hnsw",
    "description": "Another",
    "top": 1,
    "by": "faces",
    "where": {"city": "Oslo"},
    "below": True,
    "cursor": "nonsense",
    "person": {"id": "another"},
    "face": {"id": "another"},
    "vector": [0.0, 1.0, 0.0],
    "model": FOREIGN,
}
OF_A_ROUTE: dict[tuple[str, str], Any] = {
    ("/v1/detect", "rec_name"): "nobody",  # of no use there; one that is not loaded is refused
    ("/v1/compare", "threshold"): 0.9,
    ("/v1/collections", "name"): "another",
    (P, "vectors"): [[0.0, 1.0, 0.0]],
    (P + "/{person}/faces", "vectors"): [[0.0, 1.0, 0.0]],
    (C + "/search", "vectors"): [[0.0, 1.0, 0.0]],
    (C + "/search", "threshold"): 0.999,
    (C + "/bulk", "vectors"): [[0.0, 1.0, 0.0]],
    (C + "/export", "vectors"): "false",
}
# What a route is asked before a field is added; pictures come as the form of the request has them.
BASES: dict[str, dict[str, Any]] = {
    "/v1/compare": {"a": {"image": b64(SHARP)}, "b": {"vector": [0.6, 0.8, 0.0]}},
    "/v1/collections": {"name": "made"},
    C: {"description": "was"},
    P: {"quality": "standard"},
    P + "/{person}": {"name": "was"},
    C + "/search": {"threshold": 0.5},
    C + "/bulk": {"vectors": [V]},
    "/draw_detections": {},
}
TWO_FACES = {
    "/extract",
    "/multipart/extract",
    "/draw_detections",
    "/multipart/draw_detections",
    "/v1/detect",
    "/v1/embeddings",
    C + "/search",
}
# Of each field in an object two values of that object which differ in it alone. PICKY is a URL.
PICKY = "http://picky"
_PERSON: dict[str, Any] = {"id": "p"}
_FACE: dict[str, Any] = {"id": "f"}
_MODELS: dict[str, tuple[Any, Any]] = {
    "model.name": (FOREIGN, FOREIGN | {"name": "other"}),  # which is told
    "model.sha256": (OWN, OWN | {"sha256": "ab" * 32}),
    "model.preprocess": (OWN, OWN | {"preprocess": "otherwise"}),
}
_SIDE: dict[str, tuple[Any, Any]] = {
    "image": ({"vector": V}, {"image": b64(SHARP)}),
    "image.url": ({"image": {"url": PICKY}}, {"image": {"url": "http://127.0.0.1:1/"}}),
    "vector": ({"vector": V}, {"vector": [0.0, 1.0, 0.0]}),
    "model": ({"vector": V}, {"vector": V, "model": FOREIGN}),
    **{name: tuple({"vector": V, "model": one} for one in both) for name, both in _MODELS.items()},
}
INNER: dict[str, tuple[Any, Any]] = {
    "images.data": ({}, {"data": [b64(SHARP)]}),
    "images.urls": ({}, {"urls": [PICKY]}),
    "images.url": ([], [{"url": PICKY}]),
    **{f"{side}.{name}": both for side in "ab" for name, both in _SIDE.items()},
    **_MODELS,
    "person.id": (_PERSON, {"id": "q"}),
    "person.name": (_PERSON, _PERSON | {"name": "Another"}),
    "person.metadata": (_PERSON, _PERSON | {"metadata": {"city": "Bergen"}}),
    "person.created": (_PERSON, _PERSON | {"created": LONG_AGO}),
    "person.updated": (_PERSON, _PERSON | {"updated": LONG_AGO}),
    "face.id": (_FACE, {"id": "g"}),
    "face.about": (_FACE, _FACE | {"about": {"score": 0.5}}),
    "face.created": (_FACE, _FACE | {"created": LONG_AGO}),
}
# What else has to be there for it.
BESIDE: dict[str, dict[str, Any]] = {"face": {"person": _PERSON}, "model": {"vectors": [V]}}
DOCUMENT = create_app(settings_of()).openapi()


def fields_of(operation: Any) -> Iterator[tuple[str, str]]:
    """(place, field) of a route: json, form, query."""
    for one in operation.get("parameters", []):
        if one["in"] == "query":
            yield "picture" if operation.get("requestBody") else "query", one["name"]
    content = operation.get("requestBody", {}).get("content", {})
    for media, place in (
        ("application/json", "json"),
        ("multipart/form-data", "form"),
        ("application/x-msgpack", "row"),
    ):
        if place == "row" and "application/json" in content:
            continue
        if media in content:
            schema = DOCUMENT["components"]["schemas"][content[media]["schema"]["$ref"].rsplit("/", 1)[1]]
            yield from ((place, name) for name in schema["properties"] if name not in ("file", "files"))


def inner_fields(operation: Any) -> Iterator[tuple[str, str]]:
    """(place, names joined by dots) of what the objects in a route's body hold, however deep."""
    content = operation.get("requestBody", {}).get("content", {})
    place = "json" if "application/json" in content else "row"
    media = content.get("application/json" if place == "json" else "application/x-msgpack")
    for path in _inside(media["schema"]) if media else ():
        if len(path) > 1:
            yield place, ".".join(path)


def _inside(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    for one in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from _inside(one, path)
    for name, one in schema.get("properties", {}).items():
        yield (*path, name)
        yield from _inside(one, (*path, name))


CASES = [
    pytest.param(method, path, place, field, id=f"{method} {path} {place} {field}")
    for path, several in DOCUMENT["paths"].items()
    for method, operation in several.items()
    for place, field in fields_of(operation)
]


INNER_CASES = [
    pytest.param(method, path, place, field, id=f"{method} {path} {place} {field}")
    for path, several in DOCUMENT["paths"].items()
    for method, operation in several.items()
    for place, field in inner_fields(operation)
]
