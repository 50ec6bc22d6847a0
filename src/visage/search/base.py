"""A gallery: collections hold persons, persons hold faces. What is stored, and what every store can do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from visage.faces import Floats

Precision = Literal["fp32", "fp16", "int8"]
Index = Literal["exact", "hnsw"]
PersonIs = Literal["new", "known", "either"]
Metadata = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Whose vectors a collection holds: those of other weights, or fed otherwise, mean nothing beside them."""

    name: str
    sha256: str
    preprocess: str
    dimension: int


@dataclass(frozen=True, slots=True)
class NewCollection:
    """`precision`: of the vectors that are searched; those that are kept are always float32. `created`: seconds since
    1970; None: now.
    """

    name: str
    recogniser: Recogniser
    precision: Precision = "fp32"
    index: Index = "exact"
    description: str = ""
    metadata: Metadata = field(default_factory=dict)
    created: float | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """`created`: seconds since 1970."""

    name: str
    recogniser: Recogniser
    precision: Precision
    index: Index
    description: str
    metadata: Metadata
    created: float
    persons: int
    faces: int


@dataclass(frozen=True, slots=True)
class NewPerson:
    """`name` and `metadata` None: of a person who is there already they stay as they are. `created` and `updated`
    (seconds since 1970): of a copy, when the original was; None: now. Who is there keeps the time they were made.
    """

    id: str
    name: str | None = None
    metadata: Metadata | None = None
    created: float | None = None
    updated: float | None = None


@dataclass(frozen=True, slots=True)
class Person:
    id: str
    name: str
    metadata: Metadata
    created: float
    updated: float
    faces: int


@dataclass(frozen=True, slots=True, eq=False)
class NewFace:
    """`vector` float32 (D,) of unit length; `about` tells of its picture (score, size, pose); `crop`: a PNG;
    `created`: as a person's.
    """

    id: str
    vector: Floats
    about: Metadata = field(default_factory=dict)
    crop: bytes | None = None
    created: float | None = None


@dataclass(frozen=True, slots=True)
class StoredFace:
    id: str
    person: str
    about: Metadata
    created: float
    has_crop: bool


@dataclass(frozen=True, slots=True)
class Match:
    """`similarity`: the cosine, −1…1; `face` is the person's nearest one."""

    person: Person
    face: StoredFace
    similarity: float


@dataclass(frozen=True, slots=True, eq=False)
class Enrolment:
    """One person with new faces. `person_is`: "new" must not be there yet, unless by this very write (a repetition: one
    of these faces is theirs, or there are no faces and the person is the same); "known" must be there.
    """

    person: NewPerson
    faces: Sequence[NewFace]
    person_is: PersonIs = "either"


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched for: the `top` nearest `persons` or `faces` of at least `threshold`, among those whose metadata
    meet `where` (see `visage.search.filters`).
    """

    top: int = 10
    by: Literal["persons", "faces"] = "persons"
    threshold: float = -1.0
    where: Metadata = field(default_factory=dict)


class Store(Protocol):
    """Collections, persons, faces. What a call has returned is on disk, and every later call of any process sees it.

    Safe for several threads and several processes. Raises CollectionMissing, PersonMissing, FaceMissing,
    AlreadyThere, EmbeddingMismatch (a vector of another length, or not of unit length) and StoreUnavailable.
    Lists come in the order of their ids, those after `after`, at most `limit`.

    `expected`: whose vectors are given. A collection may have been dropped and made again under its name since the
    caller looked at it; where it is another recogniser's by then, EmbeddingMismatch is raised.
    """

    def create(self, new: NewCollection, /) -> Collection: ...

    def collection(self, name: str, /) -> Collection: ...

    def collections(self, *, after: str = "", limit: int = 100) -> list[Collection]: ...

    def describe(
        self, name: str, /, *, description: str | None = None, metadata: Metadata | None = None
    ) -> Collection: ...

    def drop(self, name: str, /) -> None: ...

    def enrol(
        self, name: str, enrolments: Sequence[Enrolment], /, *, expected: Recogniser | None = None
    ) -> list[tuple[Person, list[StoredFace]]]:
        """All of them or none. A person or face whose id is there already is not made again: so a write that is
        repeated with the same ids changes nothing. Raises AlreadyThere for a "new" person who is there, and
        PersonMissing for a "known" one who is not, before this call; both are decided where the writing is.
        """
        ...

    def person(self, name: str, person: str, /) -> Person: ...

    def persons(
        self, name: str, /, *, after: str = "", limit: int = 100, where: Metadata | None = None
    ) -> list[Person]: ...

    def rename(
        self, name: str, person: str, /, *, new_name: str | None = None, metadata: Metadata | None = None
    ) -> Person: ...

    def forget(self, name: str, person: str, /) -> None:
        """Remove a person with all faces; after `compact` no byte of their vectors is left in the store's files."""
        ...

    def faces(self, name: str, person: str, /, *, after: str = "", limit: int = 100) -> list[StoredFace]: ...

    def face(self, name: str, face: str, /) -> StoredFace: ...

    def forget_face(self, name: str, face: str, /) -> None: ...

    def crop(self, name: str, face: str, /) -> bytes | None: ...

    def vectors(self, name: str, faces: Sequence[str], /) -> Floats:
        """float32 (n, D), in the order asked."""
        ...

    def search(
        self, name: str, probes: Floats, question: Question, /, *, expected: Recogniser | None = None
    ) -> list[list[Match]]:
        """`probes` float32 (q, D) of unit length → for each the matches, best first."""
        ...

    def export(self, name: str, /) -> Iterator[tuple[Person, StoredFace, Floats]]:
        """In the order of the persons' ids; what is written meanwhile may be among them or not. Of one collection:
        where it is dropped meanwhile CollectionMissing is raised, even if another has its name by then.
        """
        ...

    def compact(self, name: str | None = None, /) -> None: ...

    def close(self) -> None: ...
