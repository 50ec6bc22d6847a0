"""The same key, the same answer; nothing is made twice, even where the answer was lost."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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


def in_files(folder: Path, text: bytes) -> bool:
    """In the file of the keys or its log, as they are on the disk."""
    return any(text in file.read_bytes() for file in folder.glob("idempotency.db*"))


def test_what_is_told_of_a_person_is_forgotten_with_them(client: Client, tmp_path: Path) -> None:
    client.post(PERSONS, json={"id": "a", "name": "Ada Lovelace"}, headers=KEY)
    assert in_files(tmp_path / "data", b"Ada Lovelace")
    client.delete(f"{PERSONS}/a")
    assert not in_files(tmp_path / "data", b"Ada Lovelace")


def test_what_is_told_of_a_face_is_forgotten_with_it(client: Client, store: Faltering, tmp_path: Path) -> None:
    """The answer to its enrolment goes."""
    client.post(PERSONS, json={"id": "a", "name": "Ada Lovelace", "vectors": [[1, 0, 0]]}, headers=KEY)
    [face] = store.faces("staff", "a")
    assert in_files(tmp_path / "data", b"Ada Lovelace")
    call = f"{PERSONS}/a/faces/{face.id}"
    first, again = (client.delete(call, headers={"Idempotency-Key": "away"}) for _ in range(2))
    assert first.status_code == again.status_code == 204 and again.headers["idempotent-replay"] == "true"
    assert not in_files(tmp_path / "data", b"Ada Lovelace")


def test_an_answer_that_comes_after_the_deletion_is_not_kept(tmp_path: Path) -> None:
    now = [1000.0]
    keys = Keys(tmp_path / "idempotency.db", clock=lambda: now[0])
    told = Kept(201, {}, b"tells of Grace")
    for subject, forgotten in (("staff/grace", "staff/grace"), ("staff/grace", "staff"), ("staff", "staff")):
        key = f"{subject} {forgotten}"
        assert keys.begin(key, "r") is False
        now[0] += 1
        keys.forget(forgotten)
        keys.finish(key, told, subject)
        assert keys.begin(key, "r") is True  # it may have happened
        assert not in_files(tmp_path, b"tells of Grace")
        now[0] += 1
    for key, subject in (("later", "staff/grace"), ("another", "staff/gracey"), ("a deletion", "")):
        keys.begin(key, "r")
        if subject != "staff/grace":
            keys.forget("staff/grace")
        keys.finish(key, told, subject)
        assert keys.begin(key, "r") == told
    assert not in_files(tmp_path, b"staff/grace\x00") and keys.begin("new", "r") is False
    keys.close()


def test_old_answers_go_by_themselves(tmp_path: Path) -> None:
    now = [1000.0]
    keys = Keys(tmp_path / "idempotency.db", clock=lambda: now[0])
    keys.tidy()
    assert not list(tmp_path.iterdir())  # nobody has used a key
    keys.begin("k", "r")
    keys.finish("k", Kept(201, {}, b"tells of Grace"), "staff/grace")
    now[0] += 86_399
    keys.tidy()
    assert in_files(tmp_path, b"tells of Grace")
    now[0] += 2
    keys.tidy()
    assert not in_files(tmp_path, b"tells of Grace")
    keys.close()


def test_the_service_tidies_keys_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visage.api.app._ANSWERS_SECONDS", 0.02)
    tidied = threading.Event()
    monkeypatch.setattr(Keys, "tidy", lambda _: tidied.set())
    with gallery_client(tmp_path / "data"):
        assert tidied.wait(60)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections wait no longer than a test should."""
    monkeypatch.setattr("visage.api.idempotency._BUSY_SECONDS", 0.05)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The keys' file is being written by somebody who does not come to an end."""
    other = sqlite3.connect(folder / "idempotency.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@pytest.mark.usefixtures("impatient")
def test_keys_that_cannot_be_asked_are_a_503(client: Client, store: Faltering, tmp_path: Path) -> None:
    client.post(PERSONS, json={"id": "a"}, headers=KEY)
    with held(tmp_path / "data"):
        refused = client.post(PERSONS, json={"id": "b"}, headers={"Idempotency-Key": "other"})
        assert refused.status_code == 503 and refused.json()["type"] == "urn:visage:store-unavailable"
        assert int(refused.headers["retry-after"]) > 0
        assert [person.id for person in store.persons("staff")] == ["a"]
        assert client.delete(f"{PERSONS}/a").status_code == 204  # it is done, whatever becomes of the answers
    assert client.post(PERSONS, json={"id": "b"}, headers={"Idempotency-Key": "other"}).status_code == 201


@pytest.mark.usefixtures("impatient")
def test_what_is_to_be_kept_or_forgotten_waits_where_the_file_is_held(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "idempotency.db")
    for key in ("one", "two", "three"):
        keys.begin(key, "r")
    keys.finish("one", Kept(201, {}, b"tells of Grace"), "staff/grace")
    with held(tmp_path):
        keys.finish("two", Kept(201, {}, b"tells of Ada"), "staff/ada")
        keys.drop("three")
        keys.forget("staff/grace")
    assert keys.begin("two", "r") is True and keys.begin("three", "r") is True
    assert in_files(tmp_path, b"tells of Grace")
    keys.tidy()
    assert not in_files(tmp_path, b"tells of Grace") and keys.begin("one", "r") is False
    keys.close()


@pytest.mark.usefixtures("impatient")
def test_a_file_that_is_held_when_it_is_opened_is_not_given_up(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "idempotency.db").close()
    keys = Keys(tmp_path / "idempotency.db")
    with held(tmp_path), pytest.raises(StoreUnavailable, match="try again"):
        keys.begin("k", "r")
    assert keys.begin("k", "r") is False and keys._most == 0
    keys.close()


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
