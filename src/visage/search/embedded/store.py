"""The embedded store: SQLite is the truth, the image in memory answers."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from visage.errors import AlreadyThere, CollectionMissing, FaceMissing, StoreUnavailable
from visage.faces import Floats
from visage.search.asking import hold_top
from visage.search.base import (
    Collection,
    Enrolment,
    Match,
    Metadata,
    NewCollection,
    Person,
    Question,
    Recogniser,
    StoredFace,
)
from visage.search.embedded import database
from visage.search.embedded.enrolling import enrol
from visage.search.embedded.exporting import exported
from visage.search.embedded.graph import MOST_ADDED, Growing, faiss
from visage.search.embedded.image import Behind
from visage.search.embedded.ranking import Asked, Best, Ranker
from visage.search.embedded.records import (
    FACE,
    PERSON,
    State,
    as_json,
    changed,
    face_of,
    find,
    find_person,
    floats,
    in_groups,
    person_of,
    states,
)
from visage.search.embedded.searched import Searched, Several, Use
from visage.search.embedded.searching import asked_of, matches, nearest
from visage.search.embedded.segment import Rows, Unreadable
from visage.search.embedded.upkeep import Upkeep
from visage.search.embedded.writer import Writer
from visage.search.expecting import hold_recogniser
from visage.search.filters import parse
from visage.search.folder import is_writable
from visage.search.unit import hold_unit

T = TypeVar("T")

# A state is overtaken while it is read, or a segment replaced; seldom twice, never so often.
_TRIES = 20
# What a process holds by itself of the collections that it searches, unless told otherwise: bytes.
_MEMORY = 512 * 2**20
_EXPORTED_AT_ONCE = 512  # faces: a megabyte of vectors
# In `removed`: it was no face that went, but a person without any, or a collection.
_NO_FACE = 0


class EmbeddedStore:
    """`visage.search.base.Store` in a folder, which any number of processes of one machine may share.

    `rescore`: int8 collections weigh the best again with the float32 vectors. `compact_after`: seconds after which
    deletions are compacted by themselves; None: only by `compact`. `threads`: that search, as many as there are cores.
    `memory`: bytes that this process holds of collections for searching; see `searched.Several`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rescore: bool = True,
        compact_after: float | None = 120.0,
        threads: int | None = None,
        memory: int = _MEMORY,
    ) -> None:
        self._use = database.use(folder)
        try:
            database.create(folder)
        except BaseException:
            self._use.close()
            raise
        self._folder = folder
        self._rescore = rescore
        self._readers = database.Readers(folder)
        self._writer = Writer(folder)
        self._ranker = Ranker(threads)
        self._searched = Several(folder, memory)
        self._upkeep = Upkeep(folder, self._readers, self._writer, compact_after, self._let_go)

    def warm_up(self) -> None:
        """Make the first search as quick as the second: the kernels are compiled once for an installation."""
        self._ranker.warm_up()

    def check(self) -> None:
        """Whether the database can be used, as far as that is seen at once. Raises StoreUnavailable."""
        database.check(self._folder)

    def create(self, new: NewCollection, /) -> Collection:
        if new.index == "hnsw":
            faiss()
        r = new.recogniser
        created = time.time() if new.created is None else new.created
        values = (new.name, r.name, r.sha256, r.preprocess, r.dimension, new.precision, new.index)

        def work(connection: sqlite3.Connection) -> Collection:
            try:
                connection.execute(
                    "INSERT INTO collections (name, model, sha256, preprocess, dimension, precision, kind, "
                    "description, metadata, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*values, new.description, as_json(new.metadata), created),
                )
            except sqlite3.IntegrityError as exc:
                raise AlreadyThere(f"there is a collection {new.name!r} already") from exc
            return find(connection, new.name).collection

        return self._writer.do(work)

    def collection(self, name: str, /) -> Collection:
        with self._reading(name) as (_, state):
            return state.collection

    def collections(self, *, after: str = "", limit: int = 100) -> list[Collection]:
        with self._readers.reading() as connection:
            return [state.collection for state in states(connection, after, limit)]

    def describe(self, name: str, /, *, description: str | None = None, metadata: Metadata | None = None) -> Collection:
        def work(connection: sqlite3.Connection, state: State) -> Collection:
            connection.execute(
                "UPDATE collections SET description = coalesce(?, description), metadata = coalesce(?, metadata) "
                "WHERE key = ?",
                (description, None if metadata is None else as_json(metadata), state.key),
            )
            return find(connection, name).collection

        return self._write(name, work)

    def drop(self, name: str, /) -> None:
        def work(connection: sqlite3.Connection, state: State) -> int:
            connection.execute(
                "DELETE FROM crops WHERE face IN (SELECT key FROM faces WHERE collection = ?)", (state.key,)
            )
            for table in ("faces", "persons", "segments"):
                connection.execute(f"DELETE FROM {table} WHERE collection = ?", (state.key,))
            connection.execute("DELETE FROM collections WHERE key = ?", (state.key,))
            # Their bytes are in the files until these are compacted.
            _mark_removed(connection, state, [_NO_FACE])
            return state.key

        key = self._write(name, work)  # not under the lock: another process may be writing for long
        self._searched.drop(key)

    def enrol(
        self, name: str, enrolments: Sequence[Enrolment], /, *, expected: Recogniser | None = None
    ) -> list[tuple[Person, list[StoredFace]]]:
        held = expected or self.collection(name).recogniser
        for enrolment in enrolments:
            hold_unit(f"person {enrolment.person.id!r}", [face.vector for face in enrolment.faces], held.dimension)
        enrolled = self._writer.do(lambda connection: enrol(connection, name, enrolments, held))
        self._upkeep.wrote(sum(len(enrolment.faces) for enrolment in enrolments))
        return enrolled

    def person(self, name: str, person: str, /) -> Person:
        with self._reading(name) as (connection, state):
            return find_person(connection, state, person)[1]

    def persons(
        self, name: str, /, *, after: str = "", limit: int = 100, where: Metadata | None = None
    ) -> list[Person]:
        wanted = parse(where)
        with self._reading(name) as (connection, state):
            rows = connection.execute(
                f"SELECT {PERSON} FROM persons p WHERE p.collection = ? AND p.id > ? ORDER BY p.id", (state.key, after)
            )
            found: list[Person] = []
            while len(found) < limit and (row := rows.fetchone()) is not None:
                person = person_of(row)
                if wanted.holds(person.metadata):
                    found.append(person)
            return found

    def rename(
        self, name: str, person: str, /, *, new_name: str | None = None, metadata: Metadata | None = None
    ) -> Person:
        def work(connection: sqlite3.Connection, state: State) -> Person:
            key, _ = find_person(connection, state, person)
            version = changed(connection, state.key)
            connection.execute(
                "UPDATE persons SET name = coalesce(?, name), metadata = coalesce(?, metadata), updated = ?, "
                "version = ? WHERE key = ?",
                (new_name, None if metadata is None else as_json(metadata), time.time(), version, key),
            )
            return find_person(connection, state, person)[1]

        return self._write(name, work)

    def forget(self, name: str, person: str, /) -> None:
        def work(connection: sqlite3.Connection, state: State) -> None:
            key, _ = find_person(connection, state, person)
            faces = [row[0] for row in connection.execute("SELECT key FROM faces WHERE person = ?", (key,))]
            _remove(connection, state, faces)
            if not faces:  # their name, too, is in the files until these are compacted
                _mark_removed(connection, state, [_NO_FACE])
            connection.execute("DELETE FROM persons WHERE key = ?", (key,))
            connection.execute("UPDATE collections SET persons = persons - 1 WHERE key = ?", (state.key,))

        self._write(name, work)

    def faces(self, name: str, person: str, /, *, after: str = "", limit: int = 100) -> list[StoredFace]:
        with self._reading(name) as (connection, state):
            key, _ = find_person(connection, state, person)
            rows = connection.execute(
                f"SELECT {FACE} FROM faces f JOIN persons p ON p.key = f.person WHERE f.person = ? AND f.id > ? "
                "ORDER BY f.id LIMIT ?",
                (key, after, limit),
            )
            return [face_of(row) for row in rows]

    def face(self, name: str, face: str, /) -> StoredFace:
        with self._reading(name) as (connection, state):
            (key,) = _find_face(connection, state, face, "key")
            query = f"SELECT {FACE} FROM faces f JOIN persons p ON p.key = f.person WHERE f.key = ?"
            return face_of(connection.execute(query, (key,)).fetchone())

    def forget_face(self, name: str, face: str, /) -> None:
        def work(connection: sqlite3.Connection, state: State) -> None:
            key, person = _find_face(connection, state, face, "key, person")
            version = _remove(connection, state, [key])
            connection.execute(
                "UPDATE persons SET faces = faces - 1, updated = ?, version = ? WHERE key = ?",
                (time.time(), version, person),
            )

        self._write(name, work)

    def crop(self, name: str, face: str, /) -> bytes | None:
        with self._reading(name) as (connection, state):
            (key,) = _find_face(connection, state, face, "key")
            row = connection.execute("SELECT png FROM crops WHERE face = ?", (key,)).fetchone()
            return None if row is None else bytes(row[0])

    def vectors(self, name: str, faces: Sequence[str], /) -> Floats:
        with self._reading(name) as (connection, state):
            found = [_find_face(connection, state, face, "vector")[0] for face in faces]
            return floats(found, state.collection.recogniser.dimension)

    def search(
        self, name: str, probes: Floats, question: Question, /, *, expected: Recogniser | None = None
    ) -> list[list[Match]]:
        hold_top(question)
        with self._searched.using() as use:
            return self._search(name, probes, question, expected, use)

    def _search(
        self, name: str, probes: Floats, question: Question, expected: Recogniser | None, use: Use
    ) -> list[list[Match]]:
        by_files = True
        for _ in range(_TRIES):
            try:
                with self._reading(name) as (connection, state):
                    hold_recogniser(name, state.collection.recogniser, expected)
                    hold_unit("a probe", probes, state.collection.recogniser.dimension)
                    searched = use.of(state.key)
                    parts, version = searched.image.at(connection, state, by_files=by_files)
                    if version == state.version:
                        allowed = searched.masks.allowed(connection, state, question.where)
                        asked = asked_of(np.ascontiguousarray(probes, np.float32), question, allowed)
                        return matches(connection, self._best(connection, state, searched, parts, asked))
            except (Behind, Unreadable) as reason:
                by_files = is_writable(self._folder)
                if by_files and isinstance(reason, Behind):
                    self._upkeep.fold(name, at_once=True)
                elif by_files:
                    self._upkeep.mend(name)
            except Growing as growing:
                growing.graph.add(growing.parts)
        raise StoreUnavailable(f"{name!r} changes faster than it can be searched; try again")

    def export(self, name: str, /) -> Iterator[tuple[Person, StoredFace, Floats]]:
        """See the protocol. A transaction for each few hundred faces: readers that are slow hold up nobody."""
        key: int | None = None
        last = ("", "")
        while True:
            with self._reading(name) as (connection, state):
                if key not in (None, state.key):
                    raise CollectionMissing(f"the collection {name!r} was dropped; another one has its name now")
                key = state.key
                found = exported(connection, state, last, _EXPORTED_AT_ONCE)
            if not found:
                return
            yield from found
            last = found[-1][0].id, found[-1][1].id

    def compact(self, name: str | None = None, /) -> None:
        """All collections share a file: with or without `name`, it is all of it that is compacted."""
        if name is not None:
            self.collection(name)
        self._upkeep.compact()

    def close(self) -> None:
        self._upkeep.close()
        self._writer.close()
        self._readers.close()
        self._ranker.close()
        self._use.close()
        self._searched.clear()

    @contextmanager
    def _reading(self, name: str) -> Iterator[tuple[sqlite3.Connection, State]]:
        with self._readers.reading() as connection:
            yield connection, find(connection, name)

    def _write(self, name: str, work: Callable[[sqlite3.Connection, State], T]) -> T:
        return self._writer.do(lambda connection: work(connection, find(connection, name)))

    def _best(
        self, connection: sqlite3.Connection, state: State, searched: Searched, parts: list[Rows], asked: Asked
    ) -> Best:
        if state.collection.index == "exact":
            return nearest(connection, state, self._ranker, parts, asked, rescore=self._rescore)
        graph = self._searched.graph_of(searched, state.collection.recogniser.dimension)
        if graph.lacks(parts) > MOST_ADDED:
            raise Growing(graph, parts)
        return graph.nearest(parts, asked)

    def _let_go(self) -> None:
        """Of what other processes have dropped, deleted or compacted, where nobody here searches and so finds out."""
        held = dict(self._searched.items())
        if not held:
            return
        with self._readers.reading() as connection:
            rows = connection.execute(
                "SELECT key, epoch, faces FROM collections WHERE key IN (SELECT value FROM json_each(?))",
                (json.dumps(list(held)),),
            ).fetchall()
        there = {key: (epoch, faces) for key, epoch, faces in rows}
        for key, searched in held.items():
            if key not in there:
                self._searched.drop(key)
                continue
            epoch, faces = there[key]
            searched.image.let_go(epoch)
            graph = searched.graph  # another thread may let go of it, too
            if graph is not None and graph.is_worn(faces):
                searched.graph = None


def _remove(connection: sqlite3.Connection, state: State, faces: Sequence[int]) -> int:
    """The faces with these keys, and tell the images of all processes. Returns the collection's version."""
    _mark_removed(connection, state, faces)
    for group in in_groups(faces, 2000):
        text = json.dumps(group)
        connection.execute("DELETE FROM crops WHERE face IN (SELECT value FROM json_each(?))", (text,))
        connection.execute("DELETE FROM faces WHERE key IN (SELECT value FROM json_each(?))", (text,))
    connection.execute("UPDATE collections SET faces = faces - ? WHERE key = ?", (len(faces), state.key))
    return changed(connection, state.key)


def _mark_removed(connection: sqlite3.Connection, state: State, faces: Sequence[int]) -> None:
    now = time.time()
    connection.executemany(
        "INSERT INTO removed (collection, face, at) VALUES (?, ?, ?)", [(state.key, face, now) for face in faces]
    )


def _find_face(connection: sqlite3.Connection, state: State, face: str, columns: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(
        f"SELECT {columns} FROM faces WHERE collection = ? AND id = ?", (state.key, face)
    ).fetchone()
    if row is None:
        raise FaceMissing(f"there is no face {face!r} in {state.collection.name!r}")
    return row
