"""The truth: one SQLite file. Its tables, its connections, and plain words for what it refuses."""

import logging
import queue
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visage.errors import StoreUnavailable

log = logging.getLogger(__name__)

FILE = "galleries.sqlite"

# What is waited for another process's commit, or its VACUUM of a million vectors, before a write is given up.
_BUSY_SECONDS = 30.0

# Seven vectors of 512 numbers fit a page of 16 KiB, one a page of SQLite's own 4 KiB: that would be half air.
_PAGE = 16384

# `key` numbers grow with every commit, for SQLite has one writer at a time: what came after a key is what is new.
# `version` counts a collection's changes; `epoch` its compactions, after which nothing learnt from `removed` holds.
# `removed` tells the images of other processes which faces are gone, and when there is something to compact; 0 stands
# for no face: a person without any, or a whole collection.
# `segments` are the files of the image (segment.py), which nothing but speed depends on: each holds the faces after its
# predecessor's `last` up to its own, less those that `removed` named up to `applied`.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS collections (
    key INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL, sha256 TEXT NOT NULL, preprocess TEXT NOT NULL, dimension INTEGER NOT NULL,
    precision TEXT NOT NULL, kind TEXT NOT NULL, description TEXT NOT NULL, metadata TEXT NOT NULL,
    created REAL NOT NULL, persons INTEGER NOT NULL DEFAULT 0, faces INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS persons (
    key INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL,
    metadata TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, faces INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL, UNIQUE (collection, id));
CREATE INDEX IF NOT EXISTS persons_by_version ON persons (collection, version);
CREATE TABLE IF NOT EXISTS faces (
    key INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, person INTEGER NOT NULL, id TEXT NOT NULL,
    about TEXT NOT NULL, created REAL NOT NULL, cropped INTEGER NOT NULL, vector BLOB NOT NULL,
    UNIQUE (collection, id));
CREATE INDEX IF NOT EXISTS faces_by_person ON faces (person, id);
CREATE INDEX IF NOT EXISTS faces_by_collection ON faces (collection);
CREATE TABLE IF NOT EXISTS crops (face INTEGER PRIMARY KEY, png BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS removed (
    key INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, face INTEGER NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS removed_by_collection ON removed (collection);
CREATE TABLE IF NOT EXISTS segments (
    key INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, file TEXT NOT NULL,
    last INTEGER NOT NULL, rows INTEGER NOT NULL, applied INTEGER NOT NULL);
"""


def create(folder: Path) -> None:
    """Make the folder and the tables where they are not there. Raises StoreUnavailable."""
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        connection = connect(folder)
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        finally:
            connection.close()


def connect(folder: Path) -> sqlite3.Connection:
    """A connection that commits to the disk (`synchronous=FULL`: the WAL is synced at every commit) and overwrites
    what it deletes. Without a transaction of Python's own: BEGIN is written where one begins.
    """
    connection = sqlite3.connect(
        folder / FILE, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    connection.execute(f"PRAGMA page_size = {_PAGE}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    return connection


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """What SQLite and the disk refuse, as StoreUnavailable with the remedy."""
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        log.warning("galleries in %s: %s", folder, exc)
        raise StoreUnavailable(f"the galleries cannot be used: {_remedy(exc)}", retry_after=2) from exc


def _remedy(exc: Exception) -> str:
    said = str(exc).lower()
    if "locked" in said or "busy" in said:
        return "another process is writing for long; try again"
    if "full" in said or "no space" in said:
        return "the disk is full; make room"
    if "readonly" in said or "read-only" in said or "unable to open" in said or isinstance(exc, PermissionError):
        return "their folder cannot be written to; see DATA_DIR"
    if "malformed" in said or "not a database" in said:
        return "their file is damaged; restore it from a copy"
    return "the disk or the database failed; the log has the reason"


class Readers:
    """Connections for reading, as many as there are readers at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of everything, that of the moment of the first query. Raises StoreUnavailable."""
        with told(self._folder):
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                connection = connect(self._folder)
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.rollback()
                self._idle.put(connection)

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().close()
