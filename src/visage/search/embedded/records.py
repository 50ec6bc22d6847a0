"""What the tables' rows say, as values."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import orjson

from visage.errors import CollectionMissing, PersonMissing
from visage.faces import Floats
from visage.search.base import Collection, Metadata, Person, Recogniser, StoredFace
from visage.search.embedded.segment import Rows, encode

T = TypeVar("T")

_COLLECTION = (
    "key, version, epoch, name, model, sha256, preprocess, dimension, precision, kind, description, metadata, created, "
    "persons, faces"
)
PERSON = "p.id, p.name, p.metadata, p.created, p.updated, p.faces"
FACE = "f.id, p.id, f.about, f.created, f.cropped"


@dataclass(frozen=True, slots=True)
class State:
    """A collection as a transaction sees it."""

    key: int
    version: int
    epoch: int
    collection: Collection


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of the image; see database.py."""

    key: int
    file: str
    last: int
    rows: int
    applied: int


def as_json(value: Metadata) -> str:
    return orjson.dumps(dict(value)).decode()


def state_of(row: Sequence[Any]) -> State:
    key, version, epoch, name, model, sha256, preprocess, dimension, precision, kind, about, metadata, *rest = row
    recogniser = Recogniser(model, sha256, preprocess, dimension)
    collection = Collection(name, recogniser, precision, kind, about, orjson.loads(metadata), *rest)
    return State(key, version, epoch, collection)


def changed(connection: sqlite3.Connection, collection: int, *, epoch: bool = False) -> int:
    """Of the collection with this key another version begins, which is returned; with `epoch` another epoch, too."""
    version: int
    (version,) = connection.execute(
        "UPDATE collections SET version = version + 1, epoch = epoch + ? WHERE key = ? RETURNING version",
        (int(epoch), collection),
    ).fetchone()
    return version


def person_of(row: Sequence[Any]) -> Person:
    person, name, metadata, created, updated, faces = row
    return Person(person, name, orjson.loads(metadata), created, updated, faces)


def face_of(row: Sequence[Any]) -> StoredFace:
    face, person, about, created, cropped = row
    return StoredFace(face, person, orjson.loads(about), created, bool(cropped))


def find(connection: sqlite3.Connection, name: str) -> State:
    """Raises CollectionMissing."""
    row = connection.execute(f"SELECT {_COLLECTION} FROM collections WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise CollectionMissing(f"there is no collection {name!r}")
    return state_of(row)


def states(connection: sqlite3.Connection, after: str = "", limit: int = -1) -> list[State]:
    rows = connection.execute(
        f"SELECT {_COLLECTION} FROM collections WHERE name > ? ORDER BY name LIMIT ?", (after, limit)
    )
    return [state_of(row) for row in rows]


def find_person(connection: sqlite3.Connection, state: State, person: str) -> tuple[int, Person]:
    """The person and their key. Raises PersonMissing."""
    row = connection.execute(
        f"SELECT p.key, {PERSON} FROM persons p WHERE p.collection = ? AND p.id = ?", (state.key, person)
    ).fetchone()
    if row is None:
        raise PersonMissing(f"there is no person {person!r} in {state.collection.name!r}")
    return row[0], person_of(row[1:])


def segments(connection: sqlite3.Connection, collection: int) -> list[Segment]:
    """Those of a collection, oldest faces first."""
    rows = connection.execute(
        "SELECT key, file, last, rows, applied FROM segments WHERE collection = ? ORDER BY last", (collection,)
    )
    return [Segment(*row) for row in rows]


def removed_after(connection: sqlite3.Connection, collection: int, after: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The keys of the faces that were removed since."""
    rows = connection.execute("SELECT face FROM removed WHERE collection = ? AND key > ?", (collection, after))
    return np.fromiter((row[0] for row in rows), np.int64)


def last_removed(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(key), 0) FROM removed").fetchone()[0])


def rows_after(connection: sqlite3.Connection, state: State, after: int, size: int = 8192) -> Iterator[Rows]:
    """The faces that came later than the key `after`, as rows of the image, so many at a time."""
    collection = state.collection
    found = connection.execute(
        "SELECT key, person, vector FROM faces INDEXED BY faces_by_collection WHERE collection = ? AND key > ? "
        "ORDER BY key",
        (state.key, after),
    )
    while some := found.fetchmany(size):
        vectors = floats((row[2] for row in some), collection.recogniser.dimension)
        persons = np.fromiter((row[1] for row in some), np.int32, len(some))
        keys = np.fromiter((row[0] for row in some), np.int64, len(some))
        yield encode(collection.precision, vectors, persons, keys)


def floats(blobs: Iterable[bytes], dimension: int) -> Floats:
    """float32 (n, dimension)."""
    return np.frombuffer(b"".join(blobs), np.float32).reshape(-1, dimension)


def in_groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    it = iter(items)
    while group := list(islice(it, size)):
        yield group
