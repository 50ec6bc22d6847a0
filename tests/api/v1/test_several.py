"""Vectors are those of the network that a request or a collection names, whatever the service's default is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from tests.api.v1.test_faces import Finds
from tests.galleries import MemoryStore, gallery_client
from tests.support import Client, b64
from tests.wire import PHOTO
from visage.faces import Embedding, Pixels
from visage.families.base import ALIGNED
from visage_client import rows

GOOD = b64(PHOTO)
NAMES = {"constant_embedder": [1, 0, 0], "as_long": [0, 1, 0], "longer": [0, 0, 1, 0]}


class Says:
    """Every crop is this vector."""

    crop = ALIGNED
    max_batch = 0
    streams = 0

    def __init__(self, vector: list[float]) -> None:
        self._vector = np.asarray(vector, np.float32)

    def predict(self, crops: Pixels, /) -> list[Embedding]:
        return [Embedding(self._vector, 12.0)] * len(crops)


def client_with(folder: Path, *, default: bool = True, **environ: str) -> Any:
    embedders = {name: Says([*map(float, vector)]) for name, vector in NAMES.items() if name != "constant_embedder"}
    runtime: dict[str, Any] = {"detector": Finds(), "embedders": embedders, "recognition": default}
    if default:
        runtime["embedder"] = Says([1.0, 0.0, 0.0])
    return gallery_client(folder, runtime=runtime, SAME_THRESHOLD="0.9", **environ)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with client_with(tmp_path / "d") as client:
        yield client


def asked(client: Client, how: str, path: str, **fields: Any) -> Any:
    """One picture and fields, as JSON, as msgpack, or as the body with a query."""
    if how == "json":
        return client.post(path, json={"images": [GOOD], **fields})
    if how == "msgpack":
        body = msgpack.packb({"images": [PHOTO], **fields})
        return client.post(path, content=body, headers={"Content-Type": "application/msgpack"})
    return client.post(path, params=fields, content=PHOTO, headers={"Content-Type": "image/jpeg"})


HOW = pytest.mark.parametrize("how", ["json", "msgpack", "picture"])


@HOW
@pytest.mark.parametrize("name", NAMES)
def test_embeddings_are_those_of_the_network_that_is_named(client: Client, how: str, name: str) -> None:
    answer = asked(client, how, "/v1/embeddings", rec_name=name)
    assert answer.json()["images"][0]["faces"][0]["embedding"] == NAMES[name]
    assert answer.json()["models"]["rec"].startswith(f"{name}@") and f"rec={name}@" in answer.headers["X-Visage-Models"]


@HOW
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/detect"])
@pytest.mark.parametrize("field", ["rec_name", "det_name"])
def test_a_network_that_is_not_loaded_is_refused_where_it_was_named(
    client: Client, how: str, path: str, field: str
) -> None:
    answer = asked(client, how, path, **{field: "nobody"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query" if how == "picture" else "body", field]


def test_two_are_compared_by_the_network_that_is_named(client: Client) -> None:
    for name, vector in NAMES.items():
        body = {"a": {"image": GOOD}, "b": {"vector": vector}, "rec_name": name}
        told = client.post("/v1/compare", json=body).json()
        assert (told["similarity"], told["same"]) == (pytest.approx(1), True), name
        assert told["models"]["rec"].startswith(f"{name}@")
    refused = client.post("/v1/compare", json={"a": {"image": GOOD}, "b": {"image": GOOD}, "rec_name": "nobody"})
    assert refused.status_code == 422


@HOW
@pytest.mark.parametrize("name", ["as_long", "longer"])
def test_a_collections_own_network_embeds_for_it(client: Client, how: str, name: str) -> None:
    made = client.post("/v1/collections", json={"name": "staff", "rec_name": name})
    assert made.json()["model"]["dimension"] == len(NAMES[name])
    enrolled = asked(client, how, "/v1/collections/staff/persons", quality="off", faces="largest", id="a")
    assert enrolled.status_code == 201, enrolled.text
    more = asked(client, how, "/v1/collections/staff/persons/a/faces", quality="off", faces="largest")
    assert more.status_code == 201
    lines = [json.loads(line) for line in client.get("/v1/collections/staff/export").text.splitlines()]
    assert [line["vector"] for line in lines] == [NAMES[name]] * 2
    found = asked(client, how, "/v1/collections/staff/search").json()
    assert found["probes"][0]["matches"][0]["similarity"] == pytest.approx(1)
    for answer in (
        made,
        enrolled,
        more,
        client.get("/v1/collections/staff"),
        client.get("/v1/collections/staff/export"),
    ):
        told = answer.headers["X-Visage-Models"]
        assert f"rec={name}@" in told and "constant_embedder" not in told
    by_vector = client.post("/v1/collections/staff/search", json={"vectors": [NAMES[name]]})
    assert by_vector.json()["probes"][0]["verdict"] == "known"
    assert by_vector.headers["X-Visage-Models"].startswith(f"rec={name}@")


@HOW
def test_a_request_that_names_another_network_than_the_collections_is_refused(client: Client, how: str) -> None:
    client.post("/v1/collections", json={"name": "staff", "rec_name": "as_long"})
    for path in ("/v1/collections/staff/persons", "/v1/collections/staff/search"):
        answer = asked(client, how, path, rec_name="constant_embedder")
        assert answer.status_code == 409 and "as_long" in answer.json()["detail"]
        assert "Leave rec_name out" in answer.json()["detail"] and "Load" not in answer.json()["detail"]
        unknown = asked(client, how, path, rec_name="nobody")
        assert unknown.status_code == 422
        assert unknown.json()["detail"][0]["loc"] == ["query" if how == "picture" else "body", "rec_name"]
    vectors = {"vectors": [NAMES["as_long"]], "rec_name": "constant_embedder"}
    for path in ("/v1/collections/staff/persons", "/v1/collections/staff/search"):
        assert client.post(path, json=vectors).status_code == 409
    assert client.get("/v1/collections/staff").json()["persons"] == 0


def test_without_a_default_a_network_that_is_named_answers(tmp_path: Path) -> None:
    with client_with(tmp_path / "d", default=False) as client:
        assert asked(client, "json", "/v1/embeddings").status_code == 501
        told = asked(client, "json", "/v1/embeddings", rec_name="longer").json()
        assert told["images"][0]["faces"][0]["embedding"] == NAMES["longer"]
        assert client.post("/v1/collections", json={"name": "none"}).status_code == 501
        assert client.post("/v1/collections", json={"name": "staff", "rec_name": "longer"}).status_code == 201
        enrolled = asked(client, "json", "/v1/collections/staff/persons", quality="off", faces="largest")
        assert enrolled.status_code == 201
        assert asked(client, "json", "/v1/collections/staff/search").json()["probes"][0]["verdict"] == "known"


def test_a_collection_whose_network_is_not_loaded_takes_no_picture(tmp_path: Path) -> None:
    store = MemoryStore()
    with gallery_client(tmp_path / "d", store=store, runtime={"embedders": {"longer": Says([0, 0, 1, 0])}}) as client:
        client.post("/v1/collections", json={"name": "staff", "rec_name": "longer"})
    with gallery_client(tmp_path / "d", store=store, SAME_THRESHOLD="0.9") as client:
        for path in ("/v1/collections/staff/persons", "/v1/collections/staff/search"):
            refused = asked(client, "json", path)
            assert refused.status_code == 409 and "Load longer (REC_NAME or MODELS_LOADED)" in refused.json()["detail"]
        assert client.get("/v1/collections/staff").headers["X-Visage-Models"].startswith("rec=longer@")


# --- Vectors that say whose they are


def said(client: Client, name: str) -> list[Any]:
    """A network in every form in which the service tells it."""
    told = client.post("/v1/embeddings", json={"images": [GOOD], "rec_name": name}).json()["models"]["rec"]
    client.post("/v1/collections", json={"name": "of", "rec_name": name})
    held = client.get("/v1/collections/of").json()["model"]
    client.post("/v1/collections/of/persons", json={"id": "a", "vectors": [NAMES[name]]})
    line = exported(client, "of")[0]["model"]
    assert client.delete("/v1/collections/of").status_code == 204
    return [told, held, line, told.upper().replace(name.upper(), name)]


@pytest.mark.parametrize("form", range(4))
def test_vectors_that_say_they_are_anothers_are_refused(client: Client, form: int) -> None:
    own, foreign = said(client, "as_long")[form], said(client, "constant_embedder")[form]
    client.post("/v1/collections", json={"name": "staff", "rec_name": "as_long"})
    where = "/v1/collections/staff"
    paths = ("/persons", "/persons/a/faces", "/search")
    for i, path in enumerate(paths):
        assert client.post(where + path, json={"vectors": [[1, i, 0]], "model": own}).status_code in (200, 201, 404)
        if i == 0:
            client.post(where + path, json={"id": "a", "vectors": [NAMES["as_long"]], "model": own})
    before = client.get(where).json()
    assert (before["persons"], before["faces"]) == (2, 3)
    for path in paths:
        refused = client.post(where + path, json={"vectors": [[1, 0, 0]], "model": foreign})
        assert refused.status_code == 409 and refused.json()["type"] == "urn:visage:embedding-mismatch"
        assert "constant_embedder@" in refused.json()["detail"] and "as_long@" in refused.json()["detail"]
    *rows, last = imported(client, "staff", [{"vectors": [[0, 0, 1]], "model": one} for one in (foreign, own)])
    assert [row["status"] for row in rows] == ["failed", "enrolled"] and last["done"]
    assert client.get(where).json()["faces"] == before["faces"] + 1


@pytest.mark.parametrize("form", range(3))
def test_compared_are_vectors_of_one_network(client: Client, form: int) -> None:
    own, foreign = said(client, "as_long")[form], said(client, "constant_embedder")[form]

    def compared(rec_name: str | None, a: Any, b: Any) -> Any:
        sides = {"a": {"vector": [0, 1, 0], "model": a}, "b": {"vector": [0, 1, 0], "model": b}}
        return client.post("/v1/compare", json=sides | {"rec_name": rec_name})

    assert compared("as_long", own, own).json()["same"] and compared("as_long", own, None).json()["same"]
    for name, a, b in (("as_long", own, foreign), (None, own, own), ("constant_embedder", foreign, own)):
        refused = compared(name, a, b)
        assert refused.status_code == 409 and "as_long@" in refused.json()["detail"]
    beside = {"a": {"image": GOOD}, "b": {"vector": [0, 1, 0], "model": own}}
    assert client.post("/v1/compare", json=beside).status_code == 409
    assert client.post("/v1/compare", json=beside | {"rec_name": "as_long"}).json()["similarity"] == pytest.approx(1)
    longer = {"a": {"image": GOOD}, "b": {"vector": [0, 1, 0]}, "rec_name": "longer"}
    assert client.post("/v1/compare", json=longer).status_code == 409


def test_without_a_network_two_vectors_are_held_against_one_another(tmp_path: Path) -> None:
    with gallery_client(tmp_path / "d", runtime={"recognition": False}, SAME_THRESHOLD="0.9") as client:
        for other, status in (("x@" + "a" * 12, 200), ("x@" + "A" * 64, 200), ("x@" + "b" * 12, 409)):
            sides = {"a": {"vector": [1, 0], "model": "x@" + "a" * 12}, "b": {"vector": [1, 0], "model": other}}
            assert client.post("/v1/compare", json=sides).status_code == status, other
        fed = [{"name": "x", "sha256": "a" * 64, "preprocess": how} for how in ("one", "two")]
        sides = {name: {"vector": [1, 0], "model": model} for name, model in zip("ab", fed, strict=True)}
        refused = client.post("/v1/compare", json=sides)
        assert refused.status_code == 409 and "fed two" in refused.json()["detail"]


@pytest.mark.parametrize("model", ["sface", "sface@", "sface@fb14", "@fb143eea0783", 7, {"name": "x"}, ["x"]])
def test_what_names_no_network_is_told_so(client: Client, model: Any) -> None:
    client.post("/v1/collections", json={"name": "staff"})
    refused = client.post("/v1/collections/staff/search", json={"vectors": [[1, 0, 0]], "model": model})
    assert refused.status_code == 422
    assert {tuple(one["loc"][:2]) for one in refused.json()["detail"]} == {("body", "model")}


# --- What leaves and comes back


def exported(client: Client, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.get(f"/v1/collections/{name}/export").text.splitlines()]


def imported(client: Client, name: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    answer = client.post(f"/v1/collections/{name}/bulk", content=body, headers={"Content-Type": "application/x-ndjson"})
    return [json.loads(line) for line in answer.text.splitlines()]


def test_an_import_refuses_vectors_of_another_network_however_long(client: Client) -> None:
    for name, network in (("mine", "constant_embedder"), ("theirs", "as_long")):
        client.post("/v1/collections", json={"name": name, "rec_name": network})
        client.post(f"/v1/collections/{name}/persons", json={"id": "a", "vectors": [NAMES[network]]})
    lines = exported(client, "mine")
    assert lines[0]["model"]["name"] == "constant_embedder" and len(lines[0]["model"]["sha256"]) >= 12
    *rows, last = imported(client, "theirs", lines)
    assert (rows[0]["status"], last["failed"], last["faces"]) == ("failed", 1, 0)
    assert rows[0]["error"]["type"] == "urn:visage:embedding-mismatch"
    assert "constant_embedder@" in rows[0]["error"]["detail"] and "as_long@" in rows[0]["error"]["detail"]
    older = [{key: value for key, value in line.items() if key != "model"} for line in lines]
    assert imported(client, "theirs", [line | {"face": {"id": "new"}} for line in older])[-1]["failed"] == 0
    fed = [line | {"model": line["model"] | {"preprocess": "otherwise"}} for line in lines]
    assert imported(client, "mine", fed)[-1]["failed"] == 1


def test_times_come_back_with_what_was_exported(client: Client) -> None:
    client.post("/v1/collections", json={"name": "mine"})
    client.post("/v1/collections", json={"name": "copy"})
    client.post("/v1/collections/mine/persons", json={"id": "a", "vectors": [[1, 0, 0], [0, 1, 0]]})
    lines = exported(client, "mine")
    for line in lines:
        line["person"] |= {"created": "2020-01-02T03:04:05.000Z", "updated": "2021-01-02T03:04:05.000Z"}
        line["face"] |= {"created": "2020-06-02T03:04:05.000Z"}
    assert imported(client, "copy", lines)[-1] == {"done": True, "persons": 1, "faces": 2, "failed": 0}
    told = exported(client, "copy")
    assert [(one["person"]["created"], one["face"]["created"]) for one in told] == [
        ("2020-01-02T03:04:05.000Z", "2020-06-02T03:04:05.000Z")
    ] * 2
    assert told[0]["person"]["updated"] == "2021-01-02T03:04:05.000Z"
    assert [one["vector"] for one in told] == [one["vector"] for one in lines]
    bad = [lines[0] | {"person": {"id": "b", "created": "yesterday"}}]
    assert imported(client, "copy", bad)[-1]["failed"] == 1


def test_what_the_client_makes_of_an_export_comes_back(client: Client) -> None:
    for name, network in (("mine", "as_long"), ("copy", "as_long"), ("theirs", "constant_embedder")):
        client.post("/v1/collections", json={"name": name, "rec_name": network})
    client.post("/v1/collections/mine/persons", json={"id": "a", "name": "A", "vectors": [[1, 2, 3], [0, 1, 0]]})
    lines = exported(client, "mine")
    for line in lines:
        line["person"] |= {"created": "2020-01-02T03:04:05.678Z"}
    body = b"".join(map(rows.exported, lines))
    for name, failed in (("copy", 0), ("theirs", 2)):
        where = f"/v1/collections/{name}/bulk"
        answer = client.post(where, content=body, headers={"Content-Type": "application/x-msgpack"})
        assert json.loads(answer.text.splitlines()[-1])["failed"] == failed
    assert exported(client, "copy") == lines and exported(client, "theirs") == []
