"""Idempotency keys: the first answer to a write is kept for a day, and a repetition gets it again.

That a repetition changes nothing in the store rests on something else: the ids that a write makes are derived from its
key (`Ids`), so that even after a crash between the write and the keeping of its answer nothing is made twice.
"""

import hashlib
import logging
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from visage.api.elapsed import TABLE, elapsed, machine_clock, note, start_of_machine
from visage.api.kept import Row, copy, found, is_busy, is_damaged, purge, transaction, why_not
from visage.databases import lineage
from visage.errors import KeyReused, StoreUnavailable
from visage.locking import NoLocks, hold_locks

log = logging.getLogger(__name__)

_DAY = 86_400.0
_BUSY_SECONDS = 5.0
_MOST_IN_MEMORY = 10_000
_MEMORY = ":memory:"
_NAMESPACE = uuid.UUID("6f0c7b1e-9d4b-5d0a-8b1c-3f2a6f9e5c11")

_TABLES = f"""
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, at REAL NOT NULL, subject TEXT NOT NULL DEFAULT '',
    status INTEGER, headers TEXT, body BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_at ON answers (at);
CREATE INDEX IF NOT EXISTS answers_subject ON answers (subject);
CREATE TABLE IF NOT EXISTS forgotten (subject TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
{TABLE}
"""
# Earlier versions dated by the wall clock: from their last date on it is counted.
_LAST_DATE = "SELECT max(at) FROM (SELECT at FROM answers UNION ALL SELECT at FROM forgotten)"
# An answer is kept unless what it tells of was deleted while it was on its way.
_FINISH = """
UPDATE answers SET status = ?, headers = ?, body = ?, subject = ? WHERE key = ? AND NOT EXISTS (
    SELECT 1 FROM forgotten WHERE forgotten.subject IN (?, ?) AND forgotten.at >= answers.at
)
"""


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids that one write makes: derived from its key, else random. `again`: this key was seen before, but no
    answer to it is kept, so that its write may have happened.
    """

    key: str | None = None
    again: bool = False

    def of(self, what: str) -> str:
        """The id of `what` this write makes."""
        return uuid.uuid4().hex if self.key is None else uuid.uuid5(_NAMESPACE, f"{self.key}/{what}").hex


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Keys:
    """The keys of the last day in a small SQLite file that all worker processes share, made at the first use.

    While the file cannot be written they are kept in memory, the last 10,000 of this process, and put into the file as
    soon as that can be. A day is one that the machine runs: no clock that is put forward ends it. For threads.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = machine_clock) -> None:
        self._path = path
        self._clock = clock
        self._start = start_of_machine()
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._most = 0  # 0: any number
        self._owed: set[str] = set()  # subjects that are to be forgotten
        self._elsewhere: set[str] = set()  # those that were, in memory, and are yet to be in the file
        self.warning = ""  # why they are in memory only, or cannot be asked

    def look(self) -> None:
        """Open the file if there is one: whether it can be used is known from the start."""
        with self._lock:
            if self._is_there():
                with self._as_may_be("be opened"):
                    self._open()

    def begin(self, key: str, request: str) -> Kept | bool:
        """The answer kept for `key`; else whether the key was seen before. Raises KeyReused for another `request`, and
        StoreUnavailable: without a word on the key nothing may be written.
        """
        with self._lock:
            try:
                said = self._asked(key, request)
            except sqlite3.Error as exc:
                raise StoreUnavailable(f"The idempotency keys cannot be asked now ({exc}): try again") from exc
        if said is None:
            return False
        first, status, headers, body = said
        if first != request:
            raise KeyReused("This Idempotency-Key came with another request within the last day: use a new one")
        return True if status is None else Kept(status, orjson.loads(headers), body)

    def _asked(self, key: str, request: str) -> Row | None:
        try:
            return self._begun(self._open(), key, request)
        except sqlite3.DatabaseError as exc:
            if not is_damaged(exc):
                raise
        self._close()  # opened anew it is told, and the keys go on in memory
        return self._begun(self._open(), key, request)

    def _begun(self, database: sqlite3.Connection, key: str, request: str) -> Row | None:
        """What is there of a key that came before. That is found without a write, on a full disk as well."""
        if there := found(database, key, self._now(database) - _DAY):
            return there
        with transaction(database):
            now = self._noted(database)
            purge(database, now - _DAY)
            made = database.execute(
                "INSERT OR IGNORE INTO answers (key, request, at) VALUES (?, ?, ?)", (key, request, now)
            ).rowcount
            if made:
                self._bound(database)
            return None if made else found(database, key, now - _DAY)

    def finish(self, key: str, kept: Kept, subject: str) -> None:
        """Keep the answer; `subject` is what it tells of, a collection or collection/person. Where that was forgotten
        since the key began nothing is kept, and the key goes on standing for a write that may have happened.
        """
        headers = orjson.dumps(dict(kept.headers)).decode()
        whose = (_mark(subject), _mark(subject.partition("/")[0]))
        with self._lock, self._as_may_be("keep an answer"), transaction(self._open()) as database:
            database.execute(_FINISH, (kept.status, headers, kept.body, subject, key, *whose))

    def drop(self, key: str) -> None:
        """Nothing came of it: the key is free again."""
        with self._lock, self._as_may_be("free a key"), transaction(self._open()) as database:
            database.execute("DELETE FROM answers WHERE key = ? AND status IS NULL", (key,))

    def forget(self, subject: str) -> None:
        """Remove the answers that tell of `subject` or of what is in it, from the file's log as well."""
        with self._lock:
            if self._is_there():
                self._owed.add(subject)
                self._pay()

    def tidy(self) -> None:
        """Remove what is older than a day, and what could not be removed when it was to be; put into the file what had
        to be kept in memory.
        """
        with self._lock:
            if self._is_there():
                with self._as_may_be("remove what is old"):
                    database = self._open()
                    with transaction(database):
                        purge(database, self._noted(database) - _DAY)
                self._pay()

    def _pay(self) -> None:
        with self._as_may_be("remove what is forgotten"):
            database = self._open()
            for subject in tuple(self._owed):
                self._remove(database, subject)
                self._owed.discard(subject)
                if self._most:
                    self._elsewhere.add(subject)
            # What is removed still stands in the log until that begins anew. Where somebody reads just now, next time.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _remove(self, database: sqlite3.Connection, subject: str) -> None:
        with transaction(database):
            now = self._noted(database)
            database.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (_mark(subject), now))
            database.execute(
                "DELETE FROM answers WHERE subject = ? OR substr(subject, 1, ?) = ?",
                (subject, len(subject) + 1, f"{subject}/"),
            )

    def _is_there(self) -> bool:
        return self._database is not None or self._path.exists()

    @contextmanager
    def _as_may_be(self, what: str) -> Iterator[None]:
        """The write that the caller asked for is done: it is no failure that this is not."""
        try:
            yield
        except (sqlite3.Error, StoreUnavailable) as exc:
            log.warning("idempotency keys: could not %s (%s)", what, exc)

    def close(self) -> None:
        with self._lock:
            if self._most:
                with self._as_may_be("be written to the disk"):
                    self._open()
                if self._most:
                    log.warning("idempotency keys that were kept in memory are lost: %s", self.warning)
            self._close()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database, self._most = None, 0

    def _open(self) -> sqlite3.Connection:
        """The file's, whatever was the matter with it before; in memory while it cannot be used."""
        if self._database is None or self._most:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                hold_locks(self._path.parent)
                self._use(_connected(str(self._path)))
            except (OSError, sqlite3.Error, NoLocks) as exc:
                if self._database is None:
                    if is_busy(exc):
                        raise
                    self._do_without(exc)
        if self._database is None:
            raise AssertionError("opened, or in memory")
        return self._database

    def _use(self, file: sqlite3.Connection) -> None:
        """From now on the file, with what was kept in memory meanwhile."""
        try:
            if self._database is not None:
                with transaction(file):
                    copy(self._database, file, later_by=self._noted(file) - self._now(self._database))
                for subject in self._elsewhere:
                    self._remove(file, subject)
        except sqlite3.Error:
            file.close()
            raise
        if self._database is not None:
            self._database.close()
            log.info("idempotency keys are kept in DATA_DIR/%s again, with those that were in memory", self._path.name)
        self._elsewhere.clear()
        self._database, self._most, self.warning = file, 0, ""

    def _do_without(self, exc: Exception) -> None:
        self.warning = (
            f"idempotency keys are kept in memory, and are lost if the service ends now: {why_not(exc, self._path)}"
        )
        log.warning("%s", self.warning)
        self._most = _MOST_IN_MEMORY
        self._database = _connected(_MEMORY)

    def _now(self, database: sqlite3.Connection) -> float:
        return elapsed(database, self._clock(), self._start, _LAST_DATE)

    def _noted(self, database: sqlite3.Connection) -> float:
        """What `_now` is, which goes on from there. Within a transaction."""
        clock = self._clock()
        now = elapsed(database, clock, self._start, _LAST_DATE)
        note(database, now, clock, self._start)
        return now

    def _bound(self, database: sqlite3.Connection) -> None:
        if not self._most:
            return
        over = database.execute("SELECT count(*) FROM answers").fetchone()[0] - self._most
        if over > 0:
            database.execute("DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY at LIMIT ?)", (over,))


def _connected(where: str) -> sqlite3.Connection:
    if where != _MEMORY:
        lineage.hold(Path(where))
    database = sqlite3.connect(where, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA secure_delete = ON")  # answers tell of persons who may ask to be forgotten
        database.executescript(_TABLES)
        if where != _MEMORY:
            lineage.begin(database, Path(where))
    except sqlite3.Error:
        database.close()
        raise
    return database


def _mark(subject: str) -> str:
    """What stands for somebody who is forgotten: their id may be their name."""
    return digest(b"forgotten", subject.encode())


def digest(*parts: bytes) -> str:
    """One name for these parts, in this order."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.hexdigest()
