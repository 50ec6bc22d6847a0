"""Persons and faces as they are at a moment."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from visage.errors import FaceMissing, PersonMissing
from visage.faces import Floats
from visage.search.base import Metadata, Person, StoredFace
from visage.search.filters import parse
from visage.search.milvus.connection import MOST_ROWS, Connection, Row
from visage.search.milvus.expressions import among, at_least, both
from visage.search.milvus.failures import Gone
from visage.search.milvus.galleries import Gallery
from visage.search.milvus.rows import (
    CROP,
    FACE,
    NOBODY,
    PERSON,
    Life,
    crop_id,
    crop_of,
    ended_id,
    face_of,
    life_of,
    vectors_of,
)

# Owners of one question.
_TOGETHER = 1000
_EXPORTED = 256
# So many of their faces, unless one person has more.
_EXPORTED_FACES = 4096
# Bytes of one answer; Milvus sends 64 MB.
_MOST_BYTES = 16 << 20


class Faces(NamedTuple):
    """Of a person: how many, and when the newest was made."""

    number: int
    newest: float


NO_FACES = Faces(0, 0.0)


def with_faces(person: Person, faces: Faces) -> Person:
    return replace(person, faces=faces.number, updated=max(person.updated, faces.newest))


class Reading:
    """One gallery, as it was at a moment or a little later. Persons are read before their faces are counted: faces are
    written first, so that nobody is seen without theirs.
    """

    def __init__(self, connection: Connection, gallery: Gallery, at: int) -> None:
        self._connection = connection
        self._gallery = gallery
        self._at = at

    def lives(self, ids: Sequence[str]) -> dict[str, Life]:
        """Those who are there, and those who are being forgotten."""
        rows = self._connection.named(self._gallery.persons, ids, PERSON, self._at) if ids else []
        return {row["id"]: life_of(row) for row in rows if row["key"] != NOBODY}

    def ended(self, keys: Sequence[int]) -> list[int]:
        """Which of these lives somebody has ended."""
        ids = [ended_id(key) for key in keys]
        rows = self._connection.named(self._gallery.persons, ids, PERSON, self._at)
        return [int(row["told"]["life"]) for row in rows if row["key"] == NOBODY]

    def life(self, person: str) -> Life:
        """Raises PersonMissing."""
        life = self.lives([person]).get(person)
        if life is None or not life.there:
            raise PersonMissing(f"there is no person {person!r} in {self._gallery.name!r}")
        return life

    def counted(self, lives: Iterable[Life]) -> list[Person]:
        """With their number of faces, and the newest one's time where that is later than theirs: so an enrolment of
        more faces is a write of these alone, and takes back no new name that another process has just given.
        """
        every = list(lives)
        counts = self.counts([life.key for life in every])
        return [with_faces(life.person, counts.get(life.key, NO_FACES)) for life in every]

    def counts(self, owners: Sequence[int]) -> dict[int, Faces]:
        found: dict[int, Faces] = {}
        for start in range(0, len(owners), _TOGETHER):
            for rows in self._owned(owners[start : start + _TOGETHER], ("owner", "created")):
                for row in rows:
                    there = found.get(row["owner"], NO_FACES)
                    found[row["owner"]] = Faces(there.number + 1, max(there.newest, row["created"]))
        return found

    def persons(self, after: str, limit: int, where: Metadata | None) -> list[Person]:
        wanted = parse(where)
        lives = (life for life in self._everybody(after, at_least(wanted), limit if not wanted.parts else MOST_ROWS))
        return self.counted(islice((life for life in lives if wanted.holds(life.person.metadata)), limit))

    def keys(self, where: Metadata) -> list[int]:
        """Of all who are meant."""
        wanted = parse(where)
        return [
            life.key for life in self._everybody("", at_least(wanted), MOST_ROWS) if wanted.holds(life.person.metadata)
        ]

    def faces(self, person: str, after: str, limit: int) -> list[StoredFace]:
        owner = self.life(person).key
        rows = self._pages(f"owner == {owner}", FACE, after, min(limit, MOST_ROWS))
        return [face_of(row) for row in islice((row for page in rows for row in page), limit)]

    def owned(self, owner: int) -> list[str]:
        """The ids of a person's faces."""
        return [row["id"] for rows in self._pages(f"owner == {owner}", ("id",)) for row in rows]

    def face(self, face: str) -> Row:
        """Raises FaceMissing."""
        return self.there([face], FACE)[0]

    def there(self, faces: Sequence[str], fields: Sequence[str]) -> list[Row]:
        """In the order asked. Raises FaceMissing for one that is not there, or is nobody's."""
        size = self._page if "vector" in fields else 2000
        rows = {row["id"]: row for row in self._connection.named(self._gallery.vectors, faces, fields, self._at, size)}
        keys = {life.key for life in self.lives([row["person"] for row in rows.values()]).values() if life.there}
        for face in faces:
            if face not in rows or rows[face]["owner"] not in keys:
                raise FaceMissing(f"there is no face {face!r} in {self._gallery.name!r}")
        return [rows[face] for face in faces]

    def any_of(self, faces: Sequence[str]) -> list[Row]:
        """Their rows, of whomever, also of those who are not there."""
        return self._connection.named(self._gallery.vectors, faces, FACE, self._at) if faces else []

    def vectors(self, faces: Sequence[str]) -> Floats:
        dimension = self._gallery.recogniser.dimension
        return vectors_of(self.there(faces, ("owner", "person", "vector")) if faces else [], dimension)

    def crop(self, face: str) -> bytes | None:
        if not self.face(face)["cropped"]:
            return None
        try:
            first = self._connection.named(self._gallery.crops, [crop_id(face, 0)], CROP, self._at)
            more = [crop_id(face, part) for part in range(1, first[0]["parts"] if first else 1)]
            return crop_of([*first, *self._connection.named(self._gallery.crops, more, CROP, self._at)])
        except Gone:
            return None

    def export(self) -> Iterator[tuple[Person, StoredFace, Floats]]:
        """In the order of the persons' ids."""
        lives = self._everybody("", "", _EXPORTED)
        while group := list(islice(lives, _EXPORTED)):
            for some in _few_faces(group, self.counted(group)):
                pages: Iterable[Sequence[Row]] = self._owned(list(some), (*FACE, "vector"), self._page)
                if len(some) > 1:  # pages are in the order of the faces' ids; one person's may be many
                    pages = [
                        sorted((row for page in pages for row in page), key=lambda row: (row["person"], row["id"]))
                    ]
                for row in (row for page in pages for row in page):
                    yield some[row["owner"]], face_of(row), vectors_of([row], self._gallery.recogniser.dimension)[0]

    @property
    def _page(self) -> int:
        """Rows with vectors of one answer."""
        return max(1, min(MOST_ROWS, _MOST_BYTES // (4 * self._gallery.recogniser.dimension + 1024)))

    def _everybody(self, after: str, expression: str, size: int) -> Iterator[Life]:
        pages = self._connection.pages(
            self._gallery.persons, both("key > 0", expression), PERSON, self._at, after=after, size=min(size, MOST_ROWS)
        )
        return (life_of(row) for page in pages for row in page)

    def _owned(self, owners: Sequence[int], fields: Sequence[str], size: int = MOST_ROWS) -> Iterator[list[Row]]:
        return self._pages(among("owner", owners), fields, size=size) if owners else iter(())

    def _pages(
        self, expression: str, fields: Sequence[str], after: str = "", size: int = MOST_ROWS
    ) -> Iterator[list[Row]]:
        return self._connection.pages(self._gallery.vectors, expression, fields, self._at, after=after, size=size)


def _few_faces(lives: Sequence[Life], persons: Sequence[Person]) -> Iterator[dict[int, Person]]:
    """By their keys, so many together as have few enough faces, or one."""
    some: dict[int, Person] = {}
    faces = 0
    for life, person in zip(lives, persons, strict=True):
        if some and faces + person.faces > _EXPORTED_FACES:
            yield some
            some, faces = {}, 0
        some[life.key] = person
        faces += person.faces
    if some:
        yield some
