"""A collection embedded again by another recogniser, from the crops that were kept of its pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from visage.errors import SearchError
from visage.faces import Floats
from visage.search.base import Enrolment, NewCollection, NewFace, Person, Question, Recogniser, Store
from visage.search.listing import every_collection
from visage.search.moving import copied, people_of, spread_out
from visage.search.names import hold_collection

_TOGETHER = 50  # persons

# PNGs of aligned crops → float32 (D,) of unit length for each; None where one is no crop any more.
Embed = Callable[[Sequence[bytes]], Sequence[Floats | None]]


@dataclass(slots=True)
class Migrated:
    """What became of a collection. `left`: faces that could not be embedded, for there is no crop of them (or a broken
    one); `faceless`: the persons who had faces and have none in the new collection. `asked`: faces by whose
    vectors their persons were found.
    """

    persons: int = 0
    faces: int = 0
    left: int = 0
    faceless: list[str] = field(default_factory=list)
    asked: int = 0


def migrate(
    store: Store,
    name: str,
    new_name: str,
    recogniser: Recogniser,
    embed: Embed,
    *,
    told: Callable[[int], None] = lambda persons: None,
) -> Migrated:
    """Make `new_name`, of everybody in `name`, with vectors of `recogniser`. The original stays as it is, and what was
    interrupted is gone on with. `told` is called with the number of persons that are done.

    Raises SearchError for a new name that is none, where no crop was kept, where the names are one, where a
    collection of another recogniser has `new_name`, and where the outcome does not hold.
    """
    hold_collection(new_name)
    old = store.collection(name)
    if new_name == name:
        raise SearchError(f"{name!r} stays as it is: give the new collection another name")
    if old.faces and not any(face.has_crop for _, face, _ in store.export(name)):
        raise SearchError(
            f"of no face in {name!r} a crop was kept (KEEP_CROPS was off): enrol them again from their pictures"
        )
    wanted = NewCollection(
        new_name, recogniser, old.precision, old.index, old.description, old.metadata, created=old.created
    )
    if new_name not in {one.name for one in every_collection(store)}:
        store.create(wanted)
    elif store.collection(new_name).recogniser != recogniser:
        raise SearchError(f"{new_name!r} is there already, with vectors of another recogniser; give another name")
    found = Migrated()
    people = people_of(store, name)
    while group := list(islice(people, _TOGETHER)):
        store.enrol(new_name, _embedded(group, embed, found), expected=recogniser)
        found.persons += len(group)
        told(found.persons)
    return _verified(store, new_name, found)


def _embedded(group: Sequence[tuple[Person, list[NewFace]]], embed: Embed, found: Migrated) -> list[Enrolment]:
    """The crops of all of them in one go."""
    crops = [face.crop for _, faces in group for face in faces if face.crop is not None]
    vectors = iter(embed(crops) if crops else [])
    enrolments = []
    for person, faces in group:
        made = []
        for face in faces:
            vector = next(vectors) if face.crop is not None else None
            if vector is not None:
                made.append(NewFace(face.id, vector, face.about, face.crop, face.created))
        found.faces += len(made)
        found.left += len(faces) - len(made)
        if faces and not made:
            found.faceless.append(person.id)
        enrolments.append(Enrolment(copied(person), made))
    return enrolments


def _verified(store: Store, name: str, found: Migrated) -> Migrated:
    """Counts, and whether persons are found by their own vectors. Raises SearchError."""
    new = store.collection(name)
    if (new.persons, new.faces) != (found.persons, found.faces):
        raise SearchError(
            f"{name!r} has {new.persons} persons with {new.faces} faces and should have {found.persons} with "
            f"{found.faces}: was one of them written to meanwhile? Delete it and migrate again"
        )
    chosen = spread_out(store, name)
    if chosen:
        probes = store.vectors(name, [face.id for face in chosen])
        for face, matches in zip(chosen, store.search(name, probes, Question(2)), strict=True):
            nearest = [match for match in matches if match.similarity >= matches[0].similarity - 1e-3]
            if face.person not in {match.person.id for match in nearest}:
                raise SearchError(f"{name!r} does not find {face.person!r} by the vector of their own face {face.id!r}")
    found.asked = len(chosen)
    return found
