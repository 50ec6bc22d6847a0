"""The rows that are searched: packed in files that are written once, mapped by every process, and never changed.

A file: one line of JSON padded to a page, then pages of vectors, scales, persons and keys. Everything in it can be
made again from the database; a file that is missing or short is.
"""

import json
import mmap
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from visage.faces import Floats
from visage.search.base import Precision
from visage.search.folder import SEGMENT

SUFFIX = SEGMENT

_MAGIC = "visage rows 1"
_PAGE = 4096
TYPES: dict[Precision, Any] = {"fp32": np.float32, "fp16": np.uint16, "int8": np.int8}


class Unreadable(Exception):
    """A file that is not, or no longer, what the database says."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """`vectors` (n, D) float32, the bits of float16 (uint16), or int8 with `scales` float32 (n,); `persons` int32 (n,),
    −1 where the row is gone; `keys` int64 (n,) of the faces, rising.
    """

    precision: Precision
    vectors: NDArray[Any]
    scales: Floats
    persons: NDArray[np.int32]
    keys: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, which: Any) -> "Rows":
        """A subset: a slice is a view; a boolean mask (n,) or an index array copies."""
        scales = self.scales[which] if self.precision == "int8" else self.scales
        return Rows(self.precision, self.vectors[which], scales, self.persons[which], self.keys[which])

    def forget(self, keys: NDArray[np.int64]) -> None:
        """Mark the rows of these faces as gone."""
        if len(self) and len(keys):
            places = np.minimum(np.searchsorted(self.keys, keys), len(self) - 1)
            self.persons[places[self.keys[places] == keys]] = -1


def encode(precision: Precision, vectors: Floats, persons: NDArray[np.int32], keys: NDArray[np.int64]) -> Rows:
    """`vectors` float32 (n, D) as they are searched. int8: each row by a scale of its own, so that its largest number
    is 127 (about 2e-3 of a similarity are lost).
    """
    scales = np.empty(0, np.float32)
    coded: NDArray[Any] = np.ascontiguousarray(vectors, np.float32)
    if precision == "fp16":
        coded = coded.astype(np.float16).view(np.uint16)
    elif precision == "int8":
        scales = (np.maximum(np.abs(coded).max(axis=1, initial=0), 1e-12) / 127).astype(np.float32)
        coded = np.rint(coded / scales[:, None]).astype(np.int8)
    return Rows(precision, coded, scales, persons, keys)


def write(path: Path, precision: Precision, dimension: int, chunks: Iterable[Rows]) -> int:
    """A file of the rows that are not gone, whole and on the disk or not there. Returns how many they are."""
    written, persons, keys = 0, [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    scales = [np.empty(0, np.float32)]
    unfinished = path.with_suffix(".unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(b"\0" * _PAGE)
            for chunk in chunks:
                rows = chunk[np.asarray(chunk.persons) >= 0]
                file.write(np.ascontiguousarray(rows.vectors).tobytes())
                written += len(rows)
                scales.append(rows.scales)
                persons.append(rows.persons)
                keys.append(rows.keys)
            for column in (scales, persons, keys):
                _align(file)
                file.write(np.concatenate(column).tobytes())
            file.seek(0)
            head = {"form": _MAGIC, "precision": precision, "dimension": dimension, "rows": written}
            file.write(json.dumps(head).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    return written


def open_rows(path: Path, precision: Precision, dimension: int, rows: int) -> Rows:
    """The file's rows, mapped: pages come from the disk as they are read, and are shared by all who map it. `persons`
    may be written to, which changes only this process's copy. Raises Unreadable.
    """
    kind = np.dtype(TYPES[precision])
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline(_PAGE))
            wanted = {"form": _MAGIC, "precision": precision, "dimension": dimension, "rows": rows}
            if head != wanted:
                raise Unreadable(f"{path.name} says {head} where {wanted} is recorded")
            vectors = _Place(_PAGE, (rows, dimension), kind)
            scales = _Place(vectors.after, (rows if precision == "int8" else 0,), np.dtype(np.float32))
            persons = _Place(scales.after, (rows,), np.dtype(np.int32))
            keys = _Place(persons.after, (rows,), np.dtype(np.int64))
            if os.fstat(file.fileno()).st_size < keys.end:
                raise Unreadable(f"{path.name} is cut off")
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return Rows(precision, vectors.of(whole), scales.of(whole), persons.of(whole).copy(), keys.of(whole))
    except (OSError, ValueError) as exc:
        raise Unreadable(f"{path.name}: {exc}") from exc


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an array lies in a file."""

    start: int
    shape: tuple[int, ...]
    kind: np.dtype[Any]

    @property
    def end(self) -> int:
        return self.start + int(np.prod(self.shape)) * self.kind.itemsize

    @property
    def after(self) -> int:
        return -(-self.end // _PAGE) * _PAGE

    def of(self, whole: mmap.mmap) -> NDArray[Any]:
        return np.frombuffer(whole, self.kind, int(np.prod(self.shape)), self.start).reshape(self.shape)


def _align(file: IO[bytes]) -> None:
    file.write(b"\0" * (-file.tell() % _PAGE))


def sync_folder(folder: Path) -> None:
    """A name in a folder is on the disk only once the folder is."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
