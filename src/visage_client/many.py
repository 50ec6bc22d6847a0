"""More than one request takes: work cut into calls that a client makes several at a time.

Results come in the order of what was given. What fails alone is told in its place; what concerns all (no key, no
service) is raised.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Generic, TypeVar

from visage_client import requests
from visage_client.answers import BulkReport, BulkRow, Enrolled, Exported, Found, FoundImage, Problem
from visage_client.calls import Call
from visage_client.encoded import NoPicture
from visage_client.errors import (
    BadAnswer,
    Forbidden,
    NoAnswer,
    RateLimited,
    Refused,
    TooLarge,
    Unauthorised,
    Unavailable,
    shown,
)
from visage_client.pictures import Image, each, read
from visage_client.progress import Progress, progress_of
from visage_client.requests import FacesRule, Gate
from visage_client.rows import Metadata, Model, Row, exported
from visage_client.vectors import VectorLike

A = TypeVar("A")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

_GROUP_BYTES = 8 * 2**20  # of one request of a bulk enrolment
_GROUP_ROWS = 5000

# Whoever comes next would fare no better.
_FOR_ALL = (Unauthorised, Forbidden, RateLimited, Unavailable, NoAnswer, BadAnswer)

Failure = Refused | OSError | NoPicture


@dataclass(frozen=True, slots=True)
class Job(Generic[R]):
    """One call for `size` items. `failed`: what to tell of them where it is refused or a file cannot be read; it may
    raise. `halves`: the same work in two calls, where it has more than one item.
    """

    call: Callable[[], Call[list[R]]]
    size: int
    failed: Callable[[Failure], list[R]]
    halves: Callable[[], Sequence["Job[R]"]] | None = None

    def instead(self, error: Failure) -> "Sequence[Job[R]] | list[R]":
        """What to do when the call failed: smaller calls where they may pass, else what to tell."""
        if self.halves is not None and isinstance(error, TooLarge | OSError | NoPicture):
            return self.halves()
        return self.failed(error)


@dataclass(frozen=True, slots=True)
class Work(Generic[R]):
    """Jobs, of which a client does `workers` at a time."""

    jobs: Iterable[Job[R]]
    workers: int
    total: int | None
    progress: Progress


@dataclass(frozen=True, slots=True)
class Gathered(Generic[R, S]):
    """Work whose results are added up."""

    work: Work[R]
    add: Callable[[R], None]
    result: Callable[[], S]


@dataclass(frozen=True, slots=True)
class NewPerson:
    """Somebody to be enrolled, by pictures, embeddings or both. `model`: whose the embeddings are."""

    id: str | None = None
    name: str | None = None
    metadata: Metadata | None = None
    images: Image | Sequence[Image] | None = None
    vectors: Sequence[VectorLike] | None = None
    model: Model | None = None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What became of a person: `enrolled`, or `error` (of pictures that are all refused NothingEnrolled)."""

    person: NewPerson
    enrolled: Enrolled | None = None
    error: Failure | None = None


def detect_all(
    images: Iterable[Image], *, batch: int = 8, workers: int = 2, progress: Progress | bool = False, **fields: Any
) -> Work[FoundImage]:
    """`detect` for any number of pictures, an outcome each; `fields` are those of `detect`."""
    return _pictures(requests.detect, images, batch, workers, progress_of(progress, "detect"), fields)


def embed_all(
    images: Iterable[Image], *, batch: int = 8, workers: int = 2, progress: Progress | bool = False, **fields: Any
) -> Work[FoundImage]:
    """`embeddings` for any number of pictures, an outcome each; `fields` are those of `embeddings`."""
    return _pictures(requests.embeddings, images, batch, workers, progress_of(progress, "embed"), fields)


def enrol_all(
    collection: str,
    people: Iterable[NewPerson | Mapping[str, Any]],
    *,
    quality: Gate | None = None,
    faces: FacesRule | None = None,
    workers: int = 2,
    progress: Progress | bool = False,
) -> Work[Enrolment]:
    """`enrol` for any number of persons, an outcome each. A mapping of a `NewPerson`'s fields is one, too."""
    people = _several(NewPerson, people)

    def job(row: NewPerson | Mapping[str, Any]) -> Job[Enrolment]:
        person = _as(NewPerson, row)
        call = requests.enrol(
            collection,
            id=person.id,
            name=person.name,
            metadata=person.metadata,
            images=person.images,
            vectors=person.vectors,
            quality=quality,
            faces=faces,
            model=person.model,
        )
        made = Call(call.prepare, lambda answer: [Enrolment(person, call.parse(answer))])
        return Job(lambda: made, 1, lambda error: [Enrolment(person, error=_alone(error))])

    return Work(map(job, people), workers, _length(people), progress_of(progress, "enrol"))


def bulk_enrol(
    collection: str,
    rows: Iterable[Row | Exported | Mapping[str, Any]],
    *,
    workers: int = 1,
    progress: Progress | bool = False,
) -> Gathered[BulkRow, BulkReport]:
    """Enrol any number of persons by their vectors, thousands a request. What is reported as enrolled is on disk.

    A mapping of a `Row`'s fields is one, too. What `export` gives, and its lines as JSON has them, come back as they
    were: with ids, with the times at which they were made, and only into a collection of the same recogniser.
    """
    rows = [rows] if isinstance(rows, Exported) else _several(Row, rows)
    jobs = (_bulk_job(collection, group, first) for group, first in _groups(rows))
    work = Work(jobs, workers, _length(rows), progress_of(progress, "bulk"))
    tally = _Tally()
    return Gathered(work, tally.add, tally.report)


class _Tally:
    def __init__(self) -> None:
        self._persons: set[int] = set()  # the hash of each: fewer bytes than their ids
        self._faces = 0
        self._failures: list[BulkRow] = []

    def add(self, row: BulkRow) -> None:
        if row.status == "enrolled":
            self._persons.add(hash(row.person))
            self._faces += row.faces
        else:
            self._failures.append(row)

    def report(self) -> BulkReport:
        return BulkReport(len(self._persons), self._faces, tuple(self._failures))


def _bulk_job(collection: str, group: Sequence[bytes], first: int) -> Job[BulkRow]:
    call = requests.bulk_rows(collection, group, first)
    return Job(lambda: call, len(group), _raise)


def _groups(rows: Iterable[Row | Exported | Mapping[str, Any]]) -> Iterator[tuple[list[bytes], int]]:
    """Rows written, as many together as make a good request, and the number of the first."""
    group: list[bytes] = []
    first = size = 0
    for row in rows:
        group.append(_written(row))
        size += len(group[-1])
        if size >= _GROUP_BYTES or len(group) >= _GROUP_ROWS:
            yield group, first
            first += len(group)
            group, size = [], 0
    if group:
        yield group, first


def _written(row: Row | Exported | Mapping[str, Any]) -> bytes:
    if isinstance(row, Exported) or (isinstance(row, Mapping) and "person" in row):
        return exported(row)
    return _as(Row, row).written()


def _pictures(
    ask: Callable[..., Call[Found]],
    images: Iterable[Image],
    batch: int,
    workers: int,
    progress: Progress,
    fields: dict[str, Any],
) -> Work[FoundImage]:
    def once(image: Image) -> Image:
        """Open files are read here: a call may be made anew, and they have moved on by then."""
        return read(image) if hasattr(image, "read") else image

    def job(some: Sequence[Image]) -> Job[FoundImage]:
        def call() -> Call[list[FoundImage]]:
            found = ask(some, **fields)
            return Call(found.prepare, lambda answer: list(found.parse(answer).images))

        def halves() -> Sequence[Job[FoundImage]]:
            middle = len(some) // 2
            return job(some[:middle]), job(some[middle:])

        def failed(error: Failure) -> list[FoundImage]:
            return [FoundImage("failed", error=_problem(_alone(error)))] * len(some)

        return Job(call, len(some), failed, halves if len(some) > 1 else None)

    images = each(images)
    held = (once(image) for image in images)
    return Work((job(some) for some in batched(held, batch)), workers, _length(images), progress)


def batched(items: Iterable[A], size: int) -> Iterator[list[A]]:
    """Raises ValueError for a size below 1."""
    if size < 1:
        raise ValueError("a batch has at least one item")
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _alone(error: Failure) -> Failure:
    """The error, if it concerns this item alone; else it is raised."""
    if isinstance(error, _FOR_ALL):
        raise error
    return error


def _raise(error: Failure) -> list[Any]:
    raise error


def _problem(error: Failure) -> Problem:
    if isinstance(error, OSError):
        return Problem("", "Picture not readable", f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))
    if isinstance(error, NoPicture):
        return Problem("", "Picture not readable", str(error))
    return Problem(error.type, error.title, error.detail)


def _several(kind: type[A], items: Iterable[A | Mapping[str, Any]]) -> Iterable[A | Mapping[str, Any]]:
    """The rows, one as one of them. Raises TypeError for what is neither a row nor several."""
    if isinstance(items, kind | Mapping):
        return [items]
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise TypeError(f"{kind.__name__}s are wanted, one or a list of them, and not {type(items).__name__}")
    return items


def _as(kind: type[A], row: object) -> A:
    """Raises TypeError."""
    if isinstance(row, kind):
        return row
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type] # NewPerson and Row are dataclasses
    if not isinstance(row, Mapping):
        raise TypeError(f"a {kind.__name__} is wanted, or a dict of {', '.join(known)}, and not {type(row).__name__}")
    if other := [str(name) for name in row if name not in known]:
        raise TypeError(f"a {kind.__name__} has no {shown(other[0])}, only {', '.join(known)}")
    return kind(**row)


def _length(items: Iterable[Any]) -> int | None:
    return len(items) if isinstance(items, Sized) else None
