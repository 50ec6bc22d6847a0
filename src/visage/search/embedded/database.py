"""The truth: one SQLite file. Its tables and its connections."""

import queue
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock

from visage.databases.lineage import hold
from visage.databases.using import InUse, Use
from visage.errors import StoreUnavailable
from visage.locking import hold_locks
from visage.search.embedded.faults import Unsound, in_the_way, told
from visage.search.embedded.segment import sync_folder
from visage.search.embedded.soundness import hold_writable, missing_tables
from visage.search.embedded.views import OPEN, View, connect_to_read, view_from_outside, view_of
from visage.search.folder import FILE, is_there, is_writable, made_of_it

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
    """Make the folder and the tables where they are not there, and hold what is there against what it must be. Where
    nothing may be written nothing is made. Raises StoreUnavailable.
    """
    with told(folder):
        if is_writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            hold_locks(folder)
            if not is_there(folder):
                _make(folder)
        hold(folder / FILE)
        _complete(folder)


def use(folder: Path) -> Use:
    """Held by whoever uses the folder, from before it opens the database. Raises StoreUnavailable."""
    if is_writable(folder):
        with suppress(OSError):  # it is said when the database cannot be made
            folder.mkdir(parents=True, exist_ok=True)
    try:
        return Use(folder)
    except InUse as exc:
        raise StoreUnavailable("a backup of the galleries is being restored; try again", retry_after=10) from exc


def check(folder: Path) -> None:
    """Whether the database can be used, as far as that is seen at once; nothing is made. Raises StoreUnavailable."""
    with told(folder):
        view = view_of(folder)
        if view == OPEN:
            hold_locks(folder)
        if is_there(folder):
            _look(folder)


def look(folder: Path) -> None:
    """As `check`, from outside: the database is not opened for writing. Raises StoreUnavailable."""
    with told(folder):
        if is_there(folder):
            hold(folder / FILE)
            _look(folder, view_from_outside(folder))
        else:
            _hold_nothing_left(folder)


def _look(folder: Path, view: View | None = None) -> set[str]:
    """The tables that are missing."""
    if said := in_the_way(folder):
        raise Unsound(said)
    view = view or view_of(folder)
    connection = _connected(folder, view)
    try:
        missing = missing_tables(connection, folder, _SCHEMA)
        if view == OPEN and not missing:
            hold_writable(connection)
        return missing
    finally:
        connection.close()


def _complete(folder: Path) -> None:
    if is_there(folder) and _look(folder) and is_writable(folder):
        connection = connect(folder)
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        finally:
            connection.close()


def _make(folder: Path) -> None:
    """Under another name first: a file of this name is never empty, unless something happened to it."""
    with FileLock(folder / "upkeep.lock", timeout=_BUSY_SECONDS):
        if is_there(folder):
            return
        _hold_nothing_left(folder)
        unfinished = folder / f"{uuid.uuid4().hex}.unfinished"
        try:
            with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
                _set_up(connection)
                connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            unfinished.rename(folder / FILE)
            sync_folder(folder)
        finally:
            for left in folder.glob(f"{unfinished.name}*"):
                left.unlink(missing_ok=True)


def _hold_nothing_left(folder: Path) -> None:
    if left := made_of_it(folder):
        raise Unsound(
            f"{FILE} is missing, though {left[0]} of it is there: restore it from a copy, or delete all that is in its "
            "folder to begin anew"
        )


def connect(folder: Path) -> sqlite3.Connection:
    """A connection that commits to the disk (`synchronous=FULL`: the WAL is synced at every commit) and overwrites
    what it deletes. Without a transaction of Python's own: BEGIN is written where one begins.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(folder / FILE))}?mode=rw",  # what is not there is made by `create` alone
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    try:
        _set_up(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA page_size = {_PAGE}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")


def _connected(folder: Path, view: View) -> sqlite3.Connection:
    """For reading, by what may be done there."""
    return connect(folder) if view == OPEN else connect_to_read(folder, view, _SCHEMA)


class Readers:
    """Connections for reading, as many as there are readers at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._idle: queue.SimpleQueue[tuple[sqlite3.Connection, View]] = queue.SimpleQueue()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of everything, that of the moment of the first query. Raises StoreUnavailable."""
        with told(self._folder):
            connection, view = self._taken()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.rollback()
                self._idle.put((connection, view))

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait()[0].close()

    def _taken(self) -> tuple[sqlite3.Connection, View]:
        """What was opened where nothing may be written follows nobody: it is closed when something is another."""
        while True:
            try:
                connection, view = self._idle.get_nowait()
            except queue.Empty:
                view = view_of(self._folder)
                return _connected(self._folder, view), view
            if view == OPEN or view == view_of(self._folder):
                return connection, view
            connection.close()
