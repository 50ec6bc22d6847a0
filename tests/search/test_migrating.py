"""A collection embedded again: what comes along, what is left and told, what is refused."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.galleries import enrolment, new, opened, unit
from visage.errors import SearchError
from visage.faces import Floats
from visage.search.base import Enrolment, NewFace, NewPerson, Recogniser
from visage.search.embedded import EmbeddedStore
from visage.search.migrating import migrate

NEXT = Recogniser("next", "cd" * 32, "rgb", 8)


def seen(crop: bytes) -> Floats:
    """The next network's vector of a crop."""
    return unit(1, seed=int(crop), dimension=8)[0]


def embed(crops: Sequence[bytes]) -> list[Floats | None]:
    return [None if crop == b"broken" else seen(crop) for crop in crops]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """120 persons with two faces, of each of which there is a crop."""
    with opened(tmp_path) as store:
        store.create(new(description="of here", precision="int8"))
        vectors = unit(240)
        store.enrol(
            "staff",
            [
                Enrolment(
                    NewPerson(f"p{i}", f"P {i}", {"n": i}),
                    [NewFace(f"f{j}", vectors[j], {"size": j}, b"%d" % j) for j in (2 * i, 2 * i + 1)],
                )
                for i in range(120)
            ],
        )
        yield store


def test_everybody_comes_along_with_new_vectors_and_the_original_stays(store: EmbeddedStore) -> None:
    before = {face.id: vector for _, face, vector in store.export("staff")}
    steps: list[int] = []
    for _ in range(2):  # what is there already is not made again
        found = migrate(store, "staff", "staff-2", NEXT, embed, told=steps.append)
        assert (found.persons, found.faces, found.left, found.faceless, found.asked) == (120, 240, 0, [], 32)
    assert steps == [50, 100, 120] * 2
    made = store.collection("staff-2")
    assert (made.recogniser, made.precision, made.description) == (NEXT, "int8", "of here")
    for person, face, vector in store.export("staff-2"):
        assert np.array_equal(vector, seen(face.id[1:].encode()))
        assert face.about == {"size": int(face.id[1:])}
        assert person.metadata == {"n": int(face.id[1:]) // 2} and person.name == f"P {int(face.id[1:]) // 2}"
        assert store.crop("staff-2", face.id) == face.id[1:].encode()
    assert all(np.array_equal(before[face.id], vector) for _, face, vector in store.export("staff"))


def test_what_cannot_be_embedded_is_counted_and_its_person_told(store: EmbeddedStore) -> None:
    one, other, third = unit(3, seed=5)
    store.enrol("staff", [enrolment("x", [("fx", one)], name="Xenia"), enrolment("nobody")])
    store.enrol("staff", [Enrolment(NewPerson("y"), [NewFace("fy", other, {}, b"broken")])])
    store.enrol("staff", [Enrolment(NewPerson("p0"), [NewFace("f-vector", third)])])
    found = migrate(store, "staff", "staff-2", NEXT, embed)
    assert (found.persons, found.faces, found.left, found.faceless) == (123, 240, 3, ["x", "y"])
    assert store.person("staff-2", "x").name == "Xenia"  # nobody is lost
    assert store.person("staff-2", "x").faces == store.person("staff-2", "nobody").faces == 0


def test_without_crops_there_is_nothing_to_embed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.create(new())
        assert migrate(store, "staff", "empty", NEXT, embed).persons == 0
        store.enrol("staff", [enrolment("p", [("f", unit(1)[0])])])
        with pytest.raises(SearchError, match="KEEP_CROPS"):
            migrate(store, "staff", "staff-2", NEXT, embed)
        assert [one.name for one in store.collections()] == ["empty", "staff"]


def test_names_that_are_taken_are_refused(store: EmbeddedStore) -> None:
    with pytest.raises(SearchError, match="another name"):
        migrate(store, "staff", "staff", NEXT, embed)
    store.create(new("taken"))
    with pytest.raises(SearchError, match="another recogniser"):
        migrate(store, "staff", "taken", NEXT, embed)


class Forgetful(EmbeddedStore):
    """It drops the last of what it is given."""

    def enrol(self, name: str, enrolments: Sequence[Enrolment], /, **more: Any) -> list:  # type: ignore[type-arg]
        return super().enrol(name, enrolments if name == "staff" else enrolments[:-1], **more)


def test_counts_that_do_not_come_out_are_a_failure(tmp_path: Path, store: EmbeddedStore) -> None:
    lossy = Forgetful(tmp_path, compact_after=None)
    try:
        with pytest.raises(SearchError, match="117 persons"):
            migrate(lossy, "staff", "staff-2", NEXT, embed)
    finally:
        lossy.close()
