"""A database that cannot be used says which, why and what to do, when the store is opened; nothing is made of it."""

import errno
import fcntl
import mmap
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import unwritable
from tests.search.galleries import ids, many, new, opened, unit
from visage.errors import StoreUnavailable
from visage.search.folder import FILE, is_begun

VECTORS = unit(40)


@pytest.fixture
def folder() -> Iterator[Path]:
    with unwritable.folder() as place:
        with opened(place / "galleries") as kept:
            kept.create(new())
            kept.enrol("staff", many(VECTORS))
            kept._upkeep.fold(at_once=True)
        yield place / "galleries"


def over(start: int, count: int) -> Callable[[Path], Any]:
    def write(file: Path) -> None:
        with file.open("r+b") as opened_file:
            opened_file.seek(start)
            opened_file.write(b"\xa5" * count)

    return write


def cut(size: int) -> Callable[[Path], Any]:
    return lambda file: os.truncate(file, size if size >= 0 else file.stat().st_size + size)


def foreign(file: Path) -> None:
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE moz_places (id INTEGER)")
    connection.close()


def renamed_column(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("ALTER TABLE faces RENAME COLUMN vector TO embedding")
    connection.close()


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES = {
    "header": (over(0, 100), "damaged"),
    "first page": (over(0, 16384), "damaged"),
    "page size": (over(16, 2), "damaged"),
    "first tree": (over(100, 8), "damaged"),
    "written by a newer SQLite": (over(18, 1), "damaged"),
    "text": (lambda file: file.write_text("not a database " * 2000), "damaged"),
    "short text": (lambda file: file.write_text("hello"), "damaged"),
    "empty": (cut(0), "is empty"),
    "a header alone": (cut(100), "damaged|cut off"),
    "half": (cut(40_000), "damaged"),
    "nearly whole": (cut(-100), "cut off"),
    "foreign": (foreign, "another program"),
    "column": (renamed_column, "'faces' has no vector"),
    "folder": (as_folder, "is a folder"),
    "gone": (lambda file: file.unlink(), r"is missing, though .*\.rows"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_it_is_told_when_the_store_is_opened(folder: Path, kind: str) -> None:
    damage, why = DAMAGES[kind]
    damage(folder / FILE)
    before = sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")
    size = None if not (folder / FILE).is_file() else (folder / FILE).stat().st_size
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=rf"{FILE}.*({why})") as refused, opened(folder):
            pass
        assert refused.value.lasting and str(folder) not in str(refused.value)
    assert is_begun(folder)
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") == before
    assert size == (None if not (folder / FILE).is_file() else (folder / FILE).stat().st_size)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_right_that_is_missing_is_told(folder: Path, what: str) -> None:
    (folder / FILE if what == "file" else folder).chmod(0)
    with unwritable.as_nobody():
        assert is_begun(folder)
        with pytest.raises(StoreUnavailable, match=r"uid \d+ may not") as refused, opened(folder):
            pass
    assert refused.value.lasting


def test_a_file_in_the_folder_s_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "galleries").touch()
    assert is_begun(tmp_path / "galleries")
    with pytest.raises(StoreUnavailable, match="is no folder") as refused, opened(tmp_path / "galleries"):
        pass
    assert refused.value.lasting


def test_damage_that_is_met_while_it_runs_is_told(folder: Path) -> None:
    with opened(folder) as kept:
        assert ids(kept, VECTORS[3], top=1) == ["p3"]
        kept.check()
        over(0, 16384)(folder / FILE)
        with pytest.raises(StoreUnavailable, match="damaged") as refused:
            kept.check()
        assert refused.value.lasting


@pytest.mark.parametrize("name", ["lockf", "flock"])
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    def none(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, name, none)
    began = time.monotonic()
    for there in (folder, folder.parent / "anew"):
        with pytest.raises(StoreUnavailable, match=r"has no locks .*local disk") as refused, opened(there):
            pass
        assert refused.value.lasting and not list(there.glob(".locks-*"))
    assert time.monotonic() - began < 10 and not (folder.parent / "anew" / FILE).exists()


def test_one_that_maps_no_files_is_told_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(mmap, "mmap", none)
    with pytest.raises(StoreUnavailable, match="share memory"), opened(folder):
        pass


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES, errno.EINTR])
def test_a_lock_that_somebody_holds_is_no_file_system_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def busy(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as context:
        context.setattr(fcntl, "lockf", busy)
        with opened(folder) as kept:
            assert ids(kept, VECTORS[3], top=1) == ["p3"]


def test_locks_that_end_while_it_runs_are_told_rather_than_a_writer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visage.search.embedded.database._BUSY_SECONDS", 0.1)
    with opened(folder) as kept:
        holder = sqlite3.connect(folder / FILE, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process is writing for long") as refused:
            kept.drop("staff")
        assert not refused.value.lasting

        def none(*_: Any) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "lockf", none)
        with pytest.raises(StoreUnavailable, match="has no locks"):
            kept.drop("staff")
        holder.close()
