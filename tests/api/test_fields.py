"""Every field that the API's document names, of every route, changes the answer or what is kept, or is refused.

The fields are read from the document: one without a probe here fails, and so does one that reaches nobody.
"""

import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgpack
import pytest

from tests.api.probes import BASES, BESIDE, CASES, DOCUMENT, INNER, INNER_CASES, OF_A_ROUTE, PICKY, PROBES, TWO_FACES, V
from tests.api.v1.test_persons import BLURRED, SHARP, TWO
from tests.api.v1.test_several import Says
from tests.galleries import gallery_client
from tests.support import Client, ConstantDetector, b64
from visage.backends.base import Sizes
from visage.faces import Detections, Floats, ImageBatch


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
        gallery = path.startswith("/v1/collections")
        if gallery:
            self._filled()
        where = path.format(collection="staff", person="x", face="none")
        answer = self._asked(method, path, where, place, field, fields)
        return answer.status_code, told(answer), self._kept() if gallery else None

    def _filled(self) -> None:
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
    """What a caller is told by it, without what it takes from the request."""
    kind = answer.headers.get("content-type", "").split(";")[0]
    if kind.endswith("json") and kind != "application/x-ndjson":
        value = answer.json()
        return kind, steady({k: v for k, v in value.items() if k not in TOLD} if isinstance(value, dict) else value)
    if kind == "application/x-ndjson":
        return kind, [steady(json.loads(line)) for line in answer.text.splitlines()]
    return kind, answer.content if kind.startswith("image/") else None


CHANGING = frozenset({"took_ms", "took"})
# What only says again what was asked for: a field that is told and not applied shall not pass.
TOLD = frozenset({"threshold", "threshold_from", "models"})
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*Z")
STARTED = datetime.now(UTC).isoformat()


def steady(value: Any) -> Any:
    """Without what differs from call to call: times, and ids that were made."""
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if key not in CHANGING}
        if "took" in value:  # which times are told is no matter of chance
            kept["took"] = sorted(value["took"])
        return {key: steady(inner) for key, inner in kept.items()}
    if isinstance(value, list):
        return [steady(inner) for inner in value]
    if isinstance(value, str) and len(value) == 32 and set(value) <= set("0123456789abcdef"):
        return "(an id)"
    return "(now)" if isinstance(value, str) and MOMENT.fullmatch(value) and value > STARTED[:19] else value


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


@pytest.mark.parametrize(("method", "path", "place", "field"), INNER_CASES)
def test_so_does_a_field_of_an_object_in_a_body(
    bench: Bench, picky: str, method: str, path: str, place: str, field: str
) -> None:
    outer = field.partition(".")[0]
    values = json.loads(json.dumps(INNER[field]).replace(PICKY, picky))
    one, other = (
        bench.outcome(method, path, place, outer, {**BESIDE.get(outer, {}), outer: value}) for value in values
    )
    assert one != other, (one, other)
    assert {one[0], other[0]}.isdisjoint((500, 503)), (one, other)  # 502: a URL that gives nothing


def test_no_probe_is_for_a_field_that_is_gone() -> None:
    assert set(PROBES) == {case.values[3] for case in CASES}
    assert set(INNER) == {case.values[3] for case in INNER_CASES}
