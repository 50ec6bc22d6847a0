"""The keys on disk: one SQLite file that the command line writes and every worker process reads."""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visage.access.keys import Key, Scope, digest_of, new_id, new_secret, scopes_of
from visage.errors import ConfigurationError

FILE = "access.db"

_BUSY_SECONDS = 5.0  # a writer waits so long for another; each is done in milliseconds
_OWNER_ONLY = 0o600
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
        except sqlite3.IntegrityError as exc:
            raise ConfigurationError(
                f"there is a key {name!r} already: choose another name, or `visage keys revoke {name}` first"
            ) from exc
        return key, secret

    def all(self) -> list[Key]:
        """Every key, the oldest first, revoked ones too."""
        if not self.path.exists():
            return []
        with self._opened() as db:
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
        return key

    def note_used(self, used: Mapping[str, float]) -> None:
        """When keys were last seen, by their ids."""
        with self._opened() as db:
            # It tells people something, and no answer hangs on it: it need not wait for the disk.
            db.execute("PRAGMA synchronous = OFF")
            db.executemany("UPDATE keys SET used = max(coalesce(used, 0), ?) WHERE id = ?", _swapped(used))

    def make(self) -> None:
        """The empty file, if there is none."""
        with self._opened():
            pass

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, _OWNER_ONLY))
            db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
        except (OSError, sqlite3.Error) as exc:
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
        return ConfigurationError(
            f"the keys' file DATA_DIR/{FILE} cannot be used: {why}; see DATA_DIR={self.path.parent}"
        )


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


def _swapped(used: Mapping[str, float]) -> list[tuple[float, str]]:
    return [(when, key) for key, when in used.items()]
