"""Reading what may not be written to.

SQLite writes even when it reads: it makes files for the log and for the memory that its processes share. Where it may
not, a database that nobody writes to is read as it lies; where its log and that memory are there, somebody may be
writing who may do so, and these are followed.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from visage.search.embedded.faults import Unsound, in_the_way
from visage.search.folder import FILE, is_there, is_writable

# nothing: there is no database. still: nobody writes to it. followed: somebody may. open: it may be written to here.
_Kind = Literal["nothing", "still", "followed", "open"]


@dataclass(frozen=True, slots=True)
class View:
    """How the files were when a connection was made. `state`: the database's own, of one that lies still."""

    kind: _Kind
    state: tuple[int, ...] = ()


OPEN = View("open")


def view_of(folder: Path) -> View:
    """Raises OSError."""
    return OPEN if is_writable(folder) else view_from_outside(folder)


def view_from_outside(folder: Path) -> View:
    """As somebody sees it who may not write there. Raises OSError."""
    if not is_there(folder):
        return View("nothing")
    log, shared = folder / f"{FILE}-wal", folder / f"{FILE}-shm"
    if _size(log) or (log.exists() and shared.exists()):
        return View("followed", (int(shared.exists()),))
    found = (folder / FILE).stat()
    return View("still", (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def connect_to_read(folder: Path, view: View, schema: str) -> sqlite3.Connection:
    """By a view that is not open. Raises Unsound, sqlite3.Error."""
    if view.kind == "nothing":
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.executescript(schema)
        return connection
    if said := in_the_way(folder):
        raise Unsound(said)
    if view.kind == "followed" and not view.state[0] and not is_writable(folder):
        raise Unsound(
            f"{FILE} was not closed by the service that wrote to it, and what is in its log cannot be taken in where "
            "nothing may be written: start once with DATA_DIR writable"
        )
    how = "mode=ro" if view.kind == "followed" else "immutable=1"
    address = f"file:{quote(str(folder / FILE))}?{how}"
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, cached_statements=64)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
