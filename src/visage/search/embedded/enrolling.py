"""Persons and faces into the tables: looked up in groups, joined in memory, written with a few statements.

The transaction that writes is alone in the database, so the keys of what is new are known before it is written.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from visage.errors import AlreadyThere
from visage.search.base import Enrolment, Metadata, NewFace, NewPerson, Person, Recogniser, StoredFace
from visage.search.embedded.records import FACE, PERSON, State, as_json, face_of, find, in_groups, person_of
from visage.search.expecting import hold_person, hold_recogniser

# So many ids of one question: SQLite reads them as one JSON text.
_GROUP = 2000

Enrolled = list[tuple[Person, list[StoredFace]]]


@dataclass(slots=True, eq=False)
class _Write:
    """What is there, what is to be there, and which of it is to be written."""

    state: State
    now: float
    next_person: int
    next_face: int
    persons: dict[str, tuple[int, Person]]  # id → key
    faces: dict[str, tuple[int, StoredFace]]  # id → key of the person
    made: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    crops: list[tuple[int, bytes]] = field(default_factory=list)


def enrol(connection: sqlite3.Connection, name: str, enrolments: Sequence[Enrolment], expected: Recogniser) -> Enrolled:
    """Within a transaction. What is there already stays. Raises CollectionMissing, EmbeddingMismatch where it is not of
    `expected`, AlreadyThere for a face that another person has and a "new" person, PersonMissing for a "known" one.
    """
    state = find(connection, name)
    hold_recogniser(name, state.collection.recogniser, expected)
    write = _Write(
        state,
        time.time(),
        _next(connection, "persons"),
        _next(connection, "faces"),
        {
            row[1]: (row[0], person_of(row[1:]))
            for row in _persons(connection, state, {e.person.id for e in enrolments})
        },
        {row[1]: (row[0], face_of(row[1:])) for row in _faces(connection, state, enrolments)},
    )
    for enrolment in enrolments:
        there = write.persons.get(enrolment.person.id)
        faces = (write.faces[face.id][1] for face in enrolment.faces if face.id in write.faces)
        hold_person(name, enrolment, there and there[1], faces)
    for enrolment in enrolments:
        key = _person(write, enrolment.person)
        for face in enrolment.faces:
            _face(write, key, enrolment.person, face)
    _written(connection, write)
    return [(write.persons[e.person.id][1], [write.faces[face.id][1] for face in e.faces]) for e in enrolments]


def _next(connection: sqlite3.Connection, table: str) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return 1 if row is None else int(row[0]) + 1


def _persons(connection: sqlite3.Connection, state: State, ids: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    for group in in_groups(ids, _GROUP):
        yield from connection.execute(
            f"SELECT p.key, {PERSON} FROM persons p WHERE p.collection = ? "
            "AND p.id IN (SELECT value FROM json_each(?))",
            (state.key, orjson.dumps(group).decode()),
        )


def _faces(connection: sqlite3.Connection, state: State, enrolments: Sequence[Enrolment]) -> Iterator[tuple[Any, ...]]:
    for group in in_groups((face.id for e in enrolments for face in e.faces), _GROUP):
        yield from connection.execute(
            f"SELECT p.key, {FACE} FROM faces f JOIN persons p ON p.key = f.person WHERE f.collection = ? "
            "AND f.id IN (SELECT value FROM json_each(?))",
            (state.key, orjson.dumps(group).decode()),
        )


def _person(write: _Write, new: NewPerson) -> int:
    """The key of the person, who is made or changed where that is needed."""
    there = write.persons.get(new.id)
    if there is None:
        key = write.next_person
        write.next_person += 1
        created, updated = _moment(new.created, write), _moment(new.updated, write)
        write.persons[new.id] = (key, Person(new.id, new.name or "", dict(new.metadata or {}), created, updated, 0))
        write.made.add(new.id)
        return key
    key, person = there
    name = person.name if new.name is None else new.name
    metadata: Metadata = person.metadata if new.metadata is None else dict(new.metadata)
    if (name, metadata) != (person.name, person.metadata):
        write.persons[new.id] = (key, replace(person, name=name, metadata=metadata, updated=_later(person, new, write)))
        write.changed.add(new.id)
    return key


def _moment(given: float | None, write: _Write) -> float:
    return write.now if given is None else given


def _later(person: Person, new: NewPerson, write: _Write) -> float:
    return max(person.updated, _moment(new.updated, write))


def _face(write: _Write, key: int, of: NewPerson, new: NewFace) -> None:
    person = of.id
    there = write.faces.get(new.id)
    if there is not None:
        if there[0] != key:
            raise AlreadyThere(f"the face {new.id!r} is another person's, not {person!r}'s")
        return
    face = write.next_face
    write.next_face += 1
    created = _moment(new.created, write)
    write.faces[new.id] = (key, StoredFace(new.id, person, dict(new.about), created, new.crop is not None))
    vector = np.ascontiguousarray(new.vector, "<f4").tobytes()
    about = as_json(new.about)
    write.rows.append((face, write.state.key, key, new.id, about, created, new.crop is not None, vector))
    if new.crop is not None:
        write.crops.append((face, new.crop))
    owner = write.persons[person][1]
    write.persons[person] = (key, replace(owner, faces=owner.faces + 1, updated=_later(owner, of, write)))
    write.changed.add(person)


def _written(connection: sqlite3.Connection, write: _Write) -> None:
    version, collection = write.state.version + 1, write.state.key
    changed = [write.persons[person] for person in write.changed - write.made]
    connection.executemany(
        "INSERT INTO persons (key, collection, id, name, metadata, created, updated, faces, version) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (key, collection, p.id, p.name, as_json(p.metadata), p.created, p.updated, p.faces, version)
            for key, p in sorted((write.persons[person] for person in write.made), key=lambda pair: pair[0])
        ],
    )
    connection.executemany(
        "UPDATE persons SET name = ?, metadata = ?, updated = ?, faces = ?, version = ? WHERE key = ?",
        [(p.name, as_json(p.metadata), p.updated, p.faces, version, key) for key, p in changed],
    )
    connection.executemany(
        "INSERT INTO faces (key, collection, person, id, about, created, cropped, vector) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        write.rows,
    )
    connection.executemany("INSERT INTO crops (face, png) VALUES (?, ?)", write.crops)
    if write.made or changed or write.rows:
        connection.execute(
            "UPDATE collections SET version = ?, persons = persons + ?, faces = faces + ? WHERE key = ?",
            (version, len(write.made), len(write.rows), collection),
        )
