"""Idempotency keys: the first answer to a write is kept for a day, and a repetition gets it again.

That a repetition changes nothing in the store rests on something else: the ids that a write makes are derived from its
key (`Ids`), so that even after a crash between the write and the keeping of its answer nothing is made twice.
"""

import hashlib
import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from visage.errors import KeyReused, StoreUnavailable

log = logging.getLogger(__name__)

_DAY = 86_400.0
_BUSY_SECONDS = 5.0
_MOST_IN_MEMORY = 10_000
_NAMESPACE = uuid.UUID("6f0c7b1e-9d4b-5d0a-8b1c-3f2a6f9e5c11")

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, at REAL NOT NULL, subject TEXT NOT NULL DEFAULT '',
    status INTEGER, headers TEXT, body BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_at ON answers (at);
CREATE INDEX IF NOT EXISTS answers_subject ON answers (subject);
CREATE TABLE IF NOT EXISTS forgotten (subject TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
"""
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

    Where the file cannot be written they are kept in memory, the last 10,000 of this process. For threads.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._most = 0  # 0: any number
        self._owed: set[str] = set()  # subjects that are to be forgotten

    def begin(self, key: str, request: str) -> Kept | bool:
        """The answer kept for `key`; else whether the key was seen before. Raises KeyReused for another `request`, and
        StoreUnavailable: without a word on the key nothing may be written.
        """
        with self._lock:
            try:
                found = self._begun(self._open(), key, request)
            except sqlite3.Error as exc:
                raise StoreUnavailable(f"The idempotency keys cannot be asked now ({exc}): try again") from exc
        if found is None:
            return False
        first, status, headers, body = found
        if first != request:
            raise KeyReused("This Idempotency-Key came with another request within the last day: use a new one")
        return True if status is None else Kept(status, orjson.loads(headers), body)

    def _begun(self, database: sqlite3.Connection, key: str, request: str) -> tuple[str, int | None, str, bytes] | None:
        """What is there of a key that came before."""
        now = self._clock()
        _purge(database, now - _DAY)
        made = database.execute(
            "INSERT OR IGNORE INTO answers (key, request, at) VALUES (?, ?, ?)", (key, request, now)
        ).rowcount
        if made:
            self._bound(database)
            return None
        row = database.execute("SELECT request, status, headers, body FROM answers WHERE key = ?", (key,)).fetchone()
        return row or (request, None, "{}", b"")

    def finish(self, key: str, kept: Kept, subject: str) -> None:
        """Keep the answer; `subject` is what it tells of, a collection or collection/person. Where that was forgotten
        since the key began nothing is kept, and the key goes on standing for a write that may have happened.
        """
        headers = orjson.dumps(dict(kept.headers)).decode()
        whose = (_mark(subject), _mark(subject.partition("/")[0]))
        with self._lock, self._as_may_be("keep an answer"):
            self._open().execute(_FINISH, (kept.status, headers, kept.body, subject, key, *whose))

    def drop(self, key: str) -> None:
        """Nothing came of it: the key is free again."""
        with self._lock, self._as_may_be("free a key"):
            self._open().execute("DELETE FROM answers WHERE key = ? AND status IS NULL", (key,))

    def forget(self, subject: str) -> None:
        """Remove the answers that tell of `subject` or of what is in it, from the file's log as well."""
        with self._lock:
            if self._is_there():
                self._owed.add(subject)
                self._pay()

    def tidy(self) -> None:
        """Remove what is older than a day, and what could not be removed when it was to be."""
        with self._lock:
            if self._is_there():
                with self._as_may_be("remove what is old"):
                    _purge(self._open(), self._clock() - _DAY)
                self._pay()

    def _pay(self) -> None:
        with self._as_may_be("remove what is forgotten"):
            database = self._open()
            for subject in tuple(self._owed):
                self._remove(database, subject)
                self._owed.discard(subject)
            # What is removed still stands in the log until that begins anew. Where somebody reads just now, next time.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _remove(self, database: sqlite3.Connection, subject: str) -> None:
        database.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (_mark(subject), self._clock()))
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
            if self._database is not None:
                self._database.close()
                self._database = None

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._database = _connected(str(self._path))
            except (OSError, sqlite3.Error) as exc:
                if _is_busy(exc):
                    raise
                log.warning("idempotency keys are kept in memory only: DATA_DIR cannot be written (%s)", exc)
                self._most = _MOST_IN_MEMORY
                self._database = _connected(":memory:")
        return self._database

    def _bound(self, database: sqlite3.Connection) -> None:
        if not self._most:
            return
        over = database.execute("SELECT count(*) FROM answers").fetchone()[0] - self._most
        if over > 0:
            database.execute("DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY at LIMIT ?)", (over,))


def _connected(where: str) -> sqlite3.Connection:
    database = sqlite3.connect(where, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA secure_delete = ON")  # answers tell of persons who may ask to be forgotten
        database.executescript(_TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _is_busy(exc: Exception) -> bool:
    """Whether somebody else just holds the file."""
    code = getattr(exc, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _purge(database: sqlite3.Connection, before: float) -> None:
    database.execute("DELETE FROM answers WHERE at < ?", (before,))
    database.execute("DELETE FROM forgotten WHERE at < ?", (before,))


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
