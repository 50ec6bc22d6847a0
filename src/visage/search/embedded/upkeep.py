"""Housekeeping: young rows become segments, small segments large ones, and what was deleted leaves the files."""

import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from visage.errors import StoreUnavailable, VisageError
from visage.search.embedded.database import Readers
from visage.search.embedded.faults import told
from visage.search.embedded.image import most_in_memory
from visage.search.embedded.pending import Pending
from visage.search.embedded.records import (
    Segment,
    State,
    changed,
    find,
    last_removed,
    removed_after,
    rows_after,
    segments,
    states,
)
from visage.search.embedded.segment import SUFFIX, Rows, Unreadable, open_rows, write
from visage.search.embedded.writer import Writer
from visage.search.folder import is_writable

log = logging.getLogger(__name__)

# Nobody is at it longer than this: a million rows are written in seconds.
_LONGEST = 600.0
# How long readers of an old state are waited for, so that the write-ahead log can be emptied.
_CHECKPOINT_SECONDS = 60.0
_ATTEMPT_MS = 250
_PAUSE = 0.05
_LOOK_EVERY = 15.0
_LOOK_AFTER = 8192  # faces
# The share of time that compacting by itself may take: a large file is not rewritten all day long.
_SHARE = 0.05
_CHUNK = 8192


class Upkeep:
    """One process at a time does it, whichever comes first. `compact_after`: seconds after a deletion until the files
    are compacted; None: only when asked to. `let_go`: of what this process holds and others have removed; every process
    does that.
    """

    def __init__(
        self,
        folder: Path,
        readers: Readers,
        writer: Writer,
        compact_after: float | None,
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._readers = readers
        self._writer = writer
        self._pending = None if compact_after is None else Pending(compact_after)
        self._let_go = let_go
        self._alone = folder / "upkeep.lock"
        self._asked = threading.Event()
        self._ending = False
        self._written = 0
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._run, name="visage-galleries-upkeep", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Have a look soon."""
        self._asked.set()

    def wrote(self, faces: int) -> None:
        """So many faces came: now and then have a look."""
        self._written += faces
        if self._written >= _LOOK_AFTER:
            self._written = 0
            self.ask()

    def close(self) -> None:
        self._ending = True
        self._asked.set()
        self._thread.join()

    def fold(self, name: str | None = None, *, at_once: bool = False) -> None:
        """Make segments of the rows that are in none, where they are many, or with `at_once` of any."""
        with self._lock():
            with self._readers.reading() as connection:
                every = [find(connection, name)] if name is not None else states(connection)
            for state in every:
                self._mended(state, partial(self._fold, state, at_once))

    def mend(self, name: str) -> None:
        """Make the image anew from the database, where files of it cannot be read."""
        with self._lock():
            with self._readers.reading() as connection:
                state = find(connection, name)
            self._mended(state, partial(self._try, state))

    def compact(self) -> None:
        """Leave no byte of what was deleted in any file. Raises StoreUnavailable where readers stay too long."""
        with self._lock():
            with self._readers.reading() as connection:
                until = last_removed(connection)
            # Zeros over deleted cells are not all: SQLite moves cells between pages and leaves copies in the gaps.
            self._writer.do(lambda connection: connection.execute("VACUUM"), alone=True)
            self._empty_log()
            with self._readers.reading() as connection:
                every = states(connection)
            for state in every:
                self._mended(state, partial(self._rewrite, state, until))
            self._writer.do(lambda connection: _forget_dropped(connection, until))
            self._sweep()
            self._empty_log()
        self._let_go()

    def _empty_log(self) -> None:
        """Raises StoreUnavailable. Between two attempts others write; a reader that stays would hold all of them up."""
        until = time.monotonic() + _CHECKPOINT_SECONDS
        while not self._writer.do(_is_log_emptied, alone=True):
            if time.monotonic() >= until:
                raise StoreUnavailable("compacting waits for a reader of the galleries that does not end; try again")
            time.sleep(_PAUSE)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with told(self._folder):
            try:
                with FileLock(self._alone, timeout=_LONGEST):
                    yield
            except Timeout as exc:
                raise StoreUnavailable("another process keeps house for long; try again", retry_after=10) from exc

    def _mended(self, state: State, work: Callable[[], None]) -> None:
        """Do `work`; where a file cannot be read, all of the collection's are made anew first."""
        try:
            work()
        except Unreadable as exc:
            log.warning("galleries: the image of %r is made anew: %s", state.collection.name, exc)

            def forget(connection: sqlite3.Connection) -> None:
                connection.execute("DELETE FROM segments WHERE collection = ?", (state.key,))
                changed(connection, state.key, epoch=True)

            self._writer.do(forget)
            self._fold(state, at_once=True)
            work()

    def _try(self, state: State) -> None:
        with self._readers.reading() as connection:
            for segment in segments(connection, state.key):
                self._open(connection, state, segment)

    def _fold(self, state: State, at_once: bool) -> None:
        path = self._new_file()
        with self._readers.reading() as connection:
            known = segments(connection, state.key)
            covered = known[-1].last if known else 0
            new, last = connection.execute(
                "SELECT count(*), coalesce(max(key), 0) FROM faces WHERE collection = ? AND key > ?",
                (state.key, covered),
            ).fetchone()
            if not new or not (at_once or new > most_in_memory(state.collection.faces)):
                return
            together = _those_to_merge(known, new)
            applied = last_removed(connection)

            def chunks() -> Iterator[Rows]:
                for segment in together:
                    yield from _slices(self._open(connection, state, segment))
                yield from rows_after(connection, state, covered, _CHUNK)

            recogniser = state.collection.recogniser
            rows = write(path, state.collection.precision, recogniser.dimension, chunks())
        self._replace(state, together, [(path.name, last, rows, applied)])

    def _rewrite(self, state: State, until: int) -> None:
        """Write the segments with removed rows anew, without them, and forget what was removed up to `until`."""
        old, new = [], []
        with self._readers.reading() as connection:
            applied = last_removed(connection)
            for segment in segments(connection, state.key):
                rows = self._open(connection, state, segment)
                if (rows.persons >= 0).all():
                    continue
                path = self._new_file()
                count = write(path, rows.precision, state.collection.recogniser.dimension, _slices(rows))
                old.append(segment)
                new.append((path.name, segment.last, count, applied))
        self._replace(state, old, new, forget_until=until)

    def _replace(
        self,
        state: State,
        old: Sequence[Segment],
        new: Sequence[tuple[str, int, int, int]],
        forget_until: int | None = None,
    ) -> None:
        def swap(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM collections WHERE key = ?", (state.key,)).fetchone() is None:
                return  # dropped meanwhile: the sweep takes the files
            connection.executemany("DELETE FROM segments WHERE key = ?", [(segment.key,) for segment in old])
            connection.executemany(
                "INSERT INTO segments (collection, file, last, rows, applied) VALUES (?, ?, ?, ?, ?)",
                [(state.key, *values) for values in new],
            )
            forgotten = 0
            if forget_until is not None:
                forgotten = connection.execute(
                    "DELETE FROM removed WHERE collection = ? AND key <= ?", (state.key, forget_until)
                ).rowcount
            if old or new or forgotten:
                changed(connection, state.key, epoch=forget_until is not None)

        self._writer.do(swap)
        self._sweep()

    def _open(self, connection: sqlite3.Connection, state: State, segment: Segment) -> Rows:
        recogniser = state.collection.recogniser
        rows = open_rows(self._folder / segment.file, state.collection.precision, recogniser.dimension, segment.rows)
        rows.forget(removed_after(connection, state.key, segment.applied))
        return rows

    def _new_file(self) -> Path:
        return self._folder / f"{uuid.uuid4().hex}{SUFFIX}"

    def _sweep(self) -> None:
        """Delete files that no segment names: old ones, and what a process that was killed left."""
        with self._readers.reading() as connection:
            named = {row[0] for row in connection.execute("SELECT file FROM segments")}
        for path in [*self._folder.glob(f"*{SUFFIX}"), *self._folder.glob("*.unfinished")]:
            if path.name not in named:
                with suppress(OSError):
                    path.unlink()

    def _run(self) -> None:
        while not self._ending:
            self._asked.wait(_LOOK_EVERY)
            self._asked.clear()
            if not self._ending:
                self._look()

    def _look(self) -> None:
        try:
            self._let_go()
            if not is_writable(self._folder):
                return
            if self._somewhere_many():
                self.fold()
            if self._due():
                began = time.monotonic()
                self.compact()
                self._not_before = time.monotonic() + (time.monotonic() - began) / _SHARE
        except Exception as exc:  # what failed is tried again; a thread that ends would never
            log.warning("galleries: housekeeping failed, to be tried again: %s", exc, exc_info=not _is_named(exc))

    def _somewhere_many(self) -> bool:
        with self._readers.reading() as connection:
            rows = connection.execute(
                "SELECT c.faces, (SELECT coalesce(sum(s.rows), 0) FROM segments s WHERE s.collection = c.key), "
                "(SELECT count(*) FROM removed r WHERE r.collection = c.key) FROM collections c"
            ).fetchall()
        return any(faces - packed + removed > most_in_memory(faces) for faces, packed, removed in rows)

    def _due(self) -> bool:
        if self._pending is None:
            return False
        with self._readers.reading() as connection:  # before anything else: what came is noted even while none is due
            due = self._pending.is_due(connection, wall=time.time(), steady=time.monotonic())
        return due and time.monotonic() >= self._not_before


def _is_named(exc: Exception) -> bool:
    return isinstance(exc, VisageError)


def _those_to_merge(known: Sequence[Segment], new: int) -> list[Segment]:
    """The youngest segments, as long as they are not twice as large as what they would be merged with: so that a row
    is written a few times only, and segments are few.
    """
    together: list[Segment] = []
    for segment in reversed(known):
        if segment.rows > 2 * new:
            break
        together.insert(0, segment)
        new += segment.rows
    return together


def _slices(rows: Rows) -> Iterator[Rows]:
    return (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))


def _forget_dropped(connection: sqlite3.Connection, until: int) -> None:
    for table in ("removed", "segments"):
        also = " AND key <= ?" if table == "removed" else ""
        connection.execute(
            f"DELETE FROM {table} WHERE collection NOT IN (SELECT key FROM collections){also}",
            (until,) if also else (),
        )


def _is_log_emptied(connection: sqlite3.Connection) -> bool:
    """Whether nobody read an old state, or wrote, for a moment; nobody can write while that is tried."""
    before = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout = {_ATTEMPT_MS}")
    try:
        return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        connection.execute(f"PRAGMA busy_timeout = {before}")
