"""Whether a collection and a person are what the caller has in mind, held where the writing is."""

from collections.abc import Iterable

from visage.errors import AlreadyThere, EmbeddingMismatch, PersonMissing
from visage.search.base import Enrolment, Person, Recogniser, StoredFace
from visage.search.identity import described


def hold_recogniser(name: str, held: Recogniser, expected: Recogniser | None) -> None:
    """Raises EmbeddingMismatch: the collection holds another recogniser's vectors than those that are given."""
    if expected is not None and held != expected:
        raise EmbeddingMismatch(
            f"{name!r} holds vectors of {described(held)}, and not of "
            f"{described(expected)}: it was made anew; look at it again"
        )


def hold_person(name: str, enrolment: Enrolment, there: Person | None, faces: Iterable[StoredFace]) -> None:
    """`there`: who has the id, and which of the enrolment's `faces` are there, whosever. Raises AlreadyThere and
    PersonMissing, as `person_is` asks.
    """
    person = enrolment.person.id
    if there is None and enrolment.person_is == "known":
        raise PersonMissing(f"there is no person {person!r} in {name!r}")
    if there is not None and enrolment.person_is == "new" and not _repeats(enrolment, there, faces):
        raise AlreadyThere(
            f"there is a person {person!r} in {name!r} already: give them more faces, or take another id"
        )


def _repeats(enrolment: Enrolment, there: Person, faces: Iterable[StoredFace]) -> bool:
    new = enrolment.person
    if enrolment.faces:
        return any(face.person == there.id for face in faces)
    return there.faces == 0 and (there.name, there.metadata) == (new.name or "", new.metadata or {})
