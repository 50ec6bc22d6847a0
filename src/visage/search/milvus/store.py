"""The Milvus store: the protocol of stores, over a connection."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from visage.errors import CollectionMissing, StoreUnavailable
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
from visage.search.filters import parse
from visage.search.listing import every_collection
from visage.search.milvus import enrolling, forgetting
from visage.search.milvus.connection import Connection
from visage.search.milvus.driver import Driver, pymilvus_driver
from visage.search.milvus.failures import Gone
from visage.search.milvus.galleries import Galleries, Gallery
from visage.search.milvus.locks import Stripes
from visage.search.milvus.reading import Reading
from visage.search.milvus.rows import face_of
from visage.search.milvus.searching import Search
from visage.search.unit import hold_unit

T = TypeVar("T")

SECONDS = 10.0
_TRIES = 3


def open_store(address: str, *, token: str = "", database: str = "", seconds: float = SECONDS) -> "MilvusStore":
    """`address`: `http://HOST:19530`, `https://…`, or a file of Milvus Lite, *.db, which one process has to itself.
    Connects with the first call, and again whenever that is needed; `seconds`: what a call may take before it raises
    StoreUnavailable. Raises ImportError (pymilvus is not installed) and ConfigurationError.
    """
    return MilvusStore(pymilvus_driver(address, token, database), seconds)


class MilvusStore:
    """`visage.search.base.Store` in a database of Milvus, which any number of processes and machines may share.

    What is guaranteed: what a call has returned is in Milvus' log, and every later call of any process sees it (reads
    name the moment at which they began, and Milvus waits for it). Nobody who is new is seen without all faces of the
    call, and faces that are added in one call are seen together. Of a call that raised StoreUnavailable nothing, all,
    or (where it was about new persons and others) the new faces of those who were there may be seen; repeated with the
    same ids it is whole. Processes that give the same face id to two persons at the same time are not held apart.
    """

    def __init__(self, driver: Driver, seconds: float = SECONDS) -> None:
        self._connection = Connection(driver, seconds)
        self._galleries = Galleries(self._connection)
        self._writing = Stripes()

    def create(self, new: NewCollection, /) -> Collection:
        return self._galleries.create(new)

    def collection(self, name: str, /) -> Collection:
        return self._galleries.collection(name)

    def collections(self, *, after: str = "", limit: int = 100) -> list[Collection]:
        return self._galleries.collections(after, limit)

    def describe(self, name: str, /, *, description: str | None = None, metadata: Metadata | None = None) -> Collection:
        return self._galleries.describe(name, description, metadata)

    def drop(self, name: str, /) -> None:
        self._galleries.drop(name)

    def enrol(
        self, name: str, enrolments: Sequence[Enrolment], /, *, expected: Recogniser | None = None
    ) -> list[tuple[Person, list[StoredFace]]]:
        persons = [f"p {e.person.id}" for e in enrolments]
        faces = [f"f {face.id}" for e in enrolments for face in e.faces]

        def work(gallery: Gallery) -> list[tuple[Person, list[StoredFace]]]:
            for e in enrolments:
                dimension = gallery.recogniser.dimension
                hold_unit(f"person {e.person.id!r}", [face.vector for face in e.faces], dimension)
            return enrolling.enrol(self._connection, gallery, enrolments)

        return self._write(name, [*persons, *faces], work, expected)

    def person(self, name: str, person: str, /) -> Person:
        return self._read(name, lambda reading: reading.counted([reading.life(person)])[0])

    def persons(
        self, name: str, /, *, after: str = "", limit: int = 100, where: Metadata | None = None
    ) -> list[Person]:
        parse(where)
        return self._read(name, lambda reading: reading.persons(after, limit, where))

    def rename(
        self, name: str, person: str, /, *, new_name: str | None = None, metadata: Metadata | None = None
    ) -> Person:
        def work(gallery: Gallery) -> Person:
            reading = Reading(self._connection, gallery, self._connection.moment())
            life = reading.life(person)
            renamed = replace(life, person=enrolling.changed(life.person, new_name, metadata, time.time()))
            enrolling.rewrite(self._connection, gallery, renamed)
            return reading.counted([renamed])[0]

        return self._write(name, [f"p {person}"], work)

    def forget(self, name: str, person: str, /) -> None:
        self._write(name, [f"p {person}"], lambda gallery: forgetting.forget(self._connection, gallery, person))

    def faces(self, name: str, person: str, /, *, after: str = "", limit: int = 100) -> list[StoredFace]:
        return self._read(name, lambda reading: reading.faces(person, after, limit))

    def face(self, name: str, face: str, /) -> StoredFace:
        return self._read(name, lambda reading: face_of(reading.face(face)))

    def forget_face(self, name: str, face: str, /) -> None:
        owner = self.face(name, face).person
        self._write(
            name, [f"p {owner}", f"f {face}"], lambda gallery: forgetting.forget_face(self._connection, gallery, face)
        )

    def crop(self, name: str, face: str, /) -> bytes | None:
        return self._read(name, lambda reading: reading.crop(face))

    def vectors(self, name: str, faces: Sequence[str], /) -> Floats:
        return self._read(name, lambda reading: reading.vectors(faces))

    def search(
        self, name: str, probes: Floats, question: Question, /, *, expected: Recogniser | None = None
    ) -> list[list[Match]]:
        hold_top(question)

        def work(gallery: Gallery) -> list[list[Match]]:
            hold_unit("a probe", probes, gallery.recogniser.dimension)
            asked = np.ascontiguousarray(probes, np.float32)
            search = Search(self._connection, gallery, question, self._connection.moment())
            return search.matches(asked) if len(asked) else []

        return self._known(name, work, expected)

    def export(self, name: str, /) -> Iterator[tuple[Person, StoredFace, Floats]]:
        """See the protocol. Vectors of a collection that has the name by now are elsewhere in Milvus."""
        gallery = self._known(name, self._there)
        try:
            yield from Reading(self._connection, gallery, self._connection.moment()).export()
            self._there(gallery)  # else it may have ended early
        except Gone as exc:
            raise CollectionMissing(f"there is no collection {name!r} any more") from exc

    def compact(self, name: str | None = None, /) -> None:
        """Take away what interrupted writes left, and have Milvus write anew what holds deleted rows. Its files go when
        its garbage collector comes (`dataCoord.gc.dropTolerance`, three hours unless told otherwise).
        """
        every = [name] if name is not None else [c.name for c in every_collection(self)]
        for one in every:
            self._known(one, self._compacted)

    def close(self) -> None:
        self._connection.close()

    def _there(self, gallery: Gallery) -> Gallery:
        """Raises Gone."""
        if not self._connection.has(gallery.vectors):
            raise Gone
        return gallery

    def _compacted(self, gallery: Gallery) -> None:
        forgetting.sweep(self._connection, gallery)
        there = self._connection.tables()
        for table in (gallery.persons, gallery.vectors, gallery.crops):
            if table in there:
                self._connection.compact(table)

    def _read(self, name: str, work: Callable[[Reading], T]) -> T:
        return self._known(name, lambda g: work(Reading(self._connection, g, self._connection.moment())))

    def _write(
        self, name: str, about: Iterable[str], work: Callable[[Gallery], T], expected: Recogniser | None = None
    ) -> T:
        with self._writing.held(f"{name} {one}" for one in about):
            return self._known(name, work, expected)

    def _known(self, name: str, work: Callable[[Gallery], T], expected: Recogniser | None = None) -> T:
        """Again where the collection was made anew by another process."""
        for _ in range(_TRIES):
            try:
                with self._connection.within():
                    return work(self._galleries.find(name, expected))
            except Gone:
                self._galleries.forget(name)
        raise StoreUnavailable(f"{name!r} is being made or dropped by another process")
