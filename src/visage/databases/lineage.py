"""Whether a log belongs to the SQLite file that it lies beside.

SQLite finds a write-ahead log (`-wal`) or a rollback journal (`-journal`) by its name alone, and carries it into any
file that has this name. Where a copy took the place of the file and the log of the former one stayed, pages of two
databases are mixed, and nobody is told.

So each transaction marks the first page of the file, of which the log then has a copy: `PRAGMA user_version` is a
random number of that transaction, `PRAGMA application_id` that of the one before. The first transaction of a log so
names the state that it was begun upon. A file that is in this state, or in one that the log itself leads to (as far as
a checkpoint came), is the log's own, wherever both were carried together. A copy that SQLite made of such a state (by
`.backup` or VACUUM INTO) is told by its schema cookie, which here is a large random number: that of a copy is small, or
the next one.
"""

import os
import secrets
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

LOGS = ("-wal", "-journal")

_WAL = struct.Struct(">8I")  # magic, format, page size, checkpoints, two salts, two checksums
_WAL_MAGIC = (0x377F0682, 0x377F0683)  # by the byte order of its checksums
_FRAME = struct.Struct(">4I8x")  # page, size of the database after a commit or 0, two salts
_JOURNAL = struct.Struct(">8s5I")  # magic, records, nonce, pages before, sector, page size
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_COOKIE, _USER_VERSION, _APPLICATION_ID = 40, 60, 68  # in the first page: https://www.sqlite.org/fileformat2.html
_HEAD = 100

# A cookie counts changes of the schema from 1 on, and copies get a small one: from here on it was chosen.
_LEAST_CHOSEN = 1 << 20
_TRIES = 20


class LogOfAnother(sqlite3.DatabaseError):
    """A log beside a file that is not its own; one line, with the remedy."""


@dataclass(frozen=True, slots=True)
class _State:
    """What a first page says. 0: of no transaction that was marked."""

    mark: int = 0
    before: int = 0
    cookie: int = 0

    @classmethod
    def of(cls, page: bytes) -> "_State":
        return cls(*(struct.unpack_from(">I", page, at)[0] for at in (_USER_VERSION, _APPLICATION_ID, _COOKIE)))


def mark(connection: sqlite3.Connection) -> None:
    """Within a transaction that changes something: make its state known from every other."""
    before = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute(f"PRAGMA application_id = {before}")
    connection.execute(f"PRAGMA user_version = {1 + secrets.randbelow(2**31 - 1)}")


def begin(connection: sqlite3.Connection, path: Path) -> None:
    """Outside of a transaction, before one that writes: where the log is empty, and so will begin upon the file as it
    is, put the file into a state that no copy has which was made of it until now.
    """
    choose_cookie(connection)
    if _size(_beside(path, "-wal")):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        mark(connection)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.rollback()
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def choose_cookie(connection: sqlite3.Connection) -> None:
    """Outside of a transaction, or first in it: have the file's copies tell themselves from it. Other connections read
    the schema again, which is the same.
    """
    if connection.execute("PRAGMA schema_version").fetchone()[0] < _LEAST_CHOSEN:
        connection.execute(f"PRAGMA schema_version = {_LEAST_CHOSEN + secrets.randbelow(2**30)}")


def hold(path: Path) -> None:
    """Raises LogOfAnother where one lies beside `path`, and OSError, sqlite3.Error. Others may write meanwhile. Of a
    log that was written without marks nobody can tell, and nothing is said.
    """
    journal = _beside(path, "-journal")
    if (original := _original(journal)) is not None and not _is_of_journal(_state(path), original):
        raise _foreign(path, journal)
    wal = _beside(path, "-wal")
    for _ in range(_TRIES):
        head = _head(wal)
        if head is None:
            return
        state = _state(path)
        logged = _logged(wal, head)
        if _head(wal) != head:  # begun anew meanwhile, upon another state
            continue
        if logged and (state is None or not _is_of_wal(state, logged)):
            raise _foreign(path, wal)
        return


def _foreign(path: Path, log: Path) -> LogOfAnother:
    if not _size(path):
        what = f"{path.name} is missing, and {log.name}, which belongs to it, is there: put the file back"
    else:
        what = (
            f"{log.name} is not the log of this {path.name}, which was replaced while the log of the former one lay "
            f"there: stop what uses it and move {log.name} and {path.name}-shm away to use {path.name} as it is, put "
            "the former file back"
        )
    return LogOfAnother(f"{what}, or `visage collections restore` a backup")


def _is_of_wal(state: _State, logged: Sequence[_State]) -> bool:
    first = logged[0]
    if state in logged:
        return True  # a checkpoint came that far
    if state.mark == first.before and first.mark != first.before:
        return state.cookie == first.cookie
    # Its first transaction is not marked: VACUUM, which counts the cookie up, `choose_cookie`, or an earlier release.
    unmarked = (state.mark, state.before) == (first.mark, first.before)
    return unmarked and (state.cookie + 1 >= first.cookie >= state.cookie or state.cookie < _LEAST_CHOSEN)


def _is_of_journal(state: _State | None, original: _State) -> bool:
    """The file is as it was, or the transaction that is to be undone is in it."""
    if state is None:
        return True  # nothing to be mixed
    if not original.cookie:
        return not state.mark  # there was nothing yet: the file would be emptied
    same = state.cookie == original.cookie or original.cookie < _LEAST_CHOSEN
    return same and original.mark in (state.mark, state.before)


def _state(path: Path) -> _State | None:
    """Of the file alone, without its log; None where it is missing or empty. Read by SQLite: if this process closed the
    file by itself, it would lose the locks that it holds on it.
    """
    if not _size(path):
        return None
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?immutable=1", uri=True)
    try:
        # Else a file is refused that a checkpoint, which writes the first page first, did not lengthen yet.
        connection.execute("PRAGMA writable_schema = ON")
        pragmas = ("user_version", "application_id", "schema_version")
        values = [connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas]
    finally:
        connection.close()
    return _State(*(value % 2**32 for value in values))


def _head(wal: Path) -> bytes | None:
    """None of a log that SQLite takes no notice of."""
    try:
        with wal.open("rb") as file:
            head = file.read(_WAL.size)
    except FileNotFoundError:
        return None
    if len(head) < _WAL.size or _WAL.unpack(head)[0] not in _WAL_MAGIC or not _is_whole(head):
        return None
    return head


def _is_whole(head: bytes) -> bool:
    order = ">" if head[3] & 1 else "<"
    first = second = 0
    words = struct.unpack(f"{order}6I", head[:24])
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) % 2**32
        second = (second + other + first) % 2**32
    return (first, second) == _WAL.unpack(head)[6:]


def _logged(wal: Path, head: bytes) -> list[_State]:
    """The first pages in a log, as far as it is committed, oldest first."""
    _, _, size, _, *salts, _, _ = _WAL.unpack(head)
    committed: list[_State] = []
    open_: list[_State] = []
    with wal.open("rb", buffering=0) as file:
        for at in range(_WAL.size, _size(wal), _FRAME.size + size):
            frame = os.pread(file.fileno(), _FRAME.size + _HEAD, at)
            if len(frame) < _FRAME.size + _HEAD:
                break
            page, commit, *salted = _FRAME.unpack_from(frame)
            if salted != salts:
                break  # from before the log began anew
            if page == 1:
                open_.append(_State.of(frame[_FRAME.size :]))
            if commit:
                committed += open_
                open_.clear()
    return committed


def _original(journal: Path) -> _State | None:
    """The state that a rollback journal leads back to; None where it is none that SQLite takes notice of, or where it
    does not tell.
    """
    try:
        with journal.open("rb") as file:
            head = file.read(_JOURNAL.size)
            if len(head) < _JOURNAL.size or not head.startswith(_JOURNAL_MAGIC):
                return None
            pages = _JOURNAL.unpack(head)[3]
            return _State() if not pages else next(_first_pages(journal), None)
    except FileNotFoundError:
        return None


def _first_pages(journal: Path) -> Iterator[_State]:
    """Its parts begin at sectors, each with a head; that of a last part that was not synced yet says nothing of it."""
    end, at = _size(journal), 0
    with journal.open("rb") as file:
        while at < end:
            file.seek(at)
            head = file.read(_JOURNAL.size)
            if len(head) < _JOURNAL.size:
                return
            magic, records, _, _, sector, size = _JOURNAL.unpack(head)
            if magic not in (_JOURNAL_MAGIC, bytes(8)) or not sector:
                return
            start, length = at + sector, size + 8
            records = max(0, min(records or end, (end - start) // length))
            for record_at in range(start, start + records * length, length):
                file.seek(record_at)
                record = file.read(4 + _HEAD)
                if record.startswith(b"\0\0\0\1"):
                    yield _State.of(record[4:])
            at = -(-(start + records * length) // sector) * sector


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
