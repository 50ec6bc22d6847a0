"""A service is killed, and a copy is put in the place of its database, as it was once documented."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.search.embedded.test_processes import hold_whole, worker_in
from tests.search.galleries import many, new, opened, unit
from tests.search.workers import Worker
from tests.support import served, settings_of, wait_ready
from visage.doctor import findings
from visage.errors import StoreUnavailable
from visage.search.embedded.database import FILE

pytestmark = pytest.mark.timeout(400)


def by_backup(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as made:
        old.backup(made)


def by_vacuum(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old:
        old.execute("VACUUM INTO ?", (str(target),))


def killed_while_writing(folder: Path, who: str) -> Worker:
    worker = worker_in(folder, who, 0, 1_000_000, 5)
    worker.begun.wait(200)
    wait_ready(lambda: len(worker.acknowledged) > 300)
    worker.kill()
    return worker


@pytest.mark.parametrize("copied", [by_backup, by_vacuum])
def test_the_log_of_a_killed_service_is_not_played_into_a_copy(
    tmp_path: Path, copied: Callable[[Path, Path], None]
) -> None:
    folder = tmp_path / "galleries"
    with opened(folder) as store:
        store.create(new())
        store.enrol("staff", many(unit(500)))
        copied(folder / FILE, tmp_path / "copy.sqlite")
    killed_while_writing(folder, "w")
    log = folder / f"{FILE}-wal"
    written = log.read_bytes()
    assert written
    shutil.copyfile(tmp_path / "copy.sqlite", folder / FILE)

    for _ in range(2):
        with pytest.raises(StoreUnavailable) as error, opened(folder):
            pass
        assert f"{FILE}-wal is not the log of this {FILE}" in str(error.value)
        assert f"move {FILE}-wal and {FILE}-shm away" in str(error.value)
    assert log.read_bytes() == written  # nothing is deleted

    for suffix in ("-wal", "-shm"):
        (folder / f"{FILE}{suffix}").rename(tmp_path / f"aside{suffix}")
    with opened(folder) as store:
        assert store.collection("staff").persons == 500 == sum(1 for _ in store.export("staff"))


def test_a_killed_service_goes_on_where_it_was_in_its_own_folder_and_in_another(tmp_path: Path) -> None:
    folder = tmp_path / "galleries"
    with opened(folder) as store:
        store.create(new())
    first = killed_while_writing(folder, "a")
    (tmp_path / "moved").mkdir()
    for file in (f"{FILE}-wal", FILE):  # other files, made in another order
        shutil.copyfile(folder / file, tmp_path / "moved" / file)
    for place in (folder, tmp_path / "moved"):
        with opened(place) as store:
            hold_whole(store, "a", first.acknowledged)
    second = killed_while_writing(folder, "b")
    with opened(folder) as store:
        hold_whole(store, "a", first.acknowledged)
        hold_whole(store, "b", second.acknowledged)


def test_the_service_tells_of_it_and_answers_pictures_as_ever(tmp_path: Path, models_dir: Path) -> None:
    """The process itself, killed while it enrols."""
    environ = {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "AUTH": "off"}
    database = tmp_path / "data" / "galleries" / FILE
    vectors = [[1.0] + [0.0] * 127]

    def enrol(client: httpx.Client, count: int) -> None:
        for _ in range(count):
            made = client.post("/v1/collections/staff/persons", json={"vectors": vectors})
            assert made.status_code == 201, made.text

    (tmp_path / "first").mkdir()
    with served(tmp_path / "first", **environ) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        assert client.post("/v1/collections", json={"name": "staff"}).status_code == 201
        enrol(client, 5)
        by_backup(database, tmp_path / "copy.sqlite")
        enrol(client, 10)
        server.process.kill()
        server.process.wait()
    shutil.copyfile(tmp_path / "copy.sqlite", database)
    (tmp_path / "second").mkdir()
    with served(tmp_path / "second", **environ) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        answer = client.get("/v1/collections")
        assert answer.status_code == 503 and f"{FILE}-wal is not the log of this {FILE}" in answer.json()["detail"]
        assert client.get("/health").status_code == 200
        ready = client.get("/ready")
        assert ready.status_code == 503 and f"move {FILE}-wal and {FILE}-shm away" in ready.json()["detail"]
    (found,) = (one for one in findings(settings_of(**environ)) if one.about == "galleries")
    assert found.verdict == "bad" and f"{FILE}-wal is not the log of this {FILE}" in found.what
    database.with_name(f"{FILE}-wal").rename(tmp_path / "aside")
    (tmp_path / "third").mkdir()
    with served(tmp_path / "third", **environ) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        assert client.get("/v1/collections/staff").json()["persons"] == 5
