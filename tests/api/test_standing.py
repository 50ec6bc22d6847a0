"""/ready and the gallery routes where the data folder cannot be written to, or what is in it cannot be used."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import unwritable
from tests.search.embedded.test_damaged import DAMAGES
from tests.search.galleries import many, new, opened, unit
from tests.support import Client, constant_runtime, settings_of, state_of, wait_ready
from visage.access.keyfile import KeyFile
from visage.api.app import create_app
from visage.search.embedded.ranking import compile_kernels
from visage.search.folder import FILE


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Before this process becomes nobody, who may not read what Python loads for it."""
    compile_kernels()
    with service(Path("/nonexistent/visage")) as client:
        client.get("/ready")


@pytest.fixture
def data() -> Iterator[Path]:
    with unwritable.folder() as place:
        yield place


@contextmanager
def service(data: Path, **environ: str) -> Iterator[Client]:
    """Ready or not, once that is known."""
    app = create_app(settings_of(DATA_DIR=str(data), **environ), opener=constant_runtime)
    with Client(app, raise_server_exceptions=False) as client:
        wait_ready(lambda: state_of(client).runtime is not None)
        yield client


def fill(data: Path) -> Path:
    with opened(data / "galleries") as kept:
        kept.create(new())
        kept.enrol("staff", many(unit(40)))
        kept._upkeep.fold(at_once=True)
    return data / "galleries" / FILE


def test_all_is_well_where_nothing_is_kept_and_nothing_is_made(data: Path) -> None:
    with service(data) as client:
        assert client.get("/ready").json() == {"status": "ready"}
        assert list(data.iterdir()) == []


@pytest.mark.parametrize("kind", ["header", "empty", "half", "foreign", "column", "folder", "gone"])
def test_galleries_that_cannot_be_used_are_not_ready_until_they_are_mended(
    data: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("visage.api.galleries._LOOK_SECONDS", 0.0)
    file = fill(data)
    whole = file.read_bytes()
    DAMAGES[kind][0](file)
    with service(data) as client:
        for _ in range(2):
            refused = client.get("/ready")
            assert refused.status_code == 503 and refused.json()["type"] == "urn:visage:not-ready"
            assert FILE in refused.json()["detail"] and str(data) not in refused.text
            assert int(refused.headers["retry-after"]) > 0
        assert client.get("/health").status_code == 200
        assert client.get("/v1/collections").status_code == 503
        assert client.post("/v1/collections", json={"name": "x"}).status_code == 503
        if file.is_dir():
            file.rmdir()
        file.write_bytes(whole)
        assert client.get("/ready").json() == {"status": "ready"}
        assert [one["name"] for one in client.get("/v1/collections").json()["items"]] == ["staff"]


def test_damage_that_comes_while_it_runs_is_not_ready(data: Path) -> None:
    file = fill(data)
    with service(data) as client:
        assert client.get("/ready").status_code == 200
        DAMAGES["first page"][0](file)
        wait_ready(lambda: client.get("/v1/collections?limit=1").status_code == 503 or _fresh(client), 30)
        assert client.get("/ready").status_code == 503


def _fresh(client: Client) -> bool:
    """Connections that are open keep the page that was damaged; new ones read it."""
    state_of(client).galleries._store._readers.close()
    return False


def test_a_folder_that_is_only_read_answers_reads_and_warns(data: Path) -> None:
    fill(data)
    with unwritable.only_read(data), service(data) as client:
        told = client.get("/ready")
        assert told.status_code == 200 and "read-only" in told.json()["warnings"][0]
        assert client.get("/v1/collections/staff").json()["persons"] == 40
        assert client.get("/v1/collections/staff/persons/p3").status_code == 200
        for refused in (
            client.post("/v1/collections", json={"name": "x"}),
            client.delete("/v1/collections/staff/persons/p3"),
            client.patch("/v1/collections/staff", json={"description": "x"}),
        ):
            assert refused.status_code == 503 and "DATA_DIR is read-only" in refused.json()["detail"], refused.text
        assert client.get("/ready").status_code == 200


def test_an_empty_folder_that_is_only_read_has_no_collections(data: Path) -> None:
    with unwritable.only_read(data), service(data) as client:
        assert client.get("/v1/collections").json() == {"items": [], "next": None}
        assert client.get("/v1/collections/staff").status_code == 404
        assert "read-only" in client.get("/ready").json()["warnings"][0]
    assert list(data.iterdir()) == []


def test_keys_in_a_folder_that_is_only_read_are_valid(data: Path) -> None:
    fill(data)
    _, secret = KeyFile(data).add("desk", frozenset({"read"}), rate=2)
    with unwritable.only_read(data), service(data, AUTH="keys") as client:
        headers = {"Authorization": f"Bearer {secret}"}
        assert client.get("/v1/collections").status_code == 401
        statuses = [client.get("/v1/collections", headers=headers).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]


def test_keys_that_cannot_be_read_any_more_are_not_ready(data: Path) -> None:
    file = KeyFile(data)
    _, secret = file.add("desk", frozenset({"read"}))
    whole = file.path.read_bytes()
    with service(data, AUTH="keys") as client:
        headers = {"Authorization": f"Bearer {secret}"}
        assert client.get("/v1/collections", headers=headers).status_code == 200
        file.path.unlink()
        file.path.write_bytes(b"not a database, " * 1000)
        assert client.get("/ready").status_code == 503 and "access.db" in client.get("/ready").json()["detail"]
        assert client.get("/v1/collections", headers=headers).status_code == 503
        file.path.unlink()
        file.path.write_bytes(whole)
        assert client.get("/ready").status_code == 200
        assert client.get("/v1/collections", headers=headers).status_code == 200


def test_idempotency_keys_that_cannot_be_kept_are_a_warning(data: Path) -> None:
    (data / "idempotency.db").write_bytes(b"not a database, " * 1000)
    with service(data) as client:
        told = client.get("/ready")
        assert told.status_code == 200 and "idempotency.db is damaged" in told.json()["warnings"][0]
        (data / "idempotency.db").unlink()
        assert client.delete("/v1/collections/x", headers={"Idempotency-Key": "k"}).status_code == 404
        assert client.get("/ready").json() == {"status": "ready"}
        connection = sqlite3.connect(data / "idempotency.db")
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (0,)
        connection.close()
