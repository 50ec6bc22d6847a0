"""A collection as it is searched, in one process: mapped segments, and in memory what is younger than they are."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visage.search.base import Precision
from visage.search.embedded.records import (
    State,
    last_removed,
    removed_after,
    rows_after,
    segments,
)
from visage.search.embedded.segment import TYPES, Rows, Unreadable, open_rows

# So many rows, or this part of all, may be in the memory of each process; then a segment is made of them.
_LEAST_TAIL = 8192
_TAIL_PART = 64
# Room for so many at least: most collections that are searched may be of a few persons.
_LEAST_ROOM = 8


class Behind(Exception):
    """So much is new that a segment must be made of it first."""


def most_in_memory(faces: int) -> int:
    """How many rows of a collection of `faces` a process may hold by itself."""
    return max(_LEAST_TAIL, faces // _TAIL_PART)


class Image:
    """It follows the database: whoever asks for it at a state gets that state's rows or later ones."""

    def __init__(self, folder: Path, key: int) -> None:
        self.lock = threading.Lock()
        self.version = -1
        self._folder = folder
        self._key = key
        self._epoch = -1
        self._removed = 0
        self._mapped: dict[int, Rows] = {}
        self._tail: _Tail | None = None

    def at(self, connection: sqlite3.Connection, state: State, *, by_files: bool = True) -> tuple[list[Rows], int]:
        """The rows at `state`, which is that of the connection's transaction, or later: and the version they are of.

        Raises Unreadable (a segment's file is not there) and Behind. `by_files` False: nobody could mend a file or make
        one; then neither is raised, and what no file has is in this process's memory, however much it is.
        """
        with self.lock:
            if self.version < state.version:
                try:
                    self._catch_up(connection, state, by_files)
                except Unreadable:
                    if by_files:
                        raise
                    self._read_all(connection, state)
            return self._parts(), self.version

    def let_go(self, epoch: int) -> None:
        """Of the rows, where those of the collection's `epoch` are others: files that were deleted stay on the disk as
        long as somebody maps them.
        """
        with self.lock:
            if self._tail is not None and self._epoch < epoch:
                self._mapped, self._tail, self.version = {}, None, -1

    @property
    def in_memory(self) -> int:
        """How many rows this process holds by itself."""
        return len(self._tail) if self._tail else 0

    @property
    def bytes(self) -> int:
        """What it takes of this process's own memory, about: nobody is waited for."""
        tail, mapped = self._tail, list(self._mapped.values())
        return (0 if tail is None else tail.bytes) + sum(rows.persons.nbytes for rows in mapped)

    @property
    def files(self) -> int:
        """How many are mapped."""
        return len(self._mapped)

    def _parts(self) -> list[Rows]:
        young = [] if self._tail is None or not len(self._tail) else [self._tail.rows()]
        return [*self._mapped.values(), *young]

    def _catch_up(self, connection: sqlite3.Connection, state: State, by_files: bool) -> None:
        tail = self._begin(state) if self._epoch != state.epoch or self._tail is None else self._tail
        known = segments(connection, state.key)
        covered = known[-1].last if known else 0
        self._load(connection, state, known)
        tail.drop_until(covered)
        self._follow(connection, state, max(covered, tail.last), tail, by_files)

    def _read_all(self, connection: sqlite3.Connection, state: State) -> None:
        self._follow(connection, state, 0, self._begin(state), by_files=False)

    def _begin(self, state: State) -> "_Tail":
        collection = state.collection
        self._mapped, self._removed = {}, 0
        self._tail = _Tail(collection.precision, collection.recogniser.dimension)
        self._epoch = state.epoch
        self.version = -1
        return self._tail

    def _follow(self, connection: sqlite3.Connection, state: State, after: int, tail: "_Tail", by_files: bool) -> None:
        """Take in what is younger than the key `after`, and let go of what was removed."""
        if by_files:
            _hold_few(connection, state, after)
        for rows in rows_after(connection, state, after):
            tail.add(rows)
        gone = removed_after(connection, state.key, self._removed)
        for rows in self._parts():
            rows.forget(gone)
        self._removed = max(self._removed, last_removed(connection))
        self.version = state.version

    def _load(self, connection: sqlite3.Connection, state: State, known: Sequence[Any]) -> None:
        collection = state.collection
        mapped = {}
        for segment in known:
            rows = self._mapped.get(segment.key)
            if rows is None:
                path = self._folder / segment.file
                rows = open_rows(path, collection.precision, collection.recogniser.dimension, segment.rows)
                rows.forget(removed_after(connection, state.key, segment.applied))
            mapped[segment.key] = rows
        self._mapped = mapped


def _hold_few(connection: sqlite3.Connection, state: State, after: int) -> None:
    """Raises Behind."""
    most = 4 * most_in_memory(state.collection.faces)
    new = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM faces WHERE collection = ? AND key > ? LIMIT ?)",
        (state.key, after, most + 1),
    ).fetchone()[0]
    if new > most:
        raise Behind


class _Tail:
    """Rows in memory, in arrays that grow. A view that was given out is not touched by what is added later."""

    def __init__(self, precision: Precision, dimension: int) -> None:
        self.last = 0
        self._precision: Precision = precision
        self._count = 0
        self._rows = _room(precision, dimension, 0)

    def __len__(self) -> int:
        return self._count

    @property
    def bytes(self) -> int:
        rows = self._rows
        return rows.vectors.nbytes + rows.scales.nbytes + rows.persons.nbytes + rows.keys.nbytes

    def rows(self) -> Rows:
        return self._rows[: self._count]

    def add(self, new: Rows) -> None:
        count = self._count + len(new)
        if count > len(self._rows):
            grown = _room(self._precision, new.vectors.shape[1], max(count, len(self._rows) * 3 // 2, _LEAST_ROOM))
            _copy(self.rows(), grown, 0)
            self._rows = grown
        _copy(new, self._rows, self._count)
        self._count = count
        self.last = int(new.keys[-1])

    def drop_until(self, key: int) -> None:
        """Let go of what a segment holds now."""
        kept = self.rows()
        kept = kept[int(np.searchsorted(kept.keys, key, "right")) :]
        if len(kept) < self._count:
            self._rows = _room(self._precision, kept.vectors.shape[1], len(kept))
            _copy(kept, self._rows, 0)
            self._count = len(kept)


def _room(precision: Precision, dimension: int, count: int) -> Rows:
    return Rows(
        precision,
        np.empty((count, dimension), TYPES[precision]),
        np.empty(count if precision == "int8" else 0, np.float32),
        np.empty(count, np.int32),
        np.empty(count, np.int64),
    )


def _copy(source: Rows, target: Rows, start: int) -> None:
    stop = start + len(source)
    target.vectors[start:stop] = source.vectors
    target.persons[start:stop] = source.persons
    target.keys[start:stop] = source.keys
    if source.precision == "int8":
        target.scales[start:stop] = source.scales
