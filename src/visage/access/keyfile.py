"""The keys on disk: one SQLite file that the command line writes and every worker process reads."""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from visage.access.keys import Key, Scope, digest_of, new_id, new_secret, scopes_of
from visage.databases.lineage import choose_cookie, hold, mark
from visage.errors import ConfigurationError
from visage.locking import NoLocks, hold_locks

FILE = "access.db"

_BUSY_SECONDS = 5.0  # a writer waits so long for another; each is done in milliseconds
_OWNER_ONLY = 0o600
# Processes of one machine note a use within this of one another. What is later than that was noted by a clock that was
# ahead, and tells nothing.
_SKEW = 120.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    collections TEXT NOT NULL,
    rate INTEGER NOT NULL,
    created REAL NOT NULL,
    used REAL,
    revoked REAL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS names ON keys (name) WHERE revoked IS NULL;
"""


class KeyFile:
    """Adds, lists and revokes; each call is a transaction of its own.

    Raises ConfigurationError where the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def add(
        self, name: str, scopes: frozenset[Scope], *, collections: frozenset[str] = frozenset(), rate: int = 0
    ) -> tuple[Key, str]:
        """The key and its secret, which nobody can tell again. Raises ConfigurationError for a name that is in use."""
        secret = new_secret()
        key = Key(new_id(), name, digest_of(secret), scopes, collections, rate, time.time())
        try:
            with self._opened() as db:
                db.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _row(key))
                _note(db)
        except sqlite3.IntegrityError as exc:
            raise ConfigurationError(
                f"there is a key {name!r} already: choose another name, or `visage keys revoke {name}` first"
            ) from exc
        return key, secret

    def all(self) -> list[Key]:
        """Every key, the oldest first, revoked ones too."""
        if not self.path.exists():
            return []
        with self._opened() if self._is_writable() else self._only_read() as db:
            return list(read_keys(db))

    def valid(self, name_or_id: str) -> Key:
        """The valid key that has this id, else the one with this name: each can be told by its id, whatever others are
        called. Raises ConfigurationError where there is none.
        """
        keys = [key for key in self.all() if key.revoked is None]
        found = [key for key in keys if key.id == name_or_id] or [key for key in keys if key.name == name_or_id]
        if not found:
            raise ConfigurationError(f"no valid key is called {name_or_id!r}; `visage keys list` shows them")
        return found[0]

    def revoke(self, name_or_id: str) -> Key:
        """As `valid` finds it. Raises ConfigurationError where there is none."""
        key = self.valid(name_or_id)
        with self._opened() as db:
            db.execute("UPDATE keys SET revoked = ? WHERE id = ?", (time.time(), key.id))
            _note(db)
        return key

    def note_used(self, used: Mapping[str, float]) -> None:
        """When keys were last seen, by their ids."""
        with self._opened() as db:
            # It tells people something, and no answer hangs on it: it need not wait for the disk.
            db.execute("PRAGMA synchronous = OFF")
            db.executemany(
                "UPDATE keys SET used = ? WHERE id = ? AND (used IS NULL OR used NOT BETWEEN ? AND ?)",
                [(when, key, when, when + _SKEW) for key, when in used.items()],
            )
            _note(db)

    def make(self) -> None:
        """The empty file, if there is none. One that may only be read is read."""
        if self.path.exists() and not self._is_writable():
            self.all()
            return
        with self._opened():
            pass

    def _is_writable(self) -> bool:
        """As far as rights and mounts tell; of SQLite's own files beside it as well."""
        try:
            mounted = os.statvfs(self.path).f_flag
        except OSError:
            return True  # that is told by whoever opens it
        return not mounted & os.ST_RDONLY and all(
            os.access(path, os.W_OK, effective_ids=True) for path in (self.path, self.path.parent)
        )

    @contextmanager
    def _only_read(self) -> Iterator[sqlite3.Connection]:
        try:
            hold(self.path)
            with closing(sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True)) as db:
                yield db
        except sqlite3.Error as exc:
            raise self._unusable(exc) from exc

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            hold_locks(self.path.parent)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, _OWNER_ONLY))
            hold(self.path)
            db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
        except (OSError, sqlite3.Error, NoLocks) as exc:
            raise self._unusable(exc) from exc
        try:
            with db:
                db.executescript(_SCHEMA)
                yield db
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as exc:
            raise self._unusable(exc) from exc
        finally:
            db.close()

    def _unusable(self, exc: Exception) -> ConfigurationError:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        remedy = f"see DATA_DIR={self.path.parent}"
        if is_damaged(exc):
            remedy = f"restore {self.path} from a copy, or move it away and make keys anew"
        return ConfigurationError(f"the keys' file DATA_DIR/{FILE} cannot be used: {why}; {remedy}")


def is_damaged(exc: Exception) -> bool:
    """Whether SQLite says that the file is no database, or a broken one, or one of something else."""
    code = getattr(exc, "sqlite_errorcode", None) or 0
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def _note(db: sqlite3.Connection) -> None:
    """That the file is another one now."""
    choose_cookie(db)
    mark(db)


def read_keys(db: sqlite3.Connection) -> Iterator[Key]:
    for row in db.execute("SELECT * FROM keys ORDER BY created, id"):
        yield _key(row)


def _row(key: Key) -> tuple[Any, ...]:
    scopes, collections = ",".join(sorted(key.scopes)), ",".join(sorted(key.collections))
    return key.id, key.name, key.digest, scopes, collections, key.rate, key.created, key.used, key.revoked


def _key(row: tuple[Any, ...]) -> Key:
    id_, name, digest, scopes, collections, rate, created, used, revoked = row
    reached = frozenset(collections.split(",")) if collections else frozenset[str]()
    return Key(id_, name, digest, scopes_of(scopes.split(",")), reached, rate, created, used, revoked)
