"""A DATA_DIR with something of everything, and what it holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.search.galleries import many, new, opened, unit
from visage.access.keyfile import KeyFile
from visage.api.idempotency import Kept, Keys
from visage.backup.making import back_up
from visage.backup.parts import IDEMPOTENCY_FILE, PARTS, Part
from visage.backup.restoring import Restored, restore
from visage.search.base import Question
from visage.search.embedded import EmbeddedStore

GALLERIES = "galleries"
FILES = ("galleries.sqlite", "idempotency.db", "access.db")
PERSONS = 40


def unsaid(_part: Part, _done: int, _of_all: int) -> None:
    """Progress that nobody hears."""


def make(data: Path) -> Path:
    with opened(data / GALLERIES) as store:
        store.create(new(description="all of us", metadata={"floor": 3}))
        store.create(new("guests", precision="int8"))
        store.enrol("staff", many(unit(PERSONS)))
        store.enrol("guests", many(unit(9, seed=1), "g"))
        store.forget("staff", "p3")
    with answers(data) as keys:
        keys.begin("once", "request")
        keys.finish("once", Kept(201, {"X": "y"}, b"{}"), "staff/p1")
    for name in ("desk", "door"):
        KeyFile(data).add(name, frozenset({"read"}))
    return data


@contextmanager
def answers(data: Path) -> Iterator[Keys]:
    keys = Keys(data / IDEMPOTENCY_FILE)
    try:
        yield keys
    finally:
        keys.close()


def backed_up(data: Path, target: Path) -> Path:
    back_up(data, target, PARTS, unsaid)
    return target


def put_back(source: Path, data: Path, **how: Any) -> Restored:
    return restore(source, data, how.pop("parts", PARTS), unsaid, **how)


def told(store: EmbeddedStore) -> dict[str, Any]:
    """All that is asked of galleries: what is in them, and what is found."""
    probes = unit(7, seed=5)
    return {
        collection.name: (
            collection,
            [(person, face, vector.tobytes()) for person, face, vector in store.export(collection.name)],
            store.search(collection.name, probes, Question(top=5)),
        )
        for collection in store.collections()
    }


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
