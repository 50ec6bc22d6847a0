"""Collections: made, found, described and dropped.

A collection is there once its row "" is among its persons, which is written when all else is made.
"""

import json
import secrets
import threading
import time
from dataclasses import dataclass

from visage.errors import AlreadyThere, CollectionMissing, SearchError, StoreUnavailable
from visage.search.base import Collection, Metadata, NewCollection, Recogniser
from visage.search.expecting import hold_recogniser
from visage.search.milvus import names, schema
from visage.search.milvus.connection import Connection, Row
from visage.search.milvus.expressions import among
from visage.search.milvus.failures import Gone
from visage.search.milvus.rows import ABOUT, PERSON, about_row, collection_of, described

# So old is what somebody began to make and will not go on with.
_GIVEN_UP = 150.0


@dataclass(frozen=True, slots=True)
class Gallery:
    """What never changes of a collection: where it is in Milvus, and what it was made for."""

    name: str
    persons: str
    vectors: str
    crops: str
    recogniser: Recogniser
    indexed: schema.Indexed


class Galleries:
    """All collections of a database of Milvus. Remembers where they are; `forget` what is no longer so."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, Gallery] = {}
        self._lock = threading.Lock()

    def create(self, new: NewCollection) -> Collection:
        """Raises AlreadyThere; of two processes that make the same at once, one succeeds."""
        indexed = schema.indexed(new.precision, new.index)
        mark, table = secrets.token_hex(4), names.persons(new.name)
        with self._lock:
            self._make_room(new.name, table)
            self._claim(new.name, table, mark)
            created = time.time() if new.created is None else new.created
            row = about_row(new, created, names.vectors(new.name, mark), names.crops(new.name, mark))
            try:
                made = schema.vectors(new.recogniser.dimension, new.precision, new.index)
                self._connection.make(row["told"]["vectors"], made)
            except (SearchError, Gone) as exc:
                self._drop(new.name, table)
                if indexed.kind == "HNSW_SQ":
                    raise SearchError(
                        "this Milvus has no graph of float16 or int8 (HNSW_SQ, since 2.5): take index exact, or fp32"
                    ) from exc
                raise
            self._connection.write(table, [row])
        return collection_of(row, 0, 0)

    def find(self, name: str, expected: Recogniser | None = None) -> Gallery:
        """Raises CollectionMissing, and EmbeddingMismatch where it is not of the recogniser `expected`."""
        found = self._known.get(name)
        if found is None or expected not in (None, found.recogniser):  # what is remembered may have been dropped
            found = self._known[name] = self._of(self.row(name, self._connection.moment()))
        hold_recogniser(name, found.recogniser, expected)
        return found

    def forget(self, name: str) -> None:
        self._known.pop(name, None)

    def row(self, name: str, at: int) -> Row:
        """What tells of the collection. Raises CollectionMissing."""
        try:
            rows = self._connection.query(names.persons(name), among("id", [ABOUT]), PERSON, at)
        except Gone:
            rows = []
        if not rows:
            self.forget(name)
            raise CollectionMissing(f"there is no collection {name!r}")
        return rows[0]

    def collection(self, name: str) -> Collection:
        """Raises CollectionMissing."""
        at = self._connection.moment()
        row = self.row(name, at)
        try:
            persons = self._connection.count(names.persons(name), "key > 0", at)
            return collection_of(row, persons, self._connection.count(row["told"]["vectors"], "", at))
        except Gone as exc:
            self.forget(name)
            raise CollectionMissing(f"there is no collection {name!r}") from exc

    def collections(self, after: str, limit: int) -> list[Collection]:
        every = sorted(name for table in self._connection.tables() if (name := names.gallery(table)) is not None)
        found: list[Collection] = []
        for name in every:
            if name <= after:
                continue
            if len(found) == limit:
                break
            try:
                found.append(self.collection(name))
            except CollectionMissing:  # half made, or just dropped
                continue
        return found

    def describe(self, name: str, description: str | None, metadata: Metadata | None) -> Collection:
        with self._lock:
            row = self.row(name, self._connection.moment())
            self._connection.write(names.persons(name), [described(row, description, metadata)])
        return self.collection(name)

    def drop(self, name: str) -> None:
        """The persons first: then it is gone for all, and what follows is rubbish that `create` and `compact` take."""
        self.row(name, self._connection.moment())
        self._drop(name, names.persons(name))

    def _drop(self, name: str, table: str) -> None:
        self.forget(name)
        rest = [each for each in self._connection.tables() if names.belongs(each, name) and each != table]
        for each in (table, *rest):
            try:
                self._connection.drop(each)
            except Gone:
                continue

    def _make_room(self, name: str, table: str) -> None:
        """Take away what a process that died has left of a collection half made or half dropped."""
        if self._connection.has(table):
            try:
                self.row(name, self._connection.moment())
            except CollectionMissing:
                self._hold_given_up(name, table)
            else:
                raise AlreadyThere(f"there is a collection {name!r} already")
        if any(names.belongs(each, name) for each in self._connection.tables()):
            self._drop(name, table)

    def _hold_given_up(self, name: str, table: str) -> None:
        try:
            said = self._connection.description(table)
        except Gone:
            return
        if said and abs(time.time() - json.loads(said)["at"]) < _GIVEN_UP:  # a clock may have been ahead
            raise StoreUnavailable(f"another process is making {name!r}", retry_after=10)

    def _claim(self, name: str, table: str, mark: str) -> None:
        """Raises AlreadyThere: another process was quicker. Milvus takes a description once, so whose it bears is word;
        Milvus Lite keeps none, and has one process.
        """
        try:
            self._connection.make(table, schema.PERSONS, json.dumps({"mark": mark, "at": time.time()}))
        except SearchError as exc:
            raise AlreadyThere(f"there is a collection {name!r} already") from exc
        said = self._connection.description(table)
        if said and json.loads(said)["mark"] != mark:
            raise AlreadyThere(f"there is a collection {name!r} already")

    def _of(self, row: Row) -> Gallery:
        collection = collection_of(row, 0, 0)
        told = row["told"]
        return Gallery(
            collection.name,
            names.persons(collection.name),
            told["vectors"],
            told["crops"],
            collection.recogniser,
            schema.indexed(collection.precision, collection.index),
        )
