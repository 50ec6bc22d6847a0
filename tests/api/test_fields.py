"""Every field that the API's document names, of every route, changes the answer or what is kept, or is refused.

The fields are read from the document: one without a probe here fails, and so does one that reaches nobody.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgpack
import pytest

from tests.api.v1.test_persons import BLURRED, SHARP, TWO
from tests.api.v1.test_several import Says
from tests.galleries import gallery_client
from tests.support import Client, ConstantDetector, b64, settings_of
from visage.api.app import create_app
from visage.backends.base import Sizes
from visage.faces import Detections, Floats, ImageBatch

V = [1.0, 0.0, 0.0]
C = "/v1/collections/{collection}"
P = C + "/persons"


class OnTheCanvas(ConstantDetector):
    """The two faces where they are on the canvas, so that they move in the picture with `max_size`; one where the
    first pixel's blue is 8.
    """

    sizes = Sizes()

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        found = super().detect(images, thresholds)
        return [
            Detections(one.boxes / scale, one.scores, one.landmarks / scale)[: 1 if pixels[0, 0, 0] == 8 else 2]
            for one, pixels, scale in zip(found, images.pixels, images.scales, strict=True)
        ]


class Fewer(OnTheCanvas):
    """Another detector."""

    boxes = ConstantDetector.boxes + 5

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        return [found[:1] for found in super().detect(images, thresholds)]


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
    "model": {"name": "foreign", "sha256": "ab"},
}
OF_A_ROUTE: dict[tuple[str, str], Any] = {
    ("/v1/detect", "rec_name"): "nobody",  # of no use there; one that is not loaded is refused
    ("/v1/compare", "threshold"): -0.5,
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
    "/v1/compare": {"a": {"image": b64(SHARP)}, "b": {"vector": V}},
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


CASES = [
    pytest.param(method, path, place, field, id=f"{method} {path} {place} {field}")
    for path, several in DOCUMENT["paths"].items()
    for method, operation in several.items()
    for place, field in fields_of(operation)
]


class _Picky(BaseHTTPRequestHandler):
    """Gives the picture to those who ask with the header only."""

    def do_GET(self) -> None:
        self.send_response(200 if self.headers.get("x-let") == "me" else 403)
        self.end_headers()
        self.wfile.write(TWO)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def picky() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Picky)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/a.png"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    runtime = {
        "detector": OnTheCanvas(),
        "detectors": {"fewer": Fewer()},
        "embedder": Says(V),
        "embedders": {"other": Says([0.0, 1.0, 0.0])},
        "landmarks": True,
    }
    folder = tmp_path_factory.mktemp("data")
    with gallery_client(
        folder, runtime=runtime, SAME_THRESHOLD="0.5", URL_ALLOW="127.0.0.0/8", MAX_SIZE="640,640"
    ) as client:
        yield client


_PEOPLE = (
    ("x", "Oslo", [[1, 0.1, 0], [1, 0.2, 0]]),
    ("y", "Rome", [[1, 0.3, 0]]),
    ("z", "Rome", [[0, 0, 1]]),
)


class Bench:
    """Asks one route with some fields in a gallery of its own, and looks at all that came of it."""

    def __init__(self, client: Client, picky: str) -> None:
        self._client = client
        self._picky = picky
        self._bases: dict[Any, Any] = {}

    def base(self, method: str, path: str, place: str, field: str) -> Any:
        """What comes without the field, twice the same: what differs by itself shows nothing."""
        case = (method, path, place, picture_for(path, field), field == "img_req_headers")
        if case not in self._bases:
            first, again = (self.outcome(method, path, place, field, {}) for _ in range(2))
            assert first == again
            self._bases[case] = first
        return self._bases[case]

    def outcome(self, method: str, path: str, place: str, field: str, fields: dict[str, Any]) -> Any:
        """Of a request that sets out to show what `field` does, with these fields."""
        for one in self._client.get("/v1/collections").json()["items"]:
            self._client.delete(f"/v1/collections/{one['name']}")
        for name in ("staff", "twin"):
            self._client.post("/v1/collections", json={"name": name})
        rows = [
            {"person": {"id": name, "metadata": {"city": city}}, "face": {"id": f"{name}{i}"}, "vector": vector}
            for name, city, vectors in _PEOPLE
            for i, vector in enumerate(vectors)
        ]
        body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        assert '"failed":0' in self._client.post("/v1/collections/staff/bulk", content=body).text
        where = path.format(collection="staff", person="x", face="none")
        answer = self._asked(method, path, where, place, field, fields)
        return answer.status_code, told(answer), self._kept()

    def _kept(self) -> Any:
        kept = {}
        for one in self._client.get("/v1/collections").json()["items"]:
            name = one["name"]
            lines = self._client.get(f"/v1/collections/{name}/export").text.splitlines()
            kept[name] = [steady(one), *sorted((steady(json.loads(line)) for line in lines), key=json.dumps)]
            kept[name] += [steady(self._client.get(f"/v1/collections/{name}/persons").json())]
        return kept

    def _asked(self, method: str, path: str, where: str, place: str, field: str, fields: dict[str, Any]) -> Any:
        base = BASES.get(path, {})
        picture = picture_for(path, field)
        if place == "query":
            return self._client.request(method, where, params=texts(fields))
        if place == "picture":
            query = texts({**base, **fields})
            return self._client.post(where, params=query, content=picture, headers={"Content-Type": "image/png"})
        if place == "form":
            name = "file" if "draw" in path else "files"
            return self._client.post(where, data=texts(fields), files={name: ("a.png", picture)})
        if place == "row":
            return self._client.post(
                where, content=msgpack.packb({**base, **fields}), headers={"Content-Type": "application/msgpack"}
            )
        compatible = not path.startswith("/v1")
        pictures: Any = (
            {"urls": [self._picky]}
            if field == "img_req_headers"
            else {"data": [b64(picture)]}
            if compatible
            else [b64(picture)]
        )
        takes = "images" in DOCUMENT["components"]["schemas"][body_of(path, method)]["properties"]
        body = ({"images": pictures} if takes else {}) | base | fields
        return self._client.request(method, where, json=body)


def picture_for(path: str, field: str) -> bytes:
    if field == "quality":
        return BLURRED
    return TWO if path in TWO_FACES or field == "faces" else SHARP


def body_of(path: str, method: str) -> str:
    schema = DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return str(schema.rsplit("/", 1)[1])


def texts(fields: dict[str, Any]) -> dict[str, str]:
    def text(value: Any) -> str:
        if isinstance(value, list):
            return ",".join(map(str, value))
        return (
            json.dumps(value)
            if isinstance(value, dict)
            else str(value).lower()
            if isinstance(value, bool)
            else str(value)
        )

    return {name: text(value) for name, value in fields.items()}


def told(answer: Any) -> Any:
    kind = answer.headers.get("content-type", "").split(";")[0]
    if kind.endswith("json") and kind != "application/x-ndjson":
        return kind, steady(answer.json())
    if kind == "application/x-ndjson":
        return kind, [steady(json.loads(line)) for line in answer.text.splitlines()]
    return kind, answer.content if kind.startswith("image/") else None


CHANGING = frozenset({"took_ms", "took", "created", "updated"})


def steady(value: Any) -> Any:
    """Without what differs from call to call: times, and ids that were made."""
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if key not in CHANGING}
        if "took" in value:  # which times are told is no matter of chance
            kept["took"] = sorted(value["took"])
        return {key: steady(inner) for key, inner in kept.items()}
    if isinstance(value, list):
        return [steady(inner) for inner in value]
    return "(an id)" if isinstance(value, str) and len(value) == 32 and set(value) <= set("0123456789abcdef") else value


@pytest.fixture(scope="module")
def bench(client: Client, picky: str) -> Bench:
    return Bench(client, picky)


@pytest.mark.parametrize(("method", "path", "place", "field"), CASES)
def test_a_documented_field_changes_something_or_is_refused(
    bench: Bench, method: str, path: str, place: str, field: str
) -> None:
    value = OF_A_ROUTE.get((path, field), PROBES[field])
    if field == "images":
        value = {"data": []} if not path.startswith("/v1") else []
    without = bench.base(method, path, place, field)
    with_it = bench.outcome(method, path, place, field, {field: value})
    assert with_it != without, (without, with_it)
    assert with_it[0] < 500 or with_it[0] in (501, 502), with_it


def test_no_probe_is_for_a_field_that_is_gone() -> None:
    assert set(PROBES) == {case.values[3] for case in CASES}
