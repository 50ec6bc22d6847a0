"""A log is used with its own file, wherever both are, and with no other."""

import os
import random
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from visage.databases import lineage
from visage.databases.lineage import LogOfAnother, hold

PAGE = 4096


class Database:
    """With a log that is carried into the file only when that is asked for. As if it were never closed: what lies on
    the disk is what a killed process leaves.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute(f"PRAGMA page_size = {PAGE}")
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA wal_autocheckpoint = 0")
        self.connection.execute("CREATE TABLE IF NOT EXISTS rows (key INTEGER PRIMARY KEY, text BLOB)")

    def write(self, times: int = 1) -> None:
        for _ in range(times):
            lineage.begin(self.connection, self.path)
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute("INSERT INTO rows (text) VALUES (randomblob(3000))")
            lineage.mark(self.connection)
            self.connection.execute("COMMIT")

    def checkpoint(self, how: str = "PASSIVE") -> None:
        self.connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()

    def left(self, folder: Path) -> Path:
        """What a process that is killed now leaves, carried elsewhere."""
        folder.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{self.path}{suffix}", folder / f"{self.path.name}{suffix}")
        return folder / self.path.name


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "it.sqlite")
    yield made
    made.connection.close()


def frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """Pages and their content, as SQLite will read them from the log."""
    log = path.with_name(f"{path.name}-wal").read_bytes()
    size, salts = struct.unpack(">I", log[8:12])[0], log[16:24]
    for at in range(32, len(log), 24 + size):
        if log[at + 8 : at + 16] != salts:
            return
        yield struct.unpack(">I", log[at : at + 4])[0], log[at + 24 : at + 24 + size]


def is_held(path: Path) -> bool:
    try:
        hold(path)
    except LogOfAnother:
        return False
    return True


def is_whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")


def test_what_a_killed_process_leaves_belongs_together_however_far_a_checkpoint_came(
    database: Database, tmp_path: Path
) -> None:
    database.write(5)
    database.connection.execute("VACUUM")
    database.write(5)
    left = database.left(tmp_path / "left")
    latest = dict(frames(left))
    base = left.read_bytes()
    for until in range(len(latest) + 1):
        at_work = bytearray(base)
        for page in sorted(latest)[:until]:  # in the order in which SQLite writes them
            at_work[(page - 1) * PAGE : page * PAGE] = latest[page].ljust(PAGE, b"\0")
        left.write_bytes(at_work)
        assert is_held(left), until
    assert is_whole(left)


@pytest.mark.parametrize("seed", range(6))
def test_no_state_that_a_database_goes_through_is_a_false_alarm(database: Database, tmp_path: Path, seed: int) -> None:
    """Writes, checkpoints, logs begun anew, emptied, compaction: whenever it is killed, or asked by a neighbour."""
    steps: list[Callable[[], None]] = [
        lambda: database.write(3),
        database.checkpoint,
        lambda: database.checkpoint("TRUNCATE"),
        lambda: database.connection.execute("VACUUM") and None,
        lambda: database.connection.execute("DELETE FROM rows WHERE key % 3 = 0") and None,  # one that marks nothing
    ]
    chance = random.Random(seed)
    for step in range(40):
        chance.choice(steps)()
        hold(database.path)
        if step % 8 == 7:
            left = database.left(tmp_path / f"left{step}")
            hold(left)
            assert is_whole(left)


@contextmanager
def replaced(database: Database, copied: Callable[[Path, Path], object]) -> Iterator[Path]:
    """A killed process' files; a copy, made when it had written a half, has taken the place of the database."""
    folder = database.path.parent
    copy = folder / "copy"
    copied(database.path, copy)
    database.write(4)
    left = database.left(folder / "left")
    shutil.copyfile(copy, left)
    yield left


def by_backup(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def by_vacuum(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old:
        old.execute("VACUUM INTO ?", (str(target),))


@pytest.mark.parametrize("copied", [by_backup, by_vacuum])
@pytest.mark.parametrize("before", ["the log goes on", "it was carried in", "it was emptied"])
def test_a_copy_in_the_place_of_the_database_is_not_taken_for_it(
    database: Database, copied: Callable[[Path, Path], object], before: str
) -> None:
    database.write(4)
    if before != "the log goes on":
        database.checkpoint("PASSIVE" if before == "it was carried in" else "TRUNCATE")
    with replaced(database, copied) as left:
        with pytest.raises(LogOfAnother) as error:
            hold(left)
        assert "it.sqlite-wal is not the log of this it.sqlite" in str(error.value)
        assert "move it.sqlite-wal and it.sqlite-shm away" in str(error.value)
        assert left.with_name("it.sqlite-wal").stat().st_size  # nothing is deleted
        left.with_name("it.sqlite-wal").rename(left.with_name("aside"))
        assert is_held(left) and is_whole(left)


@pytest.mark.parametrize("copied", [by_backup, by_vacuum])
def test_nor_is_a_copy_of_one_that_was_itself_restored_from_a_copy(
    database: Database, tmp_path: Path, copied: Callable[[Path, Path], object]
) -> None:
    """SQLite gives every copy the schema cookie 1, so that all of them have the same."""
    database.write(3)
    (tmp_path / "again").mkdir()
    by_backup(database.path, tmp_path / "again" / "it.sqlite")
    with closing(sqlite3.connect(tmp_path / "again" / "it.sqlite")) as connection:
        assert connection.execute("PRAGMA schema_version").fetchone()[0] == 1
    restored = Database(tmp_path / "again" / "it.sqlite")
    with closing(restored.connection):
        restored.write(2)
        with replaced(restored, copied) as left:
            assert not is_held(left)


def test_a_file_that_was_copied_while_all_were_at_rest_is_told_from_the_one_that_went_on(tmp_path: Path) -> None:
    """Until the first checkpoint nothing but the log would tell the two apart."""
    database = Database(tmp_path / "it.sqlite")
    database.write(3)
    database.connection.close()
    assert not (tmp_path / "it.sqlite-wal").exists()
    shutil.copyfile(tmp_path / "it.sqlite", tmp_path / "copy")
    again = Database(tmp_path / "it.sqlite")
    with closing(again.connection):
        again.write(3)
        left = again.left(tmp_path / "left")
        hold(left)
        shutil.copyfile(tmp_path / "copy", left)
        assert not is_held(left)


def test_the_log_of_another_database_is_not_taken(database: Database, tmp_path: Path) -> None:
    database.write(3)
    other = Database(tmp_path / "other.sqlite")
    with closing(other.connection):
        other.write(3)
        other.checkpoint("TRUNCATE")
        other.write()
        left = database.left(tmp_path / "left")
        shutil.copyfile(tmp_path / "other.sqlite-wal", left.with_name("it.sqlite-wal"))
        assert not is_held(left)


@pytest.mark.parametrize("there", [False, True])
def test_a_log_without_its_database_is_not_thrown_away(database: Database, tmp_path: Path, there: bool) -> None:
    """SQLite would delete it, and all that is in it alone."""
    database.write(3)
    left = database.left(tmp_path / "left")
    left.unlink()
    if there:
        left.touch()
    with pytest.raises(LogOfAnother, match=r"it\.sqlite is missing, and it\.sqlite-wal, which belongs to it, is there"):
        hold(left)


def test_a_database_without_a_log_is_what_it_is(database: Database, tmp_path: Path) -> None:
    database.write(3)
    by_backup(database.path, tmp_path / "copy")
    hold(tmp_path / "copy")
    hold(tmp_path / "nothing")
    (tmp_path / "copy-wal").touch()
    hold(tmp_path / "copy")
    (tmp_path / "copy-wal").write_bytes(b"no log at all " * 10)  # SQLite takes no notice of it
    hold(tmp_path / "copy")


def test_what_an_earlier_release_left_is_taken_as_ever_and_a_copy_from_before_is_told_later(tmp_path: Path) -> None:
    """It marked nothing."""
    database = Database(tmp_path / "it.sqlite")
    with closing(database.connection):
        database.connection.execute("INSERT INTO rows (text) VALUES ('old')")
        hold(database.left(tmp_path / "unmarked"))
        by_backup(database.path, tmp_path / "copy")
        database.write(2)
        left = database.left(tmp_path / "left")
        hold(left)
        database.checkpoint("TRUNCATE")
        database.write(2)
        later = database.left(tmp_path / "later")
        hold(later)
        shutil.copyfile(tmp_path / "copy", later)
        assert not is_held(later)


def test_a_frame_that_was_being_written_when_the_power_failed_does_no_harm(database: Database, tmp_path: Path) -> None:
    database.write(4)
    left = database.left(tmp_path / "left")
    log = left.with_name("it.sqlite-wal")
    whole = log.read_bytes()
    for length in [len(whole) - 1, len(whole) - PAGE, 32 + 24 + PAGE + 7, 32 + 3, 32, 31, 5]:
        log.write_bytes(whole[:length])
        hold(left)


class WithJournal:
    """One that is undone by a rollback journal, killed in the middle of a transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(self.connected()) as connection:
            connection.execute("CREATE TABLE rows (key INTEGER PRIMARY KEY, text BLOB)")
            lineage.choose_cookie(connection)
        self.write()

    def connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None)

    def write(self) -> None:
        with closing(self.connected()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO rows (text) VALUES (randomblob(9000))")
            lineage.mark(connection)
            connection.execute("COMMIT")

    def killed(self, folder: Path) -> Path:
        """What is left when it is killed after its pages were written, before the journal went."""
        folder.mkdir()
        if not os.fork():
            connection = self.connected()
            connection.execute("PRAGMA cache_size = 1")  # written before the commit
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE rows SET text = randomblob(9000)")
            lineage.mark(connection)
            connection.execute("INSERT INTO rows (text) VALUES (randomblob(90000))")
            os._exit(0)
        os.wait()
        for suffix in ("", "-journal"):
            shutil.copyfile(f"{self.path}{suffix}", folder / f"{self.path.name}{suffix}")
        return folder / self.path.name


def test_a_rollback_journal_undoes_its_own_file_and_no_other(tmp_path: Path) -> None:
    database = WithJournal(tmp_path / "it.db")
    by_backup(database.path, tmp_path / "at-once")
    shutil.copyfile(database.path, tmp_path / "older")
    database.write()
    by_backup(database.path, tmp_path / "backup")
    by_vacuum(database.path, tmp_path / "vacuum")
    left = database.killed(tmp_path / "left")
    assert left.with_name("it.db-journal").read_bytes().startswith(bytes.fromhex("d9d505f920a163d7"))
    hold(left)
    for copy in ("at-once", "older", "backup", "vacuum"):
        shutil.copyfile(tmp_path / copy, left)
        with pytest.raises(LogOfAnother, match=r"it\.db-journal is not the log of this it\.db"):
            hold(left)


def test_a_journal_of_a_file_that_was_being_made_empties_no_other(tmp_path: Path) -> None:
    database = WithJournal(tmp_path / "it.db")
    journal = struct.pack(">8s5I", bytes.fromhex("d9d505f920a163d7"), 0, 7, 0, 512, 4096).ljust(512, b"\0")
    (tmp_path / "it.db-journal").write_bytes(journal)
    assert not is_held(database.path)
