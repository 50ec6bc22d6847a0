"""Persons and faces into the tables, many with a few statements."""

import sqlite3
import time
from collections.abc import Iterable, Sequence

import orjson

from visage.errors import AlreadyThere
from visage.search.base import Enrolment, NewPerson, Person, StoredFace
from visage.search.embedded.records import FACE, PERSON, State, as_json, face_of, find, in_groups, person_of

# So many ids of one question: SQLite reads them as one JSON text.
_GROUP = 2000

Enrolled = list[tuple[Person, list[StoredFace]]]


def enrol(connection: sqlite3.Connection, name: str, enrolments: Sequence[Enrolment]) -> Enrolled:
    """Within a transaction. What is there already stays. Raises CollectionMissing, and AlreadyThere for a face that
    another person has.
    """
    state = find(connection, name)
    version, now = state.version + 1, time.time()
    made = _make_persons(connection, state, [e.person for e in enrolments], version, now)
    keys = _keys(connection, state, {e.person.id for e in enrolments})
    faces = _make_faces(connection, state, enrolments, keys, now)
    _count(connection, faces, version, now)
    connection.execute(
        "UPDATE collections SET version = ?, persons = persons + ?, faces = faces + ? WHERE key = ?",
        (version, made, sum(faces.values()), state.key),
    )
    return _answers(connection, state, enrolments)


def _make_persons(
    connection: sqlite3.Connection, state: State, persons: Sequence[NewPerson], version: int, now: float
) -> int:
    before = connection.total_changes
    connection.executemany(
        "INSERT INTO persons (collection, id, name, metadata, created, updated, version) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        [(state.key, p.id, p.name or "", as_json(p.metadata or {}), now, now, version) for p in persons],
    )
    made = connection.total_changes - before
    changes = [
        (p.name, None if p.metadata is None else as_json(p.metadata), now, version, state.key, p.id)
        for p in persons
        if p.name is not None or p.metadata is not None
    ]
    connection.executemany(
        "UPDATE persons SET name = coalesce(?1, name), metadata = coalesce(?2, metadata), updated = ?3, version = ?4 "
        "WHERE collection = ?5 AND id = ?6 AND (name <> coalesce(?1, name) OR metadata <> coalesce(?2, metadata))",
        changes,
    )
    return made


def _keys(connection: sqlite3.Connection, state: State, ids: Iterable[str]) -> dict[str, int]:
    """id → key of persons."""
    return {
        row[0]: row[1]
        for group in in_groups(ids, _GROUP)
        for row in connection.execute(
            "SELECT id, key FROM persons WHERE collection = ? AND id IN (SELECT value FROM json_each(?))",
            (state.key, orjson.dumps(group).decode()),
        )
    }


def _make_faces(
    connection: sqlite3.Connection, state: State, enrolments: Sequence[Enrolment], keys: dict[str, int], now: float
) -> dict[int, int]:
    """How many faces each person (key) has got."""
    wanted = {face.id: keys[e.person.id] for e in enrolments for face in e.faces}
    there = _owners(connection, state, wanted)
    made: dict[int, int] = {}
    rows, crops = [], []
    for enrolment in enrolments:
        person = keys[enrolment.person.id]
        for face in enrolment.faces:
            if there.setdefault(face.id, person) != person:
                raise AlreadyThere(f"the face {face.id!r} is another person's, not {enrolment.person.id!r}'s")
            if wanted.pop(face.id, None) is None or face.id in there.known:
                continue
            vector = memoryview(face.vector.astype("<f4", copy=False)).cast("B")
            rows.append((state.key, person, face.id, as_json(face.about), now, face.crop is not None, bytes(vector)))
            made[person] = made.get(person, 0) + 1
            if face.crop is not None:
                crops.append((face.crop, state.key, face.id))
    connection.executemany(
        "INSERT INTO faces (collection, person, id, about, created, cropped, vector) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
    )
    connection.executemany(
        "INSERT INTO crops (face, png) SELECT key, ? FROM faces WHERE collection = ? AND id = ?", crops
    )
    return made


class _Owned(dict[str, int]):
    """Face id → person key; `known`: the ids that were in the table before."""

    known: frozenset[str] = frozenset()


def _owners(connection: sqlite3.Connection, state: State, ids: Iterable[str]) -> _Owned:
    owned = _Owned(
        (row[0], row[1])
        for group in in_groups(ids, _GROUP)
        for row in connection.execute(
            "SELECT id, person FROM faces WHERE collection = ? AND id IN (SELECT value FROM json_each(?))",
            (state.key, orjson.dumps(group).decode()),
        )
    )
    owned.known = frozenset(owned)
    return owned


def _count(connection: sqlite3.Connection, faces: dict[int, int], version: int, now: float) -> None:
    connection.executemany(
        "UPDATE persons SET faces = faces + ?, updated = ?, version = ? WHERE key = ?",
        [(count, now, version, person) for person, count in faces.items()],
    )


def _answers(connection: sqlite3.Connection, state: State, enrolments: Sequence[Enrolment]) -> Enrolled:
    persons: dict[str, Person] = {}
    faces: dict[str, StoredFace] = {}
    for group in in_groups({e.person.id for e in enrolments}, _GROUP):
        for row in connection.execute(
            f"SELECT {PERSON} FROM persons p WHERE p.collection = ? AND p.id IN (SELECT value FROM json_each(?))",
            (state.key, orjson.dumps(group).decode()),
        ):
            persons[row[0]] = person_of(row)
    for group in in_groups((face.id for e in enrolments for face in e.faces), _GROUP):
        for row in connection.execute(
            f"SELECT {FACE} FROM faces f JOIN persons p ON p.key = f.person WHERE f.collection = ? "
            "AND f.id IN (SELECT value FROM json_each(?))",
            (state.key, orjson.dumps(group).decode()),
        ):
            faces[row[0]] = face_of(row)
    return [(persons[e.person.id], [faces[face.id] for face in e.faces]) for e in enrolments]
