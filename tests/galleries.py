"""A complete store in memory, small and slow: what the routes are tested with, and an oracle for real ones."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from tests.support import Client, client_of, constant_runtime, settings_of
from visage.errors import (
    AlreadyThere,
    CollectionMissing,
    EmbeddingMismatch,
    FaceMissing,
    PersonMissing,
)
from visage.faces import Floats
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
from visage.search.expecting import hold_person, hold_recogniser


class MemoryStore:
    """See `visage.search.base.Store`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._collections: dict[str, Collection] = {}
        self._persons: dict[str, dict[str, Person]] = {}
        self._faces: dict[str, dict[str, tuple[StoredFace, Floats, bytes | None]]] = {}
        self.compacted: list[str | None] = []
        self.closed = False
        self.enrol_calls = 0

    def create(self, new: NewCollection, /) -> Collection:
        with self._lock:
            if new.name in self._collections:
                raise AlreadyThere(f"Collection {new.name!r} is there already")
            self._collections[new.name] = Collection(
                new.name,
                new.recogniser,
                new.precision,
                new.index,
                new.description,
                new.metadata,
                new.created or time.time(),
                0,
                0,
            )
            self._persons[new.name], self._faces[new.name] = {}, {}
            return self.collection(new.name)

    def collection(self, name: str, /) -> Collection:
        with self._lock:
            if name not in self._collections:
                raise CollectionMissing(f"There is no collection {name!r}")
            counts = {"persons": len(self._persons[name]), "faces": len(self._faces[name])}
            return replace(self._collections[name], **counts)

    def collections(self, *, after: str = "", limit: int = 100) -> list[Collection]:
        with self._lock:
            return [self.collection(name) for name in sorted(self._collections) if name > after][:limit]

    def describe(self, name: str, /, *, description: str | None = None, metadata: Metadata | None = None) -> Collection:
        with self._lock:
            found = self.collection(name)
            self._collections[name] = replace(
                found,
                description=found.description if description is None else description,
                metadata=found.metadata if metadata is None else metadata,
            )
            return self.collection(name)

    def drop(self, name: str, /) -> None:
        with self._lock:
            self.collection(name)
            for held in (self._collections, self._persons, self._faces):
                held.pop(name)  # type: ignore[attr-defined]

    def enrol(
        self, name: str, enrolments: Sequence[Enrolment], /, *, expected: Recogniser | None = None
    ) -> list[tuple[Person, list[StoredFace]]]:
        with self._lock:
            self.enrol_calls += 1
            held = self.collection(name)
            hold_recogniser(name, held.recogniser, expected)
            for one in enrolments:
                there = self.person(name, one.person.id) if one.person.id in self._persons[name] else None
                kept = self._faces[name]
                hold_person(name, one, there, [kept[face.id][0] for face in one.faces if face.id in kept])
            for face in (face for one in enrolments for face in one.faces):
                if face.vector.shape != (held.recogniser.dimension,):
                    raise EmbeddingMismatch(f"{face.vector.shape} is not the length of {name}")
            return [self._enrolled(name, one) for one in enrolments]

    def _enrolled(self, name: str, one: Enrolment) -> tuple[Person, list[StoredFace]]:
        now = time.time()
        new = one.person
        if new.id not in self._persons[name]:
            self._persons[name][new.id] = Person(
                new.id, new.name or "", new.metadata or {}, new.created or now, new.updated or now, 0
            )
        for face in one.faces:
            stored = StoredFace(face.id, new.id, face.about, face.created or now, face.crop is not None)
            self._faces[name].setdefault(face.id, (stored, face.vector, face.crop))
        return self.person(name, new.id), [self._faces[name][face.id][0] for face in one.faces]

    def person(self, name: str, person: str, /) -> Person:
        with self._lock:
            self.collection(name)
            if person not in self._persons[name]:
                raise PersonMissing(f"There is no person {person!r} in {name!r}")
            count = sum(face.person == person for face, _, _ in self._faces[name].values())
            return replace(self._persons[name][person], faces=count)

    def persons(
        self, name: str, /, *, after: str = "", limit: int = 100, where: Metadata | None = None
    ) -> list[Person]:
        with self._lock:
            self.collection(name)
            found = [self.person(name, one) for one in sorted(self._persons[name]) if one > after]
            return [one for one in found if meets(one.metadata, where or {})][:limit]

    def rename(
        self, name: str, person: str, /, *, new_name: str | None = None, metadata: Metadata | None = None
    ) -> Person:
        with self._lock:
            found = self.person(name, person)
            self._persons[name][person] = replace(
                found,
                name=found.name if new_name is None else new_name,
                metadata=found.metadata if metadata is None else metadata,
                updated=time.time(),
            )
            return self.person(name, person)

    def forget(self, name: str, person: str, /) -> None:
        with self._lock:
            self.person(name, person)
            del self._persons[name][person]
            self._faces[name] = {key: kept for key, kept in self._faces[name].items() if kept[0].person != person}

    def faces(self, name: str, person: str, /, *, after: str = "", limit: int = 100) -> list[StoredFace]:
        with self._lock:
            self.person(name, person)
            found = sorted(key for key, kept in self._faces[name].items() if kept[0].person == person and key > after)
            return [self._faces[name][key][0] for key in found][:limit]

    def face(self, name: str, face: str, /) -> StoredFace:
        return self._kept(name, face)[0]

    def forget_face(self, name: str, face: str, /) -> None:
        with self._lock:
            self._kept(name, face)
            del self._faces[name][face]

    def crop(self, name: str, face: str, /) -> bytes | None:
        return self._kept(name, face)[2]

    def vectors(self, name: str, faces: Sequence[str], /) -> Floats:
        return np.stack([self._kept(name, face)[1] for face in faces])

    def _kept(self, name: str, face: str) -> tuple[StoredFace, Floats, bytes | None]:
        with self._lock:
            self.collection(name)
            if face not in self._faces[name]:
                raise FaceMissing(f"There is no face {face!r} in {name!r}")
            return self._faces[name][face]

    def search(
        self, name: str, probes: Floats, question: Question, /, *, expected: Recogniser | None = None
    ) -> list[list[Match]]:
        with self._lock:
            hold_recogniser(name, self.collection(name).recogniser, expected)
            return [self._matches(name, probe, question) for probe in probes]

    def _matches(self, name: str, probe: Floats, question: Question) -> list[Match]:
        found = [
            Match(self.person(name, face.person), face, float(vector @ probe))
            for face, vector, _ in self._faces[name].values()
        ]
        found = [one for one in found if one.similarity >= question.threshold]
        found = [one for one in found if meets(one.person.metadata, question.where)]
        found.sort(key=lambda one: -one.similarity)
        if question.by == "persons":
            found = list({one.person.id: one for one in reversed(found)}.values())
            found.sort(key=lambda one: -one.similarity)
        return found[: question.top]

    def export(self, name: str, /) -> Iterator[tuple[Person, StoredFace, Floats]]:
        for person in self.persons(name, limit=10**9):
            for face in self.faces(name, person.id, limit=10**9):
                yield person, face, self._kept(name, face.id)[1]

    def compact(self, name: str | None = None, /) -> None:
        self.compacted.append(name)

    def close(self) -> None:
        self.closed = True


_COMPARISONS: Mapping[str, Any] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "in": lambda a, b: a in b,
}


def meets(metadata: Metadata, where: Metadata) -> bool:
    """The contract's `where`, read as it is written."""
    for key, asked in where.items():
        if key == "or":
            if not any(meets(metadata, one) for one in asked):
                return False
            continue
        for operator, value in (asked if isinstance(asked, dict) else {"eq": asked}).items():
            if operator == "exists":
                if (key in metadata) != value:
                    return False
            elif key not in metadata or not _COMPARISONS[operator](metadata[key], value):
                return False
    return True


@contextmanager
def gallery_client(
    data_dir: Any, *, store: Any = None, runtime: Mapping[str, Any] | None = None, **environ: str
) -> Iterator[Client]:
    """A client of an application over constant networks and a store in memory."""
    held = MemoryStore() if store is None else store
    settings = settings_of(DATA_DIR=str(data_dir), **environ)
    more = dict(runtime or {})
    with client_of(settings, opener=lambda s, w: constant_runtime(s, w, **more), stores=lambda _: held) as client:
        yield client
