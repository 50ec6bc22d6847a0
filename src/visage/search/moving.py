"""A collection from one store into another, and whether it arrived: counts, vectors, and the answers to questions."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np

from visage.errors import SearchError
from visage.faces import Floats
from visage.search.base import (
    Enrolment,
    Index,
    Match,
    NewCollection,
    NewFace,
    NewPerson,
    Person,
    Precision,
    Question,
    Store,
    StoredFace,
)
from visage.search.listing import every_collection
from visage.search.names import hold_collection

_TOGETHER = 500
_NOBODY: tuple[str | None, Iterator[tuple[Person, StoredFace, Floats]]] = (None, iter(()))
# So many faces are looked for in both stores, spread over the collection.
_ASKED = 32
_TOP = 5
# Stores may add up in another order, and hold int8 or float16 rows.
_CLOSE = 0.02


@dataclass(frozen=True, slots=True)
class Moved:
    """What arrived. `asked`: questions that both stores answered alike."""

    persons: int
    faces: int
    asked: int


def move(
    source: Store,
    target: Store,
    name: str,
    *,
    new_name: str | None = None,
    precision: Precision | None = None,
    index: Index | None = None,
    told: Callable[[int], None] = lambda persons: None,
) -> Moved:
    """Copy a collection with persons, faces, crops, metadata and the times at which they were made, and hold the copy
    against the original. `told` is called with the number of persons that have been copied.

    What an interrupted move left is gone on with: nothing is made twice. Raises SearchError for a name that is none,
    where a collection of another recogniser has the name, and where the copy differs.
    """
    hold_collection(new_name or name, "" if new_name else "; give the copy another one")
    old, to = source.collection(name), new_name or name
    wanted = NewCollection(
        to,
        old.recogniser,
        precision or old.precision,
        index or old.index,
        old.description,
        old.metadata,
        created=old.created,
    )
    if to not in {one.name for one in every_collection(target)}:
        target.create(wanted)
    elif target.collection(to).recogniser != old.recogniser:
        raise SearchError(f"{to!r} is there already, with vectors of another recogniser; give another name")
    done = 0
    people = _people(source, name)
    while group := list(islice(people, _TOGETHER)):
        target.enrol(to, group, expected=old.recogniser)
        done += len(group)
        told(done)
    return _verified(source, name, target, to)


def _people(store: Store, name: str) -> Iterator[Enrolment]:
    for person, faces in people_of(store, name):
        yield Enrolment(copied(person), faces)


def copied(person: Person) -> NewPerson:
    """What makes the same person elsewhere."""
    return NewPerson(person.id, person.name, person.metadata, person.created, person.updated)


def people_of(store: Store, name: str) -> Iterator[tuple[Person, list[NewFace]]]:
    """Everybody, with their faces by way of `export`, which is read as it comes: a question a person would take as long
    as a store far away takes to answer. Those without a face are not in `export`, but here they are.
    """
    rows = groupby(store.export(name), key=lambda row: row[0].id)
    owner, faces = next(rows, _NOBODY)
    after = ""
    while page := store.persons(name, after=after, limit=_TOGETHER):
        for person in page:
            while owner is not None and owner < person.id:  # enrolled since
                owner, faces = next(rows, _NOBODY)
            theirs = list(_faces(store, name, faces)) if owner == person.id else []
            yield person, theirs
        after = page[-1].id


def _faces(store: Store, name: str, rows: Iterable[tuple[Person, StoredFace, Floats]]) -> Iterator[NewFace]:
    for _, face, vector in rows:
        yield NewFace(face.id, vector, face.about, store.crop(name, face.id) if face.has_crop else None, face.created)


def _verified(source: Store, name: str, target: Store, to: str) -> Moved:
    """Raises SearchError: what differs."""
    old, new = source.collection(name), target.collection(to)
    if (old.persons, old.faces) != (new.persons, new.faces):
        raise SearchError(
            f"{to!r} has {new.persons} persons with {new.faces} faces, {name!r} {old.persons} with {old.faces}: "
            "was one of them written to meanwhile? Move again"
        )
    chosen = spread_out(source, name)
    if not chosen:
        return Moved(new.persons, new.faces, 0)
    probes = source.vectors(name, [face.id for face in chosen])
    if not np.allclose(probes, target.vectors(to, [face.id for face in chosen]), atol=1e-6):
        raise SearchError(f"vectors of {to!r} are not those of {name!r}")
    question = Question(_TOP)
    answers = zip(source.search(name, probes, question), target.search(to, probes, question), strict=True)
    for face, (one, other) in zip(chosen, answers, strict=True):
        if not _alike(one, other):
            raise SearchError(f"{to!r} answers otherwise than {name!r} when asked for the face {face.id!r}")
    return Moved(new.persons, new.faces, len(chosen))


def spread_out(store: Store, name: str) -> list[StoredFace]:
    """Faces of persons that lie apart, a person each: of as many as are asked for, or of all who have a face."""
    chosen: list[StoredFace] = []
    step = 1
    for n, (_, rows) in enumerate(groupby(store.export(name), key=lambda row: row[0].id)):
        if n % step == 0:
            chosen.append(next(rows)[1])
        if len(chosen) == 2 * _ASKED:  # how many there are is known at the end: every other one goes
            chosen, step = chosen[::2], 2 * step
    number = min(_ASKED, len(chosen))
    return [chosen[i * len(chosen) // number] for i in range(number)]


def _alike(one: list[Match], other: list[Match]) -> bool:
    """The same similarities, and the same first person unless the next is as near."""
    if len(one) != len(other):
        return False
    near = all(abs(a.similarity - b.similarity) <= _CLOSE for a, b in zip(one, other, strict=True))
    tied = len(one) > 1 and one[0].similarity - one[1].similarity <= _CLOSE
    return near and (not one or tied or one[0].person.id == other[0].person.id)
