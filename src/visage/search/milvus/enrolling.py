"""Persons and faces into Milvus, in an order that shows nothing half.

Milvus writes the rows of one call to one collection together, but has no transaction over several. So crops come
first, then all faces, and last all persons in one write: faces of somebody who is new are nobody's before that. When
the server dies in between, the caller is told StoreUnavailable; the same call with the same ids then writes what is
missing.

Who must be "new" or "known" is looked up where the writing begins, and writers of one process wait for each other. Of
two processes that make the same "new" person at once both may be told that they did; faces belong to a key, not to an
id, so that the two are not mixed: the later one is there, and the earlier one's faces are nobody's. Faces for somebody
"known" whom another process forgets meanwhile are nobody's likewise. `compact` takes such faces away.

Who was there is written anew for a new name; another process that forgets them in between has left a word that their
life is ended (`forgetting`), in the same write that hid them. It is looked for after each such write: either it is
there, and the row goes again, or that write came later, and hid this one. So nobody comes back.
"""

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from visage.errors import AlreadyThere
from visage.search.base import Enrolment, Metadata, NewFace, NewPerson, Person, StoredFace
from visage.search.expecting import hold_person
from visage.search.milvus import schema
from visage.search.milvus.connection import Connection
from visage.search.milvus.galleries import Gallery
from visage.search.milvus.reading import NO_FACES, Faces, Reading, with_faces
from visage.search.milvus.rows import Life, crop_rows, face_of, face_row, person_row

Enrolled = list[tuple[Person, list[StoredFace]]]

_RANDOM_BITS = 22


class _Keys:
    """Milliseconds since 1970, and 22 bits that chance begins with and that count up within a millisecond. Were each
    left to chance, of a thousand that are made at once two would be alike one time in fourteen.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moment = self._count = 0

    def new(self) -> int:
        with self._lock:
            moment = time.time_ns() // 1_000_000
            if moment == self._moment:
                self._count = (self._count + 1) % (1 << _RANDOM_BITS)
            else:
                self._moment, self._count = moment, secrets.randbits(_RANDOM_BITS)
            return moment << _RANDOM_BITS | self._count


_keys = _Keys()


def new_key() -> int:
    """63 bits; no two of a process are alike, and hardly two of several."""
    return _keys.new()


def age(key: int) -> float:
    """Seconds between now and when a key was made: by a clock that was ahead it was made later."""
    return abs(time.time() - (abs(key) >> _RANDOM_BITS) / 1000)


@dataclass(slots=True, eq=False)
class _Write:
    """What is there, what is to be there, and which of it is to be written."""

    now: float
    lives: dict[str, Life]
    counts: dict[int, Faces]
    faces: dict[str, StoredFace]
    changed: set[str] = field(default_factory=set)
    known: list[Life] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    crops: list[dict[str, Any]] = field(default_factory=list)


def enrol(connection: Connection, gallery: Gallery, enrolments: Sequence[Enrolment]) -> Enrolled:
    """What is there already stays. Raises AlreadyThere for a face that another person has and for a "new" person who is
    there, PersonMissing for a "known" one who is not; then nothing is written.
    """
    write = _there(Reading(connection, gallery, connection.moment()), enrolments)
    for enrolment in enrolments:
        there = _counted(write, enrolment.person.id) if enrolment.person.id in write.lives else None
        faces = (write.faces[face.id] for face in enrolment.faces if face.id in write.faces)
        hold_person(gallery.name, enrolment, there, faces)
    for enrolment in enrolments:
        _person(write, enrolment.person)
        for new in enrolment.faces:
            _face(write, write.lives[enrolment.person.id], new)
    _written(connection, gallery, write)
    return [(_counted(write, e.person.id), [write.faces[face.id] for face in e.faces]) for e in enrolments]


def _counted(write: _Write, person: str) -> Person:
    life = write.lives[person]
    return with_faces(life.person, write.counts.get(life.key, NO_FACES))


def _there(reading: Reading, enrolments: Sequence[Enrolment]) -> _Write:
    rows = reading.any_of([face.id for e in enrolments for face in e.faces])
    persons = {e.person.id for e in enrolments}
    lives = reading.lives([*persons, *(row["person"] for row in rows)])
    alive = {one: life for one, life in lives.items() if life.there}
    keys = {life.key for life in alive.values()}
    return _Write(
        time.time(),
        {one: life for one, life in alive.items() if one in persons},
        reading.counts([life.key for one, life in alive.items() if one in persons]),
        {row["id"]: face_of(row) for row in rows if row["owner"] in keys},
    )


def _person(write: _Write, new: NewPerson) -> None:
    there = write.lives.get(new.id)
    if there is None:
        created = write.now if new.created is None else new.created
        updated = write.now if new.updated is None else new.updated
        person = Person(new.id, new.name or "", dict(new.metadata or {}), created, updated, 0)
        write.lives[new.id] = Life(new_key(), person)
        write.changed.add(new.id)
        return
    moment = write.now if new.updated is None else max(there.person.updated, new.updated)
    person = changed(there.person, new.name, new.metadata, moment)
    if (person.name, person.metadata) != (there.person.name, there.person.metadata):
        write.lives[new.id] = Life(there.key, person)
        write.changed.add(new.id)
        write.known.append(there)


def changed(person: Person, name: str | None, metadata: Metadata | None, now: float) -> Person:
    """None: it stays as it is."""
    return replace(
        person,
        name=person.name if name is None else name,
        metadata=person.metadata if metadata is None else dict(metadata),
        updated=now,
    )


def _face(write: _Write, life: Life, new: NewFace) -> None:
    person, there = life.person, write.faces.get(new.id)
    if there is not None:
        if there.person != person.id:
            raise AlreadyThere(f"the face {new.id!r} is another person's, not {person.id!r}'s")
        return
    row = face_row(life.key, person.id, new, write.now if new.created is None else new.created)
    write.rows.append(row)
    write.faces[new.id] = face_of(row)
    write.crops += [] if new.crop is None else crop_rows(life.key, new.id, new.crop)
    counted = write.counts.get(life.key, NO_FACES)
    write.counts[life.key] = Faces(counted.number + 1, max(counted.newest, row["created"]))


def _written(connection: Connection, gallery: Gallery, write: _Write) -> None:
    persons = [person_row(write.lives[one].key, write.lives[one].person) for one in sorted(write.changed)]
    if write.crops:
        if not connection.has(gallery.crops):
            connection.make(gallery.crops, schema.CROPS)
        connection.write(gallery.crops, write.crops, schema.LONGEST_TEXT // 4)
    connection.write(gallery.vectors, write.rows, gallery.recogniser.dimension)
    connection.write(gallery.persons, persons)
    _hold_ended(connection, gallery, write.known)


def rewrite(connection: Connection, gallery: Gallery, life: Life) -> None:
    """Somebody who was there, as they are now."""
    connection.write(gallery.persons, [person_row(life.key, life.person)])
    _hold_ended(connection, gallery, [life])


def _hold_ended(connection: Connection, gallery: Gallery, written: Sequence[Life]) -> None:
    """Take away again who was forgotten while they were written."""
    if written:
        for key in Reading(connection, gallery, connection.moment()).ended([life.key for life in written]):
            connection.delete_where(gallery.persons, f"key == {key}")
