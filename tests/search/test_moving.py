from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.galleries import DIMENSION, enrolment, many, new, opened, unit
from visage.errors import CollectionMissing, SearchError
from visage.search.base import Enrolment, NewCollection, NewFace, NewPerson, Recogniser
from visage.search.embedded import EmbeddedStore
from visage.search.moving import Moved, move, spread_out


def test_everything_of_a_collection_arrives_and_a_second_move_changes_nothing(tmp_path: Path) -> None:
    vectors = unit(1200)
    with opened(tmp_path / "a") as source, opened(tmp_path / "b") as target:
        source.create(new(description="of here", metadata={"floor": 2}))
        source.enrol("staff", many(vectors))
        faces = [NewFace("x1", unit(1, seed=3)[0], {"score": 0.9}, b"PNG")]
        source.enrol("staff", [Enrolment(NewPerson("x", "Xenia"), faces), enrolment("faceless", name="Nobody")])
        steps: list[int] = []
        for _ in range(2):
            moved = move(source, target, "staff", new_name="guests", precision="int8", told=steps.append)
            assert moved == Moved(1202, 1201, 32)
        assert steps == [500, 1000, 1202] * 2
        copy = target.collection("guests")
        assert (copy.description, copy.metadata, copy.precision) == ("of here", {"floor": 2}, "int8")
        assert target.crop("guests", "x1") == b"PNG"
        assert target.faces("guests", "x")[0].about == {"score": 0.9}
        assert target.person("guests", "faceless").name == "Nobody"
        assert copy.created == source.collection("staff").created
        assert target.persons("guests", limit=2000) == source.persons("staff", limit=2000)
        assert [face for _, face, _ in target.export("guests")] == [face for _, face, _ in source.export("staff")]
        there = {face.id: vector for _, face, vector in target.export("guests")}
        assert there.keys() == {face.id for _, face, _ in source.export("staff")}
        assert all(np.array_equal(there[f"f{i}"], vectors[i]) for i in range(1200))


def test_persons_with_many_faces_are_asked_for_one_by_one(tmp_path: Path) -> None:
    vectors = unit(1000)
    with opened(tmp_path / "a") as source, opened(tmp_path / "b") as target:
        source.create(new())
        people = [enrolment(f"p{i:02}", [(f"f{j}", vectors[j]) for j in range(50 * i, 50 * i + 50)]) for i in range(20)]
        source.enrol("staff", [*people, *(enrolment(f"faceless{i}") for i in range(500))])
        assert move(source, target, "staff") == Moved(520, 1000, 20)


@pytest.mark.parametrize("persons", [1, 31, 32, 33, 63, 64, 65, 200])
def test_who_is_asked_for_is_spread_over_the_collection(tmp_path: Path, persons: int) -> None:
    vectors = unit(2 * persons)
    with opened(tmp_path) as store:
        store.create(new())
        store.enrol(
            "staff",
            [enrolment(f"p{i:03}", [(f"f{j}", vectors[j]) for j in (2 * i, 2 * i + 1)]) for i in range(persons)],
        )
        asked = [int(face.person[1:]) for face in spread_out(store, "staff")]
        assert len(set(asked)) == min(persons, 32) == len(asked)
        assert asked[0] == 0 and asked[-1] >= 0.9 * persons - 1


def test_an_empty_collection_arrives_and_a_missing_one_is_named(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as source, opened(tmp_path / "b") as target:
        source.create(new())
        assert move(source, target, "staff") == Moved(0, 0, 0)
        with pytest.raises(CollectionMissing, match="guests"):
            move(source, target, "guests")


def test_a_name_that_another_recogniser_has_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as source, opened(tmp_path / "b") as target:
        source.create(new())
        target.create(NewCollection("staff", Recogniser("other", "cd" * 32, "rgb", DIMENSION)))
        with pytest.raises(SearchError, match="another recogniser"):
            move(source, target, "staff")


class Forgetful(EmbeddedStore):
    """It drops the last of what it is given."""

    def enrol(self, name: str, enrolments: Sequence[Enrolment], /, **more: Any) -> Any:
        return super().enrol(name, enrolments[:-1], **more)


class Confused(EmbeddedStore):
    """It takes one for the other."""

    def enrol(self, name: str, enrolments: Sequence[Enrolment], /, **more: Any) -> Any:
        turned = [
            Enrolment(one.person, [NewFace(f.id, g.vector) for f, g in zip(one.faces, other.faces, strict=True)])
            for one, other in zip(enrolments, [*enrolments[1:], enrolments[0]], strict=True)
        ]
        return super().enrol(name, turned, **more)


@pytest.mark.parametrize(("kind", "said"), [(Forgetful, "49 persons with 49 faces"), (Confused, "vectors of 'staff'")])
def test_a_copy_that_differs_is_told(tmp_path: Path, kind: type[EmbeddedStore], said: str) -> None:
    with opened(tmp_path / "a") as source:
        source.create(new())
        source.enrol("staff", many(unit(50)))
        target = kind(tmp_path / "b", compact_after=None)
        try:
            with pytest.raises(SearchError, match=said):
                move(source, target, "staff")
        finally:
            target.close()
