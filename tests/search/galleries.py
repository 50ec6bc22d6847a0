"""Vectors and enrolments that tests make."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from visage.faces import Floats
from visage.search.base import Enrolment, NewCollection, NewFace, NewPerson, Question, Recogniser, Store
from visage.search.embedded import EmbeddedStore

DIMENSION = 16
RECOGNISER = Recogniser("tiny", "ab" * 32, "bgr", DIMENSION)


def unit(count: int, *, seed: int = 0, dimension: int = DIMENSION) -> Floats:
    """float32 (count, dimension) of unit length."""
    raw = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), np.float32)


def enrolment(person: str, faces: Sequence[tuple[str, Floats]] = (), **others: Any) -> Enrolment:
    return Enrolment(NewPerson(person, **others), [NewFace(face, vector) for face, vector in faces])


def many(vectors: Floats, prefix: str = "") -> list[Enrolment]:
    """A person a vector: p0 with f0, and so on."""
    return [enrolment(f"{prefix}p{i}", [(f"{prefix}f{i}", v)], metadata={"n": i}) for i, v in enumerate(vectors)]


def ids(store: Store, probe: Floats, name: str = "staff", **asked: Any) -> list[str]:
    """Who is found, best first."""
    (matches,) = store.search(name, probe[None], Question(**asked))
    return [match.person.id for match in matches]


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(folder, **{"compact_after": None, **options})
    try:
        yield store
    finally:
        store.close()


def holding(folder: Path, text: bytes) -> list[str]:
    """The files in which this is; one that goes while they are read holds nothing."""
    found = []
    for path in folder.iterdir():
        try:
            if path.is_file() and text in path.read_bytes():
                found.append(path.name)
        except FileNotFoundError:
            continue
    return found


def new(name: str = "staff", **others: Any) -> NewCollection:
    return NewCollection(name, RECOGNISER, **others)
