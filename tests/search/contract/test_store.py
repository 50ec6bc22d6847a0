"""What every store must do: the embedded one, Milvus Lite, a Milvus server (`make milvus-test`), and the Milvus store
over a Milvus in a dictionary, which is there on every machine.
"""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.search.contract.places import Place
from tests.search.galleries import DIMENSION, enrolment, ids, many, new, unit
from visage.errors import (
    AlreadyThere,
    CollectionMissing,
    EmbeddingMismatch,
    FaceMissing,
    PersonMissing,
    SearchError,
    StoreUnavailable,
)
from visage.search.base import Enrolment, NewCollection, NewFace, NewPerson, Question, Recogniser, Store


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with place.opened() as store:
        store.create(new())
        yield store


def test_collections_are_made_listed_described_and_dropped(store: Store) -> None:
    made = store.create(new("guests", precision="int8", description="of today", metadata={"floor": 3}))
    assert (made.name, made.precision, made.index, made.persons, made.faces) == ("guests", "int8", "exact", 0, 0)
    assert [c.name for c in store.collections()] == ["guests", "staff"]
    assert [c.name for c in store.collections(after="guests", limit=1)] == ["staff"]
    assert store.describe("guests", description="of yesterday").metadata == {"floor": 3}
    assert store.describe("guests", metadata={}).description == "of yesterday"
    store.drop("guests")
    with pytest.raises(CollectionMissing, match="guests"):
        store.collection("guests")
    store.create(new("guests"))
    assert store.collection("guests").faces == 0
    with pytest.raises(AlreadyThere):
        store.create(new("guests"))


def test_a_write_that_is_repeated_changes_nothing(store: Store) -> None:
    vectors = unit(2)
    write = [enrolment("anna", [("a1", vectors[0]), ("a2", vectors[1])], name="Anna", metadata={"city": "Oslo"})]
    first = store.enrol("staff", write)
    assert store.enrol("staff", write) == first
    assert first[0][0].faces == 2 and [face.id for face in first[0][1]] == ["a1", "a2"]
    assert (store.collection("staff").persons, store.collection("staff").faces) == (1, 2)


def test_a_copy_has_the_times_of_the_original(store: Store) -> None:
    store.create(new("old", created=1e9))
    assert store.collection("old").created == 1e9
    a, b = unit(2)
    person = NewPerson("anna", "Anna", created=1.1e9, updated=1.3e9)
    first = Enrolment(person, [NewFace("a1", a, created=1.2e9)])
    for _ in range(2):
        ((made, faces),) = store.enrol("old", [first])
        assert (made.created, made.updated, faces[0].created) == (1.1e9, 1.3e9, 1.2e9)
    ((made, faces),) = store.enrol("old", [Enrolment(person, [NewFace("a2", b, created=1.25e9)])])
    assert (made.created, made.updated, made.faces, faces[0].created) == (1.1e9, 1.3e9, 2, 1.25e9)
    assert store.person("old", "anna") == made and store.face("old", "a2").created == 1.25e9
    ((later, _),) = store.enrol("old", [Enrolment(NewPerson("anna", "Anne"), [])])
    assert later.created == 1.1e9 and later.updated > 1.3e9


def test_more_faces_leave_the_name_and_a_new_name_leaves_the_faces(store: Store) -> None:
    vectors = unit(2)
    store.enrol("staff", [enrolment("anna", [("a1", vectors[0])], name="Anna", metadata={"city": "Oslo"})])
    store.enrol("staff", [enrolment("anna", [("a2", vectors[1])])])
    person = store.person("staff", "anna")
    assert (person.name, person.metadata, person.faces) == ("Anna", {"city": "Oslo"}, 2)
    renamed = store.rename("staff", "anna", new_name="Ann")
    assert (renamed.name, renamed.metadata, renamed.faces) == ("Ann", {"city": "Oslo"}, 2)
    assert renamed.updated > person.created
    assert store.rename("staff", "anna", metadata={}).name == "Ann"


def test_all_of_an_enrolment_or_none_of_it(store: Store) -> None:
    vectors = unit(3)
    store.enrol("staff", [enrolment("anna", [("a1", vectors[0])])])
    with pytest.raises(AlreadyThere, match="a1"):
        store.enrol("staff", [enrolment("bert", [("b1", vectors[1])]), enrolment("carl", [("a1", vectors[2])])])
    assert [p.id for p in store.persons("staff")] == ["anna"]
    assert store.collection("staff").persons == 1


@pytest.mark.parametrize(
    "vector",
    [
        np.ones(DIMENSION + 1, np.float32) / 4,
        np.ones(DIMENSION, np.float32),
        np.zeros(DIMENSION, np.float32),
        np.full(DIMENSION, np.nan, np.float32),
        unit(1)[0] * np.float32(1.002),
    ],
    ids=["longer", "not unit", "zero", "nan", "a little long"],
)
def test_vectors_of_another_length_are_refused_when_enrolled_and_when_asked(store: Store, vector: Any) -> None:
    with pytest.raises(EmbeddingMismatch):
        store.enrol("staff", [enrolment("anna", [("a1", vector)])])
    with pytest.raises(EmbeddingMismatch):
        store.search("staff", vector[None], Question())
    assert store.persons("staff") == []


def test_a_length_that_rounding_leaves_is_taken(store: Store) -> None:
    store.enrol("staff", [enrolment("anna", [("a1", unit(1)[0] * np.float32(1.0009))])])
    assert ids(store, unit(1)[0]) == ["anna"]


def test_what_is_missing_is_named(store: Store) -> None:
    for call in (store.person, store.faces, store.forget):
        with pytest.raises(PersonMissing, match="nobody"):
            call("staff", "nobody")
    for face in (store.crop, store.forget_face):
        with pytest.raises(FaceMissing, match="f1"):
            face("staff", "f1")
    with pytest.raises(FaceMissing):
        store.vectors("staff", ["f1"])
    with pytest.raises(CollectionMissing):
        store.search("nowhere", unit(1), Question())
    with pytest.raises(CollectionMissing):
        store.enrol("nowhere", [])


def test_crops_vectors_and_what_is_told_of_a_face_come_back(store: Store) -> None:
    vectors = unit(2)
    faces = [NewFace("a1", vectors[0], {"score": 0.9}, b"PNG"), NewFace("a2", vectors[1])]
    ((_, stored),) = store.enrol("staff", [Enrolment(NewPerson("anna"), faces)])
    assert [(f.about, f.has_crop) for f in stored] == [({"score": 0.9}, True), ({}, False)]
    assert (store.crop("staff", "a1"), store.crop("staff", "a2")) == (b"PNG", None)
    np.testing.assert_array_equal(store.vectors("staff", ["a2", "a1"]), vectors[::-1])
    assert store.vectors("staff", []).shape == (0, DIMENSION)
    assert [f.id for f in store.faces("staff", "anna", after="a1")] == ["a2"]
    assert [store.face("staff", f.id) for f in stored] == stored
    assert [(p.id, f.id) for p, f, _ in store.export("staff")] == [("anna", "a1"), ("anna", "a2")]


def test_persons_are_found_by_their_best_face_and_each_once(store: Store) -> None:
    vectors = unit(40)
    store.enrol("staff", [enrolment(f"p{i % 7}", [(f"f{i}", v)]) for i, v in enumerate(vectors)])
    probe = unit(1, seed=9)[0]
    order = np.argsort(-(vectors @ probe))
    persons = list(dict.fromkeys(f"p{i % 7}" for i in order))
    assert ids(store, probe, top=5) == persons[:5]
    assert ids(store, probe, top=100) == persons
    (faces,) = store.search("staff", probe[None], Question(top=12, by="faces"))
    assert [match.face.id for match in faces] == [f"f{i}" for i in order[:12]]
    assert [match.similarity for match in faces] == pytest.approx((vectors @ probe)[order[:12]], abs=1e-6)


def test_matches_below_the_threshold_and_outside_the_filter_are_left_out(store: Store) -> None:
    vectors = unit(50)
    store.enrol("staff", many(vectors))
    similarities = vectors @ vectors[3]
    above = sorted((i for i in range(50) if similarities[i] >= 0.2), key=lambda i: -similarities[i])
    assert ids(store, vectors[3], top=50, threshold=0.2) == [f"p{i}" for i in above]
    assert ids(store, vectors[3], top=50, threshold=0.2, where={"n": {"gte": 10}}) == [
        f"p{i}" for i in above if i >= 10
    ]
    store.rename("staff", "p3", metadata={"n": 100})
    assert ids(store, vectors[3], top=1, where={"n": {"gte": 10}}) == ["p3"]
    store.rename("staff", "p3", metadata={"n": 1})
    assert "p3" not in ids(store, vectors[3], top=50, where={"n": {"gte": 10}})
    with pytest.raises(SearchError):
        store.search("staff", vectors[:1], Question(where={"n": {"near": 1}}))


def test_persons_are_listed_in_the_order_of_their_ids(store: Store) -> None:
    store.enrol("staff", many(unit(30)))
    wanted = sorted(f"p{i}" for i in range(30))
    assert [p.id for p in store.persons("staff")] == wanted
    assert [p.id for p in store.persons("staff", after="p15", limit=3)] == [i for i in wanted if i > "p15"][:3]
    assert [p.id for p in store.persons("staff", where={"n": {"lt": 3}})] == ["p0", "p1", "p2"]


def test_an_empty_collection_and_no_probe_have_no_matches(store: Store) -> None:
    assert store.search("staff", unit(2), Question()) == [[], []]
    assert store.search("staff", unit(0), Question()) == []
    for top in (0, 10_001):
        with pytest.raises(SearchError):
            store.search("staff", unit(1), Question(top=top))


def test_writers_of_a_process_write_together_and_one_that_fails_fails_alone(store: Store) -> None:
    vectors = unit(64)
    failed: list[int] = []

    def write(i: int) -> None:
        try:
            store.enrol("staff", [enrolment(f"p{i}", [("same" if i % 8 == 0 else f"f{i}", vectors[i])])])
        except AlreadyThere:
            failed.append(i)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 7 and all(i % 8 == 0 for i in failed)
    assert store.collection("staff").faces == 57
    assert len(ids(store, vectors[1], top=64)) == 57


def test_another_store_of_the_same_place_sees_at_once_what_was_acknowledged(place: Place, store: Store) -> None:
    vectors = unit(6)
    with place.opened() as other:
        for i in range(6):
            store.enrol("staff", [enrolment(f"p{i}", [(f"f{i}", vectors[i])], metadata={"n": i})])
            assert ids(other, vectors[i], top=1) == [f"p{i}"]
        store.rename("staff", "p2", new_name="Two", metadata={"n": 20})
        assert (other.person("staff", "p2").name, ids(other, vectors[2], where={"n": 20})) == ("Two", ["p2"])
        store.forget("staff", "p3")
        assert "p3" not in ids(other, vectors[3], top=10)
        assert other.collection("staff").persons == 5
        store.drop("staff")
        with pytest.raises(CollectionMissing):
            other.search("staff", vectors[:1], Question())
        wide = Recogniser("wide", "ef" * 32, "rgb", 2 * DIMENSION)
        store.create(NewCollection("staff", wide))
        store.enrol("staff", [enrolment("w", [("w1", unit(1, dimension=2 * DIMENSION)[0])])])
        assert ids(other, unit(1, dimension=2 * DIMENSION)[0]) == ["w"]
        with pytest.raises(EmbeddingMismatch):
            other.enrol("staff", [enrolment("p1", [("f1", vectors[1])])])


def test_who_is_forgotten_and_enrolled_again_is_somebody_new(store: Store) -> None:
    vectors = unit(3)
    store.enrol("staff", [enrolment("anna", [("a1", vectors[0]), ("a2", vectors[1])], name="Anna")])
    store.forget("staff", "anna")
    with pytest.raises(FaceMissing):
        store.vectors("staff", ["a1"])
    store.enrol("staff", [enrolment("anna", [("a2", vectors[2])])])
    person = store.person("staff", "anna")
    assert (person.name, person.faces, store.collection("staff").faces) == ("", 1, 1)
    np.testing.assert_array_equal(store.vectors("staff", ["a2"]), vectors[2:])
    store.enrol("staff", [enrolment("bert", [("a1", vectors[0])])])
    assert store.person("staff", "bert").faces == 1


def test_a_face_that_is_forgotten_leaves_its_person(store: Store) -> None:
    vectors = unit(2)
    faces = [NewFace("a1", vectors[0], {}, b"PNG"), NewFace("a2", vectors[1])]
    store.enrol("staff", [Enrolment(NewPerson("anna"), faces)])
    for face in ("a1", "a2"):
        before = store.person("staff", "anna")
        store.forget_face("staff", face)
        assert store.person("staff", "anna").faces == before.faces - 1
        assert store.person("staff", "anna").updated > before.updated
    assert (store.faces("staff", "anna"), ids(store, vectors[0])) == ([], [])
    assert store.collection("staff").persons == 1
    with pytest.raises(FaceMissing):
        store.crop("staff", "a1")
    with pytest.raises(FaceMissing):
        store.face("staff", "a1")


def test_a_crop_of_any_size_comes_back(store: Store) -> None:
    png = np.random.default_rng(3).bytes(150_000)
    faces = [NewFace("a1", unit(1)[0], {}, png), NewFace("a2", unit(2)[1], {}, b"")]
    store.enrol("staff", [Enrolment(NewPerson("anna"), faces)])
    assert (store.crop("staff", "a1"), store.crop("staff", "a2")) == (png, b"")


@pytest.mark.parametrize("name", ["a-b", "a_b", "0", "x" * 63, "a_persons", "a_2db"])
def test_every_name_is_a_collection_of_its_own(store: Store, name: str) -> None:
    store.create(new(name))
    store.enrol(name, [enrolment("anna", [("a1", unit(1)[0])])])
    assert {c.name: c.persons for c in store.collections()} == {name: 1, "staff": 0}
    store.drop(name)
    assert [c.name for c in store.collections()] == ["staff"]


def test_ids_and_metadata_come_back_whatever_is_in_them(store: Store) -> None:
    odd = ["ü-ß", 'quo"ted', "back\\slash", "it's", "a b", "日本", "%_", "{x}", "Z", "-"]
    metadata = {'ke"y': [1, 2.5, None, True, {"deep": ["x"]}], "größe": 2**53, "text": 'a "b" \\ \n c', "none": None}
    vectors = unit(len(odd))
    store.enrol(
        "staff",
        [enrolment(one, [(f"f {one}", v)], name=one, metadata=metadata) for one, v in zip(odd, vectors, strict=True)],
    )
    assert [p.id for p in store.persons("staff")] == sorted(odd, key=lambda one: one.encode())
    for one, vector in zip(odd, vectors, strict=True):
        assert (store.person("staff", one).name, store.person("staff", one).metadata) == (one, metadata)
        assert ids(store, vector, top=1, where={"text": metadata["text"]}) == [one]
        assert [face.id for face in store.faces("staff", one)] == [f"f {one}"]


def test_one_with_many_faces_hides_nobody(store: Store) -> None:
    """A crowd of one person's faces around the probe, and others behind."""
    probe = unit(1, seed=4)[0]
    near = probe + 0.05 * unit(300, seed=5)
    near = np.asarray(near / np.linalg.norm(near, axis=1, keepdims=True), np.float32)
    others = unit(30, seed=6)
    store.enrol("staff", [enrolment("crowd", [(f"c{i}", v) for i, v in enumerate(near)])])
    store.enrol("staff", many(others))
    wanted = ["crowd", *(f"p{i}" for i in np.argsort(-(others @ probe)))]
    assert ids(store, probe, top=5) == wanted[:5]
    assert ids(store, probe, top=31) == wanted
    assert ids(store, probe, top=3, where={"n": {"gte": 0}}) == wanted[1:4]
    (faces,) = store.search("staff", probe[None], Question(top=3, by="faces", where={"n": {"gte": 0}}))
    assert [match.person.id for match in faces] == wanted[1:4]
    assert store.search("staff", probe[None], Question(top=1))[0][0].person.faces == 300


def test_probes_of_one_call_are_answered_like_those_of_many(store: Store) -> None:
    store.enrol("staff", many(unit(40)))
    probes = unit(5, seed=7)
    together = store.search("staff", probes, Question(top=7, threshold=-0.2))
    alone = [store.search("staff", probe[None], Question(top=7, threshold=-0.2))[0] for probe in probes]
    assert [[m.face.id for m in one] for one in together] == [[m.face.id for m in one] for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert [m.similarity for m in one] == pytest.approx([m.similarity for m in other], abs=1e-6)


@pytest.mark.parametrize("index", ["exact", "hnsw"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_precision_and_index_finds_and_tells_similarities(
    place: Place, store: Store, precision: Any, index: Any
) -> None:
    if index == "hnsw" and precision != "fp32" and not place.rough_graphs:
        with pytest.raises(SearchError, match="take index exact, or fp32"):
            store.create(new("rough", precision=precision, index=index))
        with pytest.raises(CollectionMissing):
            store.collection("rough")
        return
    vectors, probe = unit(200), unit(1, seed=5)[0]
    store.create(new("rough", precision=precision, index=index))
    store.enrol("rough", many(vectors))
    (found,) = store.search("rough", probe[None], Question())
    close = 5e-3 if precision == "fp16" else 1e-2 if (index, precision) == ("hnsw", "int8") else 1e-5
    assert [m.similarity for m in found] == pytest.approx(np.sort(vectors @ probe)[::-1][:10], abs=close)
    np.testing.assert_array_equal(store.vectors("rough", ["f7", "f3"]), vectors[[7, 3]])


def test_compacting_changes_no_answer(store: Store) -> None:
    vectors = unit(30)
    store.enrol("staff", many(vectors))
    store.forget("staff", "p3")
    store.compact("staff")
    store.compact()
    assert ids(store, vectors[4], top=1) == ["p4"]
    assert (store.collection("staff").persons, store.collection("staff").faces) == (29, 29)
    with pytest.raises(CollectionMissing):
        store.compact("nowhere")


def test_a_closed_store_says_so(place: Place) -> None:
    with place.opened() as store:
        store.create(new())
    with pytest.raises(StoreUnavailable, match="closed"):
        store.create(new("more"))
