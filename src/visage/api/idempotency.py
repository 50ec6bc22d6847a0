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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from visage.errors import KeyReused

log = logging.getLogger(__name__)

_DAY = 86_400.0
_MOST_IN_MEMORY = 10_000
_NAMESPACE = uuid.UUID("6f0c7b1e-9d4b-5d0a-8b1c-3f2a6f9e5c11")

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, at REAL NOT NULL, subject TEXT NOT NULL DEFAULT '',
    status INTEGER, headers TEXT, body BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_at ON answers (at);
CREATE INDEX IF NOT EXISTS answers_subject ON answers (subject);
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

    def begin(self, key: str, request: str) -> Kept | bool:
        """The answer kept for `key`; else whether the key was seen before. Raises KeyReused for another `request`."""
        with self._lock:
            database = self._open()
            now = self._clock()
            database.execute("DELETE FROM answers WHERE at < ?", (now - _DAY,))
            made = database.execute(
                "INSERT OR IGNORE INTO answers (key, request, at) VALUES (?, ?, ?)", (key, request, now)
            ).rowcount
            if made:
                self._bound(database)
                return False
            row = database.execute("SELECT request, status, headers, body FROM answers WHERE key = ?", (key,))
            first, status, headers, body = row.fetchone() or (request, None, "{}", b"")
        if first != request:
            raise KeyReused("This Idempotency-Key came with another request within the last day: use a new one")
        return True if status is None else Kept(status, orjson.loads(headers), body)

    def finish(self, key: str, kept: Kept, subject: str) -> None:
        """Keep the answer; `subject` is what it tells of, a collection or collection/person."""
        with self._lock:
            self._open().execute(
                "UPDATE answers SET status = ?, headers = ?, body = ?, subject = ? WHERE key = ?",
                (kept.status, orjson.dumps(dict(kept.headers)).decode(), kept.body, subject, key),
            )

    def drop(self, key: str) -> None:
        """Nothing came of it: the key is free again."""
        with self._lock:
            self._open().execute("DELETE FROM answers WHERE key = ? AND status IS NULL", (key,))

    def forget(self, subject: str) -> None:
        """Remove the answers that tell of `subject` or of what is in it."""
        with self._lock:
            if self._database is not None or self._path.exists():
                self._open().execute(
                    "DELETE FROM answers WHERE subject = ? OR substr(subject, 1, ?) = ?",
                    (subject, len(subject) + 1, f"{subject}/"),
                )

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
    database = sqlite3.connect(where, timeout=10, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA secure_delete = ON")  # answers tell of persons who may ask to be forgotten
    database.executescript(_TABLE)
    return database


def digest(*parts: bytes) -> str:
    """One name for these parts, in this order."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.hexdigest()
