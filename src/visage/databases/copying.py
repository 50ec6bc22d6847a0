"""A copy of a database as it was at one moment, made while others write to it, and held whole before it counts."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from visage.databases.lineage import hold

OWNER_ONLY = 0o600

_BUSY_SECONDS = 30.0
_LOOK_EVERY = 100_000  # of the virtual machine's instructions: some milliseconds

Told = Callable[[int, int], None]  # bytes, of about so many


class Damaged(Exception):
    """A copy that does not hold what it should."""


def copy(source: Path, target: Path, finish: Callable[[sqlite3.Connection], None], told: Told) -> None:
    """All that was committed to `source` before, in a file that its owner alone may read; what was deleted is not in
    it. `finish` does to the copy what is left to be done. Nothing is left where it fails.

    Raises LogOfAnother, Damaged, sqlite3.Error, OSError, KeyboardInterrupt.
    """
    hold(source)
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, OWNER_ONLY))
    try:
        with _opened(source) as connection:
            pages, size = (connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size"))
            with _watched(connection, lambda: told(target.stat().st_size, pages * size)):
                # It leaves out the pages, and the parts of pages, in which something was.
                connection.execute("VACUUM INTO ?", (str(target),))
        with _opened(target) as connection, _watched(connection, lambda: None):
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("PRAGMA secure_delete = ON")
            finish(connection)
            hold_whole(connection)
        sync(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def hold_whole(connection: sqlite3.Connection) -> None:
    """Raises Damaged."""
    said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if said != "ok":
        raise Damaged(said.replace("\n", " "))


def sync(path: Path) -> None:
    """A file or a folder, onto the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A file that nobody writes to, as it lies there: nothing is made beside it."""
    with _connected(path, "immutable=1") as connection:
        yield connection


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    with _connected(path, "mode=rw" if writable else "mode=ro") as connection:
        yield connection


@contextmanager
def _connected(path: Path, how: str) -> Iterator[sqlite3.Connection]:
    address = f"file:{quote(str(path.absolute()))}?{how}"
    connection = sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _watched(connection: sqlite3.Connection, look: Callable[[], None]) -> Iterator[None]:
    """`look` now and then while it works. Ctrl-C ends it: SQLite keeps what is raised within to itself."""
    raised: list[BaseException] = []

    def now_and_then() -> int:
        try:
            look()
        except BaseException as exc:
            raised.append(exc)
            return 1
        return 0

    connection.set_progress_handler(now_and_then, _LOOK_EVERY)
    try:
        yield
    except sqlite3.Error:
        if raised:
            raise raised[0] from None
        raise
    finally:
        connection.set_progress_handler(None, 0)
