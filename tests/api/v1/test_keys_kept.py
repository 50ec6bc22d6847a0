"""Where idempotency keys are kept: on the disk again as soon as that can be, and a day whatever the clock says."""

import sqlite3
import time
from pathlib import Path

import pytest

from visage.api import idempotency
from visage.api.idempotency import Kept, Keys

DAY = 86_400.0
TOLD = Kept(201, {"location": "/x"}, b"tells of Grace")


class Disk:
    """What opening a file of keys comes to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self._connected = idempotency._connected
        monkeypatch.setattr(idempotency, "_connected", self.connected)

    def connected(self, where: str) -> sqlite3.Connection:
        if self.full and where != ":memory:":
            raise sqlite3.OperationalError("database or disk is full")
        return self._connected(where)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_what_was_kept_in_memory_is_on_the_disk_once_there_is_room(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    keys = Keys(tmp_path / "idempotency.db")
    assert keys.begin("k", "r") is False
    keys.finish("k", TOLD, "staff/grace")
    assert keys.begin("open", "r") is False
    assert "disk is full" in keys.warning and keys.begin("k", "r") == TOLD
    disk.full = False
    assert keys.begin("other", "r") is False
    assert keys.warning == "" and "kept in DATA_DIR/idempotency.db again" in caplog.text
    again = Keys(tmp_path / "idempotency.db")  # after a restart
    assert again.begin("k", "r") == TOLD and again.begin("open", "r") is True and again.begin("other", "r") is True
    keys.finish("open", TOLD, "staff/ada")
    assert again.begin("open", "r") == TOLD
    keys.close()
    again.close()


@pytest.mark.parametrize("how", ["tidy", "close"])
def test_they_go_to_the_disk_without_another_key(tmp_path: Path, disk: Disk, how: str) -> None:
    keys = Keys(tmp_path / "idempotency.db")
    keys.begin("k", "r")
    keys.finish("k", TOLD, "staff/grace")
    disk.full = False
    getattr(keys, how)()
    again = Keys(tmp_path / "idempotency.db")
    assert again.begin("k", "r") == TOLD
    again.close()
    keys.close()


def test_what_another_process_knows_better_stays(tmp_path: Path, disk: Disk) -> None:
    keys = Keys(tmp_path / "idempotency.db")
    for key in ("a", "b"):
        keys.begin(key, "r")
    keys.finish("b", TOLD, "staff/grace")
    disk.full = False
    other = Keys(tmp_path / "idempotency.db")
    other.begin("a", "r")
    other.finish("a", Kept(200, {}, b"by another"), "staff/a")
    other.begin("b", "r")
    keys.tidy()
    assert keys.begin("a", "r") == Kept(200, {}, b"by another") and other.begin("b", "r") == TOLD
    keys.close()
    other.close()


def test_who_was_forgotten_meanwhile_is_forgotten_on_the_disk(tmp_path: Path, disk: Disk) -> None:
    disk.full = False
    first = Keys(tmp_path / "idempotency.db")
    first.begin("k", "r")
    first.finish("k", TOLD, "staff/grace")
    first.close()
    disk.full = True
    keys = Keys(tmp_path / "idempotency.db")
    keys.begin("under way", "r")
    keys.forget("staff/grace")
    disk.full = False
    keys.tidy()
    keys.finish("under way", TOLD, "staff/grace")  # an answer that comes after the deletion
    assert keys.begin("k", "r") is False and keys.begin("under way", "r") is True
    assert not any(b"tells of Grace" in file.read_bytes() for file in tmp_path.glob("idempotency.db*"))
    keys.close()


def test_a_repetition_is_answered_on_a_full_disk(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "idempotency.db")
    keys.begin("k", "r")
    keys.finish("k", TOLD, "staff/grace")
    assert keys._database is not None
    keys._database.execute("PRAGMA query_only = ON")  # every write fails
    assert keys.begin("k", "r") == TOLD
    keys.close()


@pytest.mark.parametrize("damaged", ["at the start", "while it runs"])
def test_a_damaged_file_is_told_and_does_not_stop_writes(tmp_path: Path, damaged: str) -> None:
    file = tmp_path / "idempotency.db"
    if damaged == "at the start":
        file.write_bytes(b"not a database, " * 1000)
    keys = Keys(file)
    if damaged == "while it runs":
        keys.begin("before", "r")
        assert keys._database is not None
        keys._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        file.write_bytes(b"not a database, " * 1000)
        keys._database.execute("PRAGMA shrink_memory")
    keys.look()
    assert keys.begin("k", "r") is False
    keys.finish("k", TOLD, "staff/grace")
    assert keys.begin("k", "r") == TOLD
    assert "idempotency.db is damaged" in keys.warning and "delete it" in keys.warning
    file.unlink()
    assert keys.begin("k", "r") == TOLD and keys.warning == "" and file.exists()
    keys.close()


@pytest.mark.parametrize("step", [-400 * DAY, -3600.0, 2 * DAY, 400 * DAY])
def test_a_clock_that_is_put_makes_no_key_older_or_younger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    keys = Keys(tmp_path / "idempotency.db")
    keys.begin("k", "r")
    keys.finish("k", TOLD, "staff/grace")
    wall = time.time() + step
    monkeypatch.setattr(time, "time", lambda: wall)
    keys.tidy()
    assert keys.begin("k", "r") == TOLD
    assert keys.begin("under way", "r") is False
    monkeypatch.undo()  # it is right again
    keys.forget("staff/grace")
    keys.finish("under way", TOLD, "staff/grace")
    assert keys.begin("k", "r") is False and keys.begin("under way", "r") is True
    keys.close()


def test_what_the_machine_did_not_run_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [90_000.0]
    keys = Keys(tmp_path / "idempotency.db", clock=lambda: clock[0])
    keys.begin("k", "r")
    keys.close()
    monkeypatch.setattr(idempotency, "start_of_machine", lambda: "another start")
    clock[0] = 200_000.0  # another machine has run for longer
    for _ in range(2):
        keys = Keys(tmp_path / "idempotency.db", clock=lambda: clock[0])
        keys.tidy()
        assert keys.begin("k", "r") is True
        clock[0] += DAY / 2
        keys.close()
    clock[0] += 1
    keys = Keys(tmp_path / "idempotency.db", clock=lambda: clock[0])
    assert keys.begin("k", "r") is False
    keys.close()


def test_a_file_of_an_earlier_version_is_gone_on_with(tmp_path: Path) -> None:
    file = sqlite3.connect(tmp_path / "idempotency.db", isolation_level=None)
    file.executescript(idempotency._TABLES)
    file.execute("DROP TABLE elapsed")
    now = time.time()
    for key, at in (("old", now - DAY - 60), ("young", now)):
        file.execute("INSERT INTO answers (key, request, at) VALUES (?, 'r', ?)", (key, at))
    file.close()
    keys = Keys(tmp_path / "idempotency.db")
    assert keys.begin("young", "r") is True and keys.begin("old", "r") is False
    keys.close()
