"""Collections: made, listed, changed, deleted; bound to a recogniser."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.galleries import MemoryStore, gallery_client
from tests.support import Client, ConstantEmbedder, constant_client
from visage.errors import StoreUnavailable


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(tmp_path: Path, store: MemoryStore) -> Iterator[Client]:
    with gallery_client(tmp_path / "data", store=store, SAME_THRESHOLD="0.4") as client:
        yield client


def test_one_is_made_and_told(client: Client) -> None:
    made = client.post("/v1/collections", json={"name": "staff", "description": "d", "metadata": {"a": [1]}})
    assert made.status_code == 201 and made.headers["location"] == "/v1/collections/staff"
    told = client.get(made.headers["location"]).json()
    assert told == made.json()
    fed = "aligned 112x112 rgb nchw (x-127.5)/127.5"
    assert told["model"] == {"name": "constant_embedder", "sha256": "e" * 64, "preprocess": fed, "dimension": 512}
    assert (told["precision"], told["index"], told["description"], told["metadata"]) == (
        "fp32",
        "exact",
        "d",
        {"a": [1]},
    )
    assert told["created"].endswith("Z") and (told["persons"], told["faces"]) == (0, 0)
    again = client.post("/v1/collections", json={"name": "staff"})
    assert again.status_code == 409 and again.json()["type"] == "urn:visage:already-there"


def test_it_is_bound_to_the_recogniser_that_is_named(tmp_path: Path) -> None:
    with gallery_client(tmp_path / "d", runtime={"embedders": {"other": ConstantEmbedder()}}) as client:
        made = client.post("/v1/collections", json={"name": "staff", "rec_name": "other"}).json()
        assert made["model"]["name"] == "other"
        assert client.post("/v1/collections", json={"name": "x", "rec_name": "absent"}).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "Staff"},
        {"name": "a/b"},
        {"name": "a" * 64},
        {"name": "a", "precision": "fp8"},
        {"name": "a", "index": "ivf"},
        {"name": "a", "metadata": [1]},
        {"name": "a", "metadata": {"x": "y" * 70_000}},
    ],
)
def test_what_no_collection_can_be_is_refused(client: Client, body: dict[str, Any]) -> None:
    assert client.post("/v1/collections", json=body).json()["type"] == "urn:visage:validation"


def test_pages_follow_each_other(client: Client) -> None:
    names = [f"c{i}" for i in range(5)]
    for name in names:
        client.post("/v1/collections", json={"name": name})
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        answer = client.get("/v1/collections", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["name"] for one in answer["items"]]
        cursor, pages = answer["next"], pages + 1
    assert seen == names and pages == 3
    for bad in ("nonsense", "YQ", "é"):
        assert client.get("/v1/collections", params={"cursor": bad}).status_code == 422
    assert client.get("/v1/collections?limit=0").status_code == 422


def test_one_is_changed_and_deleted(client: Client, store: MemoryStore) -> None:
    client.post("/v1/collections", json={"name": "staff", "description": "old", "metadata": {"a": 1}})
    changed = client.patch("/v1/collections/staff", json={"description": "new"}).json()
    assert (changed["description"], changed["metadata"]) == ("new", {"a": 1})
    assert client.patch("/v1/collections/staff", json={"metadata": {}}).json()["metadata"] == {}
    assert client.post("/v1/collections/staff/compact").json()["name"] == "staff" and store.compacted == ["staff"]
    assert client.delete("/v1/collections/staff").status_code == 204
    for answer in (
        client.get("/v1/collections/staff"),
        client.patch("/v1/collections/staff", json={"metadata": {}}),
        client.delete("/v1/collections/staff"),
        client.post("/v1/collections/staff/compact"),
        client.get("/v1/collections/staff/export"),
        client.post("/v1/collections/staff/bulk", content=b""),
        client.post("/v1/collections/staff/search", json={"vectors": [[1]]}),
        client.get("/v1/collections/staff/persons"),
    ):
        assert answer.status_code == 404 and answer.json()["type"] == "urn:visage:collection-missing"


def test_a_store_that_is_away_is_a_503_and_health_goes_on(tmp_path: Path) -> None:
    def away(_: str) -> Any:
        raise StoreUnavailable("The store is away", retry_after=7)

    from tests.support import client_of, constant_runtime, settings_of

    settings = settings_of(DATA_DIR=str(tmp_path / "data"))
    with client_of(settings, opener=constant_runtime, stores=away) as client:
        answer = client.get("/v1/collections")
        assert answer.status_code == 503 and answer.headers["retry-after"] == "7"
        assert answer.json()["type"] == "urn:visage:store-unavailable"
        assert client.get("/health").status_code == 200
    assert not (tmp_path / "data").exists()


def test_reading_makes_nothing_on_disk(tmp_path: Path) -> None:
    with gallery_client(tmp_path / "data") as client:
        client.get("/v1/collections")
    assert not (tmp_path / "data").exists()


def test_the_store_is_closed_with_the_service(tmp_path: Path) -> None:
    store = MemoryStore()
    with gallery_client(tmp_path / "data", store=store) as client:
        client.get("/v1/collections")
        assert not store.closed
    assert store.closed


def test_an_index_whose_library_is_not_installed_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with constant_client(DATA_DIR=str(tmp_path)) as client:
        answer = client.post("/v1/collections", json={"name": "rough", "index": "hnsw"})
        assert (answer.status_code, answer.json()["type"]) == (501, "urn:visage:backend-unavailable")
        assert "pip install visage[search]" in answer.json()["detail"]
        assert client.get("/v1/collections/rough").status_code == 404
