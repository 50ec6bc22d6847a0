"""The same key, the same answer; nothing is made twice, even where the answer was lost."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.v1.test_bulk import Threefold
from tests.galleries import MemoryStore, gallery_client
from tests.support import Client
from visage.api.idempotency import Ids, Kept, Keys
from visage.errors import KeyReused, StoreUnavailable

PERSONS = "/v1/collections/staff/persons"
KEY = {"Idempotency-Key": "order 66"}


class Faltering(MemoryStore):
    """Writes, and is gone before it can say so, as often as `lost` says."""

    lost = 0

    def enrol(self, *given: Any, **more: Any) -> Any:
        done = super().enrol(*given, **more)
        if self.lost:
            self.lost -= 1
            raise StoreUnavailable("The store is away")
        return done


@pytest.fixture
def store() -> Faltering:
    return Faltering()


@pytest.fixture
def client(tmp_path: Path, store: Faltering) -> Iterator[Client]:
    with gallery_client(tmp_path / "data", store=store, runtime={"embedder": Threefold()}) as client:
        assert client.post("/v1/collections", json={"name": "staff"}).status_code == 201
        yield client


def test_a_repetition_gets_the_first_answer(client: Client, store: Faltering) -> None:
    body = {"name": "Ada", "vectors": [[1, 0, 0]]}
    first = client.post(PERSONS, json=body, headers=KEY)
    calls = store.enrol_calls
    again = client.post(PERSONS, json=body, headers=KEY)
    assert first.status_code == again.status_code == 201 and first.content == again.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replay"] == "true" and "idempotent-replay" not in first.headers
    assert store.enrol_calls == calls


def test_another_request_with_the_key_is_refused(client: Client) -> None:
    client.post(PERSONS, json={"id": "a"}, headers=KEY)
    problem = client.post(PERSONS, json={"id": "b"}, headers=KEY)
    assert problem.status_code == 409 and problem.json()["type"] == "urn:visage:idempotency-key-reused"
    # Another route's key, and another caller's, are others.
    assert client.post("/v1/collections", json={"name": "b"}, headers=KEY).status_code == 201
    assert client.post(PERSONS, json={"id": "b"}, headers={**KEY, "Authorization": "Bearer x"}).status_code == 201


@pytest.mark.parametrize("given", [{}, {"id": "ada"}])
def test_a_write_whose_answer_was_lost_is_not_done_again(client: Client, store: Faltering, given: Any) -> None:
    body = {**given, "vectors": [[1, 0, 0], [0, 1, 0]]}
    store.lost = 1
    assert client.post(PERSONS, json=body, headers=KEY).status_code == 503
    again = client.post(PERSONS, json=body, headers=KEY)
    assert again.status_code == 201, again.text
    assert [person.faces for person in store.persons("staff")] == [2]


def test_somebody_elses_person_is_not_taken_for_a_lost_write(client: Client, store: Faltering) -> None:
    body = {"id": "ada", "vectors": [[1, 0, 0]]}
    store.lost = 1
    assert client.post(PERSONS, json=body, headers=KEY).status_code == 503
    client.delete(f"{PERSONS}/ada")
    client.post(PERSONS, json={"id": "ada", "vectors": [[0, 0, 1]]})
    assert client.post(PERSONS, json=body, headers=KEY).status_code == 409


def test_a_person_without_faces_whose_answer_was_lost_is_not_refused(client: Client, store: Faltering) -> None:
    body = {"id": "nobody", "name": "Ann", "metadata": {"city": "Oslo"}}
    store.lost = 1
    assert client.post(PERSONS, json=body, headers=KEY).status_code == 503
    assert client.post(PERSONS, json=body, headers=KEY).status_code == 201
    assert client.post(PERSONS, json=body).status_code == 409
    store.lost = 1
    assert client.post(PERSONS, json={"id": "ada"}, headers={"Idempotency-Key": "b"}).status_code == 503
    client.patch(f"{PERSONS}/ada", json={"name": "Another"})
    assert client.post(PERSONS, json={"id": "ada"}, headers={"Idempotency-Key": "b"}).status_code == 409


def test_a_refusal_does_not_use_the_key_up(client: Client) -> None:
    assert client.post(PERSONS, json={"id": "a b"}, headers=KEY).status_code == 422
    assert client.post(PERSONS, json={"id": "ab"}, headers=KEY).status_code == 201


def test_deletions_and_changes_may_be_repeated(client: Client) -> None:
    client.post(PERSONS, json={"id": "a", "vectors": [[1, 0, 0]]})
    for call, status in (
        (lambda: client.patch(f"{PERSONS}/a", json={"name": "A"}, headers=KEY), 200),
        (lambda: client.patch("/v1/collections/staff", json={"description": "A"}, headers=KEY), 200),
        (lambda: client.delete(f"{PERSONS}/a", headers=KEY), 204),
        (lambda: client.delete("/v1/collections/staff", headers=KEY), 204),
    ):
        first, again = call(), call()
        assert first.status_code == again.status_code == status and first.content == again.content
        assert again.headers["idempotent-replay"] == "true"


def test_what_is_told_of_a_person_is_forgotten_with_them(client: Client, tmp_path: Path) -> None:
    client.post(PERSONS, json={"id": "a", "name": "Ada Lovelace"}, headers=KEY)
    files = list((tmp_path / "data").glob("idempotency.db*"))
    assert any(b"Ada Lovelace" in file.read_bytes() for file in files)
    client.delete(f"{PERSONS}/a")
    database = sqlite3.connect(tmp_path / "data" / "idempotency.db")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    assert not any(b"Ada Lovelace" in file.read_bytes() for file in files if file.exists())


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_keys_that_are_none(client: Client, key: str) -> None:
    assert client.post(PERSONS, json={}, headers={"Idempotency-Key": key}).status_code == 422


def test_ids_follow_from_the_key_alone() -> None:
    assert Ids("k").of("person") == Ids("k", again=True).of("person") != Ids("k").of("image-0")
    assert Ids("l").of("person") != Ids("k").of("person") and Ids().of("person") != Ids().of("person")


def test_a_key_lasts_a_day_and_processes_share_it(tmp_path: Path) -> None:
    now = [1000.0]
    one, other = (Keys(tmp_path / "d" / "idempotency.db", clock=lambda: now[0]) for _ in range(2))
    assert one.begin("k", "r") is False and other.begin("k", "r") is True
    kept = Kept(201, {"location": "/x"}, b"body")
    one.finish("k", kept, "staff/a")
    assert other.begin("k", "r") == kept
    with pytest.raises(KeyReused):
        other.begin("k", "another")
    now[0] += 86_401
    assert other.begin("k", "another") is False
    one.close()
    other.close()


def test_where_nothing_can_be_written_keys_live_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    keys = Keys(tmp_path / "file" / "idempotency.db")
    assert keys.begin("k", "r") is False
    keys.finish("k", Kept(204, {}, b""), "")
    assert keys.begin("k", "r") == Kept(204, {}, b"")
    for i in range(10_001):
        keys.begin(f"k{i}", "r")
    assert keys.begin("k", "other") is False  # the oldest went
    keys.close()
