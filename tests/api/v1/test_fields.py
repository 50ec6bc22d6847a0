"""What is misspelt is named, in bodies and queries of every route of /v1; the compatible routes ignore it as ever."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.api.v1.test_bulk import Threefold
from tests.galleries import MemoryStore, gallery_client
from tests.support import Client, b64
from tests.wire import PHOTO
from visage.api.v1 import bulk, collections, faces, persons, search
from visage.api.v1.bodies import BODIES, BulkRow
from visage.api.v1.fields import Strict, StrictRoute, unknown

STAFF = "/v1/collections/staff"
PERSONS = STAFF + "/persons"
JPEG = {"content-type": "image/jpeg"}
PACKED = {"content-type": "application/x-msgpack"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder: Path = tmp_path_factory.mktemp("data")
    with gallery_client(folder, store=MemoryStore(), runtime={"embedder": Threefold()}) as client:
        assert client.post("/v1/collections", json={"name": "staff"}).status_code == 201
        assert client.post(PERSONS, json={"id": "ada"}).status_code == 201
        yield client


def fault(answer: Any) -> tuple[list[Any], str]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json" and len(answer.content) < 3000
    first = answer.json()["detail"][0]
    return first["loc"], first["msg"]


BODIES_OF_ROUTES = [
    ("POST", "/v1/detect", {"images": []}, "image", "images"),
    ("POST", "/v1/detect", {"images": []}, "limit_faces", "limit"),
    ("POST", "/v1/embeddings", {"images": []}, "vector", "vectors"),
    ("POST", "/v1/compare", {"a": {"vector": [1]}, "b": {"vector": [1]}}, "treshold", "threshold"),
    ("POST", "/v1/collections", {"name": "other"}, "metdata", "metadata"),
    ("PATCH", STAFF, {"description": "x"}, "descripton", "description"),
    ("PATCH", PERSONS + "/ada", {"name": "x"}, "Metadata", "metadata"),
    ("POST", PERSONS, {"id": "eve"}, "image", "images"),
    ("POST", PERSONS, {"id": "eve"}, "vector", "vectors"),
    ("POST", PERSONS + "/ada/faces", {"vectors": [[1, 2, 3]]}, "facs", "faces"),
    ("POST", STAFF + "/search", {"vectors": [[1, 2, 3]]}, "tops", "top"),
]


@pytest.mark.parametrize(("method", "path", "body", "wrong", "right"), BODIES_OF_ROUTES)
def test_a_field_of_a_body(client: Client, method: str, path: str, body: Any, wrong: str, right: str) -> None:
    for value in (body.get(right), None, [1]):
        given = {**body, wrong: value}
        for answer in (
            client.request(method, path, json=given),
            client.request(method, path, content=msgpack.packb(given), headers=PACKED),
        ):
            loc, said = fault(answer)
            assert loc == ["body", wrong] and said == f"unknown field; did you mean {right}?"
    assert client.get(PERSONS + "/eve").status_code == 404


def test_of_an_object_within(client: Client) -> None:
    for side in ("a", "b"):
        body = {"a": {"vector": [1]}, "b": {"vector": [1]}} | {side: {"vektor": [1]}}
        assert fault(client.post("/v1/compare", json=body)) == (
            ["body", side, "vektor"],
            "unknown field; did you mean vector?",
        )
    loc, said = fault(client.post("/v1/detect", json={"images": [b64(PHOTO), {"uri": "a.jpg"}]}))
    assert loc[:3] == ["body", "images", 1] and loc[-1] == "uri" and said.startswith("unknown field; did you mean url")
    loc, said = fault(client.post("/v1/compare", json={"a": {"image": {"path": "x"}}, "b": {"vector": [1]}}))
    assert loc[:3] == ["body", "a", "image"] and loc[-1] == "path" and "known are url" in said


def test_keys_that_are_no_texts(client: Client) -> None:
    loc, said = fault(client.post("/v1/detect", content=msgpack.packb({"images": [], 7: 1}), headers=PACKED))
    assert loc == ["body", "7"] and "unknown field" in said


def routes() -> list[StrictRoute]:
    found = [route for module in (faces, collections, persons, search, bulk) for route in module.router.routes]
    assert all(isinstance(route, StrictRoute) for route in found) and len(found) > 15
    return [route for route in found if isinstance(route, StrictRoute)]


@pytest.mark.parametrize("route", routes(), ids=lambda route: f"{sorted(route.methods)[0]} {route.path}")
def test_a_parameter_of_every_route(client: Client, route: APIRoute) -> None:
    path = route.path.format(collection="staff", person="ada", face="f")
    method = sorted((route.methods or set()) - {"HEAD"})[0]
    for headers, content in (({}, b"{}"), (JPEG, PHOTO)):
        for name in ("nonsense", "limmit", ""):
            loc, said = fault(client.request(method, f"{path}?{name}=1", headers=headers, content=content))
            assert loc == ["query", name] and said.startswith("unknown parameter")
        assert fault(client.request(method, path + "?limit=%ff", headers=headers, content=content))[0][0] == "query"
    assert client.get(STAFF).status_code == 200 and client.get(PERSONS + "/ada").status_code == 200


def test_parameters_that_are_known_do_what_they_did(client: Client) -> None:
    assert len(client.get(PERSONS + '?limit=1&where={"a": {"exists": false}}&cursor=').json()["items"]) == 1
    assert client.get(STAFF + "/export?vectors=base64").status_code == 200
    answer = client.post("/v1/detect?limit=1&crops=true&max_size=320&max_size=320", content=PHOTO, headers=JPEG)
    assert len(answer.json()["images"][0]["faces"]) == 1
    assert fault(client.post("/v1/detect?limit=-1", content=PHOTO, headers=JPEG))[0] == ["query", "limit"]
    assert "did you mean limit" in fault(client.post("/v1/detect?limt=1", content=PHOTO, headers=JPEG))[1]


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/embeddings", PERSONS, PERSONS + "/ada/faces", STAFF + "/search"])
def test_a_query_beside_a_json_body_is_not_taken_for_granted(client: Client, path: str) -> None:
    packed = msgpack.packb({"images": []})
    for answer in (
        client.post(f"{path}?max_size=320,320", json={"images": []}),
        client.post(f"{path}?max_size=320,320", content=packed, headers=PACKED),
    ):
        loc, said = fault(answer)
        assert loc == ["query", "max_size"] and "the body takes this field" in said


@pytest.mark.parametrize("path", [STAFF, PERSONS + "/ada"])
def test_a_change_of_nothing_is_none(client: Client, path: str) -> None:
    before = client.get(path).json()
    bodies: list[dict[str, None]] = [{}, {"metadata": None}]
    for body in (*bodies, {"name" if "ada" in path else "description": None, "metadata": None}):
        loc, said = fault(client.patch(path, json=body))
        assert loc == ["body"] and "nothing would change" in said and "metadata" in said
    assert client.get(path).json() == before


def test_the_compatible_routes_ignore_as_ever(client: Client) -> None:
    odd = {"images": {"data": [b64(PHOTO)], "dta": 1}, "use_rotation": True, "max_sizes": 7}
    packed = {**odd, "images": {"data": [PHOTO], 5: 6}, 3: {b"x": msgpack.ExtType(1, b"")}, "at": msgpack.Timestamp(7)}
    for path in ("/extract", "/draw_detections"):
        assert client.post(path + "?nonsense=1", json=odd).status_code == 200
        assert client.post(path, content=msgpack.packb(packed), headers=PACKED).status_code == 200
        assert client.post(path + "?nonsense=1&use_rotation=1", content=PHOTO, headers=JPEG).status_code == 200
        form = {"file": ("a.jpg", PHOTO, "image/jpeg")}
        assert client.post(f"/multipart{path}", files=form, data={"use_rotation": "1"}).status_code == 200


def told(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


def test_bulk_names_them_row_by_row_and_reads_its_own_exports(client: Client) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "one", "vectors": [[1, 0, 0]]},
        {"id": "two", "vector": [1, 0, 0], "vektors": []},
        {"person": {"id": "three", "nme": "x"}, "vector": [1, 0, 0]},
        {"person": {"id": "four"}, "face": {"id": "f", "abot": {}}, "vector": [1, 0, 0]},
    ]
    body = b"\xef\xbb\xbf" + "\n".join(map(json.dumps, rows)).encode()
    *found, last = told(client.post(STAFF + "/bulk", content=body))
    assert [one["status"] for one in found] == ["enrolled", "failed", "failed", "failed"] and last["done"]
    details = [one["error"]["detail"] for one in found[1:]]
    for detail, name, near in zip(
        details, ("vektors", "person.nme", "face.abot"), ("vectors", "name", "about"), strict=True
    ):
        assert detail.startswith(f"{name}: unknown field; did you mean {near}")
    client.post("/v1/collections", json={"name": "copy"})
    for form in ("true", "base64"):
        lines = client.get(f"{STAFF}/export?vectors={form}").content
        exported = [json.loads(line) for line in lines.splitlines()]
        assert exported and {"created", "updated", "faces"} <= exported[0]["person"].keys()
        assert {"person", "created", "has_crop"} <= exported[0]["face"].keys() and "model" in exported[0]
        *again, _ = told(client.post("/v1/collections/copy/bulk", content=lines))
        assert {one["status"] for one in again} == {"enrolled"}


def test_what_a_collection_tells_of_its_network_may_stand_in_a_row() -> None:
    model = {"name": "sface", "sha256": "0" * 64, "dimension": 3}
    row = BulkRow.model_validate({"person": {"id": "a"}, "vector": [1, 2, 3], "model": model})
    assert row.model is not None and row.model.name == "sface"


@pytest.mark.parametrize("body", BODIES)
def test_the_document_says_so(body: type[Strict]) -> None:
    assert body.model_json_schema()["additionalProperties"] is False
    known = body.model_fields.keys() | body.unread
    with pytest.raises(ValidationError) as caught:
        body.model_validate({"nonsense": 1})
    assert ("nonsense",) in [one["loc"] for one in caught.value.errors()] and "nonsense" not in known


@given(st.text(), st.lists(st.sampled_from(["images", "vectors", "limit", "metadata"]), unique=True))
def test_whatever_is_misspelt_something_is_said_of_it(name: str, known: list[str]) -> None:
    assert unknown(name, known).startswith("unknown field; ")


def test_very_many_and_very_long_ones_cost_little(client: Client) -> None:
    many = {f"field{i}": i for i in range(200_000)}
    started = time.process_time()
    answer = client.post(PERSONS, json=many)
    assert len(answer.json()["detail"]) == 5 and answer.status_code == 422
    fault(client.post(PERSONS, json={"image" * 200_000: 1}))
    assert time.process_time() - started < 20  # each told of: minutes
