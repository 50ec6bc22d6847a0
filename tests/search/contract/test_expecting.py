"""What every store holds where it writes: who is new, who is known, and whose vectors a collection has by now."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.search.contract.places import Place
from tests.search.galleries import RECOGNISER, enrolment, ids, many, new, unit
from visage.errors import AlreadyThere, CollectionMissing, EmbeddingMismatch, PersonMissing
from visage.search.base import Enrolment, NewCollection, NewFace, NewPerson, PersonIs, Question, Store

OTHER = replace(RECOGNISER, name="other", sha256="cd" * 32)  # of the same length


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with place.opened() as store:
        store.create(new())
        yield store


def write(person: str, *faces: str, person_is: PersonIs = "new", seed: int = 0, name: str | None = None) -> Enrolment:
    vectors = unit(len(faces), seed=seed)
    made = [NewFace(face, vector) for face, vector in zip(faces, vectors, strict=True)]
    return Enrolment(NewPerson(person, name), made, person_is)


def test_somebody_new_must_not_be_there_and_somebody_known_must(store: Store) -> None:
    store.enrol("staff", [write("anna", "a1", name="Anna")])
    with pytest.raises(AlreadyThere, match="anna"):
        store.enrol("staff", [write("carl", "c1"), write("anna", "a2", name="Another", seed=1)])
    with pytest.raises(PersonMissing, match="bert"):
        store.enrol("staff", [write("anna", "a3", person_is="known"), write("bert", "b1", person_is="known")])
    assert [(p.id, p.name, p.faces) for p in store.persons("staff")] == [("anna", "Anna", 1)]
    store.enrol("staff", [write("anna", "a4", person_is="known", seed=2)])
    assert (store.person("staff", "anna").name, store.person("staff", "anna").faces) == ("Anna", 2)


def test_the_same_write_of_somebody_new_again_changes_nothing(store: Store) -> None:
    for once in (write("anna", "a1", "a2", name="Anna"), write("bert", name="Bert")):
        assert store.enrol("staff", [once]) == store.enrol("staff", [once])
    with pytest.raises(AlreadyThere):
        store.enrol("staff", [write("bert", name="Another")])
    store.enrol("staff", [write("bert", "b1", person_is="known", seed=3)])
    with pytest.raises(AlreadyThere):
        store.enrol("staff", [write("bert", name="Bert")])
    assert (store.collection("staff").persons, store.collection("staff").faces) == (2, 3)


def test_of_two_who_make_one_person_at_once_one_does(store: Store) -> None:
    for i in range(10):
        said: list[str] = []
        barrier = threading.Barrier(2)

        def make(who: str, i: int = i, said: list[str] = said, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                store.enrol("staff", [write(f"p{i}", f"{who}{i}-1", f"{who}{i}-2", name=who)])
                said.append(who)
            except AlreadyThere:
                pass

        threads = [threading.Thread(target=make, args=(who,)) for who in ("alice", "bob")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (made,) = said
        assert store.person("staff", f"p{i}").name == made
        assert [face.id for face in store.faces("staff", f"p{i}")] == [f"{made}{i}-1", f"{made}{i}-2"]


def test_who_was_forgotten_does_not_come_back_with_more_faces(place: Place, store: Store) -> None:
    store.enrol("staff", [write("gone", "g1")])
    with place.opened() as other:
        assert other.person("staff", "gone").faces == 1
        store.forget("staff", "gone")
        with pytest.raises(PersonMissing):
            other.enrol("staff", [write("gone", "g2", person_is="known", seed=1)])
        assert other.persons("staff") == [] == store.persons("staff")
        assert ids(other, unit(1)[0]) == []


def test_vectors_for_a_collection_that_was_made_anew_for_another_network_are_refused(
    place: Place, store: Store
) -> None:
    vectors = unit(3)
    with place.opened() as other:
        other.enrol("staff", [write("anna", "a1")], expected=RECOGNISER)
        assert ids(other, vectors[0]) == ["anna"]
        store.drop("staff")
        store.create(NewCollection("staff", OTHER))
        store.enrol("staff", [write("bert", "b1")], expected=OTHER)
        for each in (other, store):
            with pytest.raises(EmbeddingMismatch, match="other@cdcd"):
                each.enrol("staff", [write("carl", "c1", seed=1)], expected=RECOGNISER)
            with pytest.raises(EmbeddingMismatch, match="other@cdcd"):
                each.search("staff", vectors[:1], Question(), expected=RECOGNISER)
        assert [p.id for p in other.persons("staff")] == ["bert"]
        assert other.search("staff", vectors[:1], Question(), expected=OTHER)[0][0].person.id == "bert"


def test_a_process_that_knew_the_collection_before_enrols_into_the_one_of_now(place: Place, store: Store) -> None:
    with place.opened() as other:
        other.enrol("staff", [write("anna", "a1")], expected=RECOGNISER)
        store.drop("staff")
        store.create(NewCollection("staff", OTHER))
        other.enrol("staff", [write("carl", "c1", seed=1)], expected=OTHER)
        assert [(p.id, p.faces) for p in store.persons("staff")] == [("carl", 1)]
        assert [f.id for _, f, _ in other.export("staff")] == ["c1"]


@pytest.mark.parametrize("then", [0, 1200])
def test_an_export_is_of_one_collection(store: Store, then: int) -> None:
    store.enrol("staff", many(unit(600)))
    rows = store.export("staff")
    first = next(rows)
    store.drop("staff")
    store.create(NewCollection("staff", OTHER))
    store.enrol("staff", [enrolment("zz"), *many(unit(then, seed=1), "x")])
    seen = {first[1].id}
    with pytest.raises(CollectionMissing):
        seen |= {face.id for _, face, _ in rows}
    assert not any(face.startswith("x") for face in seen)


def test_an_export_has_every_face_of_persons_with_many_in_order(store: Store) -> None:
    few, crowd = unit(20), unit(1100, seed=2)
    store.enrol("staff", [*many(few[:10], "a"), enrolment("faceless")])
    store.enrol("staff", [enrolment("crowd", [(f"c{i:04}", v) for i, v in enumerate(crowd)]), *many(few[10:], "z")])
    rows = list(store.export("staff"))
    assert [(p.id, f.id) for p, f, _ in rows] == sorted((p.id, f.id) for p, f, _ in rows)
    assert len({f.id for _, f, _ in rows}) == len(rows) == 1120
    assert {p.faces for p, _, _ in rows if p.id == "crowd"} == {1100}
    np.testing.assert_array_equal(np.stack([v for p, _, v in rows if p.id == "crowd"]), crowd)
