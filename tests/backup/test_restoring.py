"""A backup is put back whole and only where it belongs; what it replaces is kept."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.backup.data import FILES, GALLERIES, PERSONS, answers, backed_up, everything, make, put_back, told
from tests.search.galleries import enrolment, ids, opened, unit
from visage.__main__ import main
from visage.access.keyfile import KeyFile
from visage.api.idempotency import Kept
from visage.backup import restoring
from visage.backup.manifest import FILE, _sealed
from visage.backup.parts import ONLY, PARTS
from visage.errors import BackupRefused, StoreUnavailable
from visage.search.embedded import database
from visage.search.embedded.segment import SUFFIX


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make(tmp_path / "data")


@pytest.fixture
def backup(data: Path, tmp_path: Path) -> Path:
    return backed_up(data, tmp_path / "backup")


def test_in_another_folder_it_is_what_it_was(data: Path, backup: Path, tmp_path: Path) -> None:
    with opened(data / GALLERIES) as store:
        before = told(store)
    found = put_back(backup, tmp_path / "again")
    with opened(tmp_path / "again" / GALLERIES) as store:
        assert told(store) == before
        store.enrol("staff", [enrolment("later", [("later", unit(1, seed=9)[0])])])
        assert ids(store, unit(1, seed=9)[0], top=1) == ["later"]
    assert found.kept == [] and found.parts["galleries"]["persons"] == PERSONS - 1 + 9
    assert [key.name for key in KeyFile(tmp_path / "again").all()] == ["desk", "door"]
    with answers(tmp_path / "again") as keys:
        assert keys.begin("once", "request") == Kept(201, {"X": "y"}, b"{}")
    again = tmp_path / "again"
    assert {path.stat().st_mode & 0o777 for path in (again, again / GALLERIES)} == {0o700}
    assert {path.stat().st_mode & 0o077 for path in again.iterdir() if path.is_file()} == {0}


def test_what_was_restored_is_told(
    backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "again"))
    assert main(["collections", "restore", str(backup), "--dry-run"]) == 0
    assert "is whole: as it was backed up at 20" in capsys.readouterr().out
    assert not (tmp_path / "again").exists()
    assert main(["collections", "restore", str(backup)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [
        "idempotency: 1 answer",
        f"galleries: 2 collections, {PERSONS - 1 + 9} persons, {PERSONS - 1 + 9} faces",
        "keys: 2 keys, 2 valid",
    ]
    assert said[3].startswith(f"{tmp_path / 'again'}: as it was backed up at 20")


@pytest.mark.parametrize("file", [*FILES, FILE])
@pytest.mark.parametrize("part", range(9))
def test_a_bit_that_turned_is_found_and_nothing_is_changed(
    data: Path, backup: Path, tmp_path: Path, file: str, part: int
) -> None:
    content = bytearray((backup / file).read_bytes())
    content[(len(content) - 1) * part // 8] ^= 1 << part % 8
    (backup / file).write_bytes(content)
    before = everything(data)
    with pytest.raises(BackupRefused, match=r"damaged|newer|another program"):
        put_back(backup, data, force=True)
    assert everything(data) == before
    with pytest.raises(BackupRefused):
        put_back(backup, tmp_path / "again")
    assert not [path for path in (tmp_path / "again").rglob("*") if path.is_file() and path.name != "use.lock"]
    with pytest.raises(BackupRefused):
        restoring.check(backup, PARTS)


@pytest.mark.parametrize("file", [*FILES, FILE])
@pytest.mark.parametrize("how", ["cut", "longer", "missing", "a folder"])
def test_a_file_of_another_length_is_refused(backup: Path, tmp_path: Path, file: str, how: str) -> None:
    path = backup / file
    content = path.read_bytes()
    path.unlink()
    match how:
        case "cut":
            path.write_bytes(content[:-1])
        case "longer":
            path.write_bytes(content + b"\n")
        case "a folder":
            path.mkdir()
    with pytest.raises(BackupRefused):
        put_back(backup, tmp_path / "again")


def of_another(backup: Path, other: Path) -> None:
    shutil.copyfile(other / FILE, backup / FILE)


def file_of_another(backup: Path, other: Path) -> None:
    shutil.copyfile(other / FILES[0], backup / FILES[0])


def stray(name: str) -> Callable[[Path, Path], None]:
    return lambda backup, _: (backup / name).write_bytes(b"something") and None


def told_less(backup: Path, _: Path) -> None:
    """A manifest that is whole, beside a database that it does not know."""
    about = json.loads((backup / FILE).read_bytes())
    del about["sha256"], about["parts"]["keys"]
    (backup / FILE).write_bytes(_sealed(about))


def newer(what: str) -> Callable[[Path, Path], None]:
    def change(backup: Path, _: Path) -> None:
        about = json.loads((backup / FILE).read_bytes())
        del about["sha256"]
        match what:
            case "manifest":
                about["form"] = 2
            case "tables":
                about["parts"]["galleries"]["form"] = 2
            case "part":
                about["parts"]["voices"] = about["parts"]["keys"]
        (backup / FILE).write_bytes(_sealed(about))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_another, "another backup"),
        (file_of_another, "another backup"),
        (stray("galleries.sqlite-wal"), "is no part of the backup"),
        (stray("idempotency.db-wal"), "is no part of the backup"),
        (stray("access.db-journal"), "is no part of the backup"),
        (told_less, "access.db is of another backup"),
        (newer("manifest"), "newer visage"),
        (newer("tables"), "newer visage"),
        (newer("part"), "newer visage"),
        (lambda backup, _: (backup / FILE).unlink(), "has no manifest.json"),
        (lambda backup, _: (backup / FILE).write_text("[]") and None, "of another program"),
        (lambda backup, _: (backup / FILE).write_text("{") and None, "cannot be read"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    data: Path, backup: Path, tmp_path: Path, change: Callable[[Path, Path], None], said: str
) -> None:
    with opened(data / GALLERIES) as store:
        store.enrol("staff", [enrolment("more")])
    other = backed_up(data, tmp_path / "other")
    change(backup, other)
    before = everything(data)
    with pytest.raises(BackupRefused) as error:
        put_back(backup, data, force=True)
    assert said in str(error.value)
    assert everything(data) == before


def test_what_is_there_is_replaced_only_by_force_and_is_kept(data: Path, backup: Path) -> None:
    with opened(data / GALLERIES) as store:
        store._upkeep.fold("staff", at_once=True)
        store.enrol("staff", [enrolment("more", [("more", unit(1, seed=9)[0])])])
        later = told(store)
    before = everything(data)
    with pytest.raises(BackupRefused, match="has idempotency, galleries, keys already"):
        put_back(backup, data)
    assert everything(data) == before
    found = put_back(backup, data, force=True)
    with opened(data / GALLERIES) as store:
        assert "more" not in {person.id for person in store.persons("staff")}
    assert [path.parent for path in found.kept] == [data, data / GALLERIES]
    assert not list((data / GALLERIES).glob(f"*{SUFFIX}")) and list(found.kept[1].glob(f"*{SUFFIX}"))
    with opened(found.kept[1]) as store:
        assert told(store) == later


def test_the_log_of_a_killed_service_makes_way_with_its_database(data: Path, backup: Path) -> None:
    """What was once corrupted in silence."""
    folder = data / GALLERIES
    if not os.fork():
        store = database.connect(folder)
        store.execute("UPDATE persons SET name = 'changed'")
        os._exit(0)
    os.wait()
    assert (folder / f"{database.FILE}-wal").stat().st_size
    found = put_back(backup, data, force=True)
    assert (found.kept[1] / f"{database.FILE}-wal").stat().st_size
    with opened(folder) as store:
        assert {person.name for person in store.persons("staff")} == {""}
    with closing(sqlite3.connect(found.kept[1] / database.FILE)) as connection:
        assert connection.execute("SELECT DISTINCT name FROM persons").fetchall() == [("changed",)]


def test_one_that_is_broken_off_between_two_files_is_seen_and_can_be_done_again(
    data: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data / GALLERIES
    if not os.fork():
        connection = database.connect(folder)
        connection.execute("PRAGMA user_version = 77")
        connection.execute("UPDATE persons SET name = 'changed'")
        os._exit(0)
    os.wait()
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if self.name == f"{database.FILE}-wal":
            raise OSError(5, "Input/output error", str(self))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(BackupRefused, match="Input/output error"):
        put_back(backup, data, force=True)
    monkeypatch.undo()
    with pytest.raises(StoreUnavailable, match="is not the log of this"), opened(folder):
        pass
    put_back(backup, data, force=True)
    with opened(folder) as store:
        assert store.collection("staff").persons == PERSONS - 1


def test_a_store_that_is_open_is_not_replaced_and_opens_not_meanwhile(
    data: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(data / GALLERIES) as store:
        before = everything(data / GALLERIES)
        with pytest.raises(BackupRefused, match=r"a service, or another command, uses galleries"):
            put_back(backup, data, force=True)
        assert everything(data / GALLERIES).keys() == before.keys()
        assert store.collection("staff").persons == PERSONS - 1
    swap = restoring._swap
    tried = []

    def meanwhile(*given: Any) -> Any:
        with pytest.raises(StoreUnavailable, match="is being restored"), opened(data / GALLERIES):
            pass
        with pytest.raises(BackupRefused, match="is being restored"):
            backed_up(data, data.parent / "meanwhile")
        tried.append(True)
        return swap(*given)

    monkeypatch.setattr(restoring, "_swap", meanwhile)
    put_back(backup, data, force=True)
    assert tried


@pytest.mark.parametrize("file", [f"{GALLERIES}/{FILES[0]}", FILES[1]])
def test_nor_is_a_database_that_any_program_has_open(data: Path, backup: Path, file: str) -> None:
    """A service of an earlier release, sqlite3: they know nothing of our lock."""
    program = (
        "import sqlite3, sys\nconnection = sqlite3.connect(sys.argv[1])\n"
        "connection.execute('SELECT * FROM sqlite_master').fetchall()\nprint('ready', flush=True)\nsys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(data / file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        with pytest.raises(BackupRefused, match=f"uses {Path(file).name} in"):
            put_back(backup, data, force=True)
    finally:
        process.communicate()
    put_back(backup, data, force=True)


def test_a_key_that_was_revoked_since_stays_revoked(data: Path, backup: Path) -> None:
    KeyFile(data).revoke("desk")
    KeyFile(data).add("new", frozenset({"read"}))
    found = put_back(backup, data, force=True)
    assert found.revoked == 1 and found.parts["keys"] == {"keys": 2, "valid": 1}
    assert {key.name: key.revoked is None for key in KeyFile(data).all()} == {"desk": False, "door": True}


def test_keys_alone_are_put_back_while_the_service_runs(data: Path, backup: Path) -> None:
    (data / "access.db").unlink()
    with opened(data / GALLERIES) as store:
        put_back(backup, data, parts=ONLY["keys"])
        assert store.collection("staff").persons == PERSONS - 1
    assert len(KeyFile(data).all()) == 2


def test_galleries_alone_leave_the_keys_and_take_the_answers_with_them(data: Path, backup: Path) -> None:
    """An answer of a write that is no more would be told to whoever tries again."""
    KeyFile(data).add("new", frozenset({"read"}))
    with answers(data) as keys:
        keys.begin("later", "request")
        keys.finish("later", Kept(201, {}, b"{}"), "staff/later")
    put_back(backup, data, parts=ONLY["galleries"], force=True)
    assert len(KeyFile(data).all()) == 3
    with answers(data) as keys:
        assert keys.begin("later", "request") is False
        assert isinstance(keys.begin("once", "request"), Kept)


def test_answers_that_are_in_no_backup_make_way_as_well(tmp_path: Path) -> None:
    data = make(tmp_path / "data")
    (data / "idempotency.db").rename(tmp_path / "answers")
    backup = backed_up(data, tmp_path / "backup")
    (tmp_path / "answers").rename(data / "idempotency.db")
    found = put_back(backup, data, force=True)
    assert not (data / "idempotency.db").exists()
    assert (found.kept[0] / "idempotency.db").is_file()


def test_a_part_that_is_not_in_it_is_told(tmp_path: Path) -> None:
    data = make(tmp_path / "data")
    (data / "access.db").unlink()
    backup = backed_up(data, tmp_path / "backup")
    with pytest.raises(BackupRefused, match="has no keys"):
        put_back(backup, tmp_path / "again", parts=ONLY["keys"])
    put_back(backup, tmp_path / "again")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_restores_belongs_to_whom_the_folder_belongs_to(backup: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    os.chown(again, 10001, 10002)
    put_back(backup, again)
    for path in (again / GALLERIES, again / GALLERIES / FILES[0], again / FILES[1], again / FILES[2]):
        assert (path.stat().st_uid, path.stat().st_gid) == (10001, 10002), path
