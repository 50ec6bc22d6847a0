"""Group commit: the writers of a process share one transaction, and so one wait for the disk."""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from visage.databases import lineage
from visage.errors import StoreUnavailable
from visage.search.embedded.database import connect, create
from visage.search.embedded.faults import told
from visage.search.folder import FILE, is_there, is_writable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

log = logging.getLogger(__name__)

# So many works may share a commit; more would make the first of them wait too long.
_MOST_TOGETHER = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """`alone`: outside any transaction, as VACUUM must be."""

    work: Work
    done: "Future[Any]"
    alone: bool


class Writer:
    """The one thread of a process that writes. Works that wait while another commits are committed together, each in a
    savepoint of its own: one that fails is undone alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="visage-galleries-writer", daemon=True)
        self._thread.start()

    def do(self, work: Callable[[sqlite3.Connection], T], *, alone: bool = False) -> T:
        """What `work` returns, once it is on the disk. Raises what it raises, and StoreUnavailable."""
        waiting = _Waiting(work, Future(), alone)
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the galleries are closed: the service is ending")
            self._queue.put(waiting)
        with told(self._folder):
            result: T = waiting.done.result()
        return result

    def close(self) -> None:
        """Finish what was handed over."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while (first := self._queue.get()) is not None:
            together, last = self._those_waiting(first)
            try:
                connection = connection or self._connected()
                for group in _groups(together):
                    _commit(connection, self._folder / FILE, group)
            except Exception as exc:  # a thread that ends would leave every later writer waiting
                for waiting in together:
                    _fail(waiting, exc)
            if last:
                break
        if connection is not None:
            connection.close()

    def _connected(self) -> sqlite3.Connection:
        """Where nothing could be written when the store was opened, nothing was made."""
        if not is_there(self._folder) and is_writable(self._folder):
            create(self._folder)
        return connect(self._folder)

    def _those_waiting(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """`first` and what else is there, and whether the end was among it."""
        together = [first]
        while len(together) < _MOST_TOGETHER:
            try:
                other = self._queue.get_nowait()
            except queue.Empty:
                break
            if other is None:
                return together, True
            together.append(other)
        return together, False


def _groups(together: Sequence[_Waiting]) -> list[list[_Waiting]]:
    """Runs that may share a transaction."""
    groups: list[list[_Waiting]] = []
    for waiting in together:
        if groups and not waiting.alone and not groups[-1][-1].alone:
            groups[-1].append(waiting)
        else:
            groups.append([waiting])
    return groups


def _commit(connection: sqlite3.Connection, path: Path, group: Sequence[_Waiting]) -> None:
    """All of `group` in one transaction; nobody is answered before it is on the disk."""
    results: list[tuple[_Waiting, Any]] = []
    try:
        if group[0].alone:
            results = [(group[0], group[0].work(connection))]
        else:
            lineage.begin(connection, path)
            connection.execute("BEGIN IMMEDIATE")
            before = connection.total_changes
            for waiting in group:
                _apply(connection, waiting, results)
            if connection.total_changes != before:
                lineage.mark(connection)
            connection.execute("COMMIT")
    except Exception as exc:  # whatever it is, it belongs to those who wait, not to this thread
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.rollback()
        for waiting in group:
            _fail(waiting, exc)
        return
    for waiting, result in results:
        waiting.done.set_result(result)


def _apply(connection: sqlite3.Connection, waiting: _Waiting, results: list[tuple[_Waiting, Any]]) -> None:
    connection.execute("SAVEPOINT work")
    try:
        result = waiting.work(connection)
    except Exception as exc:  # its own failure; the others of the group go on
        if not connection.in_transaction:  # SQLite gave up the whole transaction: a full disk does that
            raise
        connection.execute("ROLLBACK TO work")
        connection.execute("RELEASE work")
        _fail(waiting, exc)
        return
    connection.execute("RELEASE work")
    results.append((waiting, result))


def _fail(waiting: _Waiting, exc: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(exc)
