import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.galleries import DIMENSION, enrolment, many, new, opened, unit
from visage.errors import (
    AlreadyThere,
    CollectionMissing,
    EmbeddingMismatch,
    FaceMissing,
    PersonMissing,
    SearchError,
    StoreUnavailable,
)
from visage.search.base import Enrolment, NewFace, NewPerson, Precision, Question
from visage.search.embedded import EmbeddedStore, image, upkeep


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with opened(tmp_path / "galleries") as store:
        store.create(new())
        yield store


def ids(store: EmbeddedStore, probe: Any, name: str = "staff", **asked: Any) -> list[str]:
    (matches,) = store.search(name, probe[None], Question(**asked))
    return [match.person.id for match in matches]


def test_collections_are_made_listed_described_and_dropped(store: EmbeddedStore) -> None:
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


def test_a_write_that_is_repeated_changes_nothing(store: EmbeddedStore) -> None:
    vectors = unit(2)
    write = [enrolment("anna", [("a1", vectors[0]), ("a2", vectors[1])], name="Anna", metadata={"city": "Oslo"})]
    first = store.enrol("staff", write)
    assert store.enrol("staff", write) == first
    assert first[0][0].faces == 2 and [face.id for face in first[0][1]] == ["a1", "a2"]
    assert (store.collection("staff").persons, store.collection("staff").faces) == (1, 2)


def test_more_faces_leave_the_name_and_a_new_name_leaves_the_faces(store: EmbeddedStore) -> None:
    vectors = unit(2)
    store.enrol("staff", [enrolment("anna", [("a1", vectors[0])], name="Anna", metadata={"city": "Oslo"})])
    store.enrol("staff", [enrolment("anna", [("a2", vectors[1])])])
    person = store.person("staff", "anna")
    assert (person.name, person.metadata, person.faces) == ("Anna", {"city": "Oslo"}, 2)
    renamed = store.rename("staff", "anna", new_name="Ann")
    assert (renamed.name, renamed.metadata, renamed.faces) == ("Ann", {"city": "Oslo"}, 2)
    assert renamed.updated > person.created
    assert store.rename("staff", "anna", metadata={}).name == "Ann"


def test_all_of_an_enrolment_or_none_of_it(store: EmbeddedStore) -> None:
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
def test_vectors_of_another_length_are_refused_when_enrolled_and_when_asked(store: EmbeddedStore, vector: Any) -> None:
    with pytest.raises(EmbeddingMismatch):
        store.enrol("staff", [enrolment("anna", [("a1", vector)])])
    with pytest.raises(EmbeddingMismatch):
        store.search("staff", vector[None], Question())
    assert store.persons("staff") == []


def test_a_length_that_rounding_leaves_is_taken(store: EmbeddedStore) -> None:
    store.enrol("staff", [enrolment("anna", [("a1", unit(1)[0] * np.float32(1.0009))])])
    assert ids(store, unit(1)[0]) == ["anna"]


def test_what_is_missing_is_named(store: EmbeddedStore) -> None:
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


def test_crops_vectors_and_what_is_told_of_a_face_come_back(store: EmbeddedStore) -> None:
    vectors = unit(2)
    faces = [NewFace("a1", vectors[0], {"score": 0.9}, b"PNG"), NewFace("a2", vectors[1])]
    ((_, stored),) = store.enrol("staff", [Enrolment(NewPerson("anna"), faces)])
    assert [(f.about, f.has_crop) for f in stored] == [({"score": 0.9}, True), ({}, False)]
    assert (store.crop("staff", "a1"), store.crop("staff", "a2")) == (b"PNG", None)
    np.testing.assert_array_equal(store.vectors("staff", ["a2", "a1"]), vectors[::-1])
    assert store.vectors("staff", []).shape == (0, DIMENSION)
    assert [f.id for f in store.faces("staff", "anna", after="a1")] == ["a2"]
    assert [(p.id, f.id) for p, f, _ in store.export("staff")] == [("anna", "a1"), ("anna", "a2")]


def test_persons_are_found_by_their_best_face_and_each_once(store: EmbeddedStore) -> None:
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


def test_matches_below_the_threshold_and_outside_the_filter_are_left_out(store: EmbeddedStore) -> None:
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


def test_persons_are_listed_in_the_order_of_their_ids(store: EmbeddedStore) -> None:
    store.enrol("staff", many(unit(30)))
    wanted = sorted(f"p{i}" for i in range(30))
    assert [p.id for p in store.persons("staff")] == wanted
    assert [p.id for p in store.persons("staff", after="p15", limit=3)] == [i for i in wanted if i > "p15"][:3]
    assert [p.id for p in store.persons("staff", where={"n": {"lt": 3}})] == ["p0", "p1", "p2"]


def test_an_empty_collection_and_no_probe_have_no_matches(store: EmbeddedStore) -> None:
    assert store.search("staff", unit(2), Question()) == [[], []]
    assert store.search("staff", unit(0), Question()) == []
    for top in (0, 10_001):
        with pytest.raises(SearchError):
            store.search("staff", unit(1), Question(top=top))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_segments_tails_and_removals_answer_as_one(
    tmp_path: Path, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (image, upkeep):
        monkeypatch.setattr(module, "most_in_memory", lambda faces: 20)
    vectors = unit(400)
    alive = set(range(400))
    with opened(tmp_path) as store, opened(tmp_path) as other:
        store.create(new(precision=precision))
        for start in range(0, 400, 50):
            store.enrol("staff", many(vectors)[start : start + 50])
            store._upkeep.fold("staff", at_once=start % 100 == 0)
            gone = {start, start + 7, start // 2} & alive
            for i in gone:
                store.forget("staff", f"p{i}")
            alive -= gone
            for asked in (store, other):
                (found,) = asked.search("staff", vectors[start : start + 1], Question(top=400))
                assert {match.person.id for match in found} == {f"p{i}" for i in alive if i < start + 50}
        store.compact()
        for asked in (store, other):
            assert ids(asked, vectors[1], top=400)[0] == "p1"
            assert len(ids(asked, vectors[1], top=400)) == len(alive)
        assert store.collection("staff").faces == len(alive)
    with opened(tmp_path) as again:
        assert set(ids(again, vectors[1], top=400)) == {f"p{i}" for i in alive}


def test_int8_similarities_are_those_of_the_stored_vectors(tmp_path: Path) -> None:
    vectors, probe = unit(300), unit(1, seed=5)[0]
    with opened(tmp_path / "a") as store, opened(tmp_path / "b", rescore=False) as alone:
        for each in (store, alone):
            each.create(new(precision="int8"))
            each.enrol("staff", many(vectors))
        exact = np.sort(vectors @ probe)[::-1][:10]
        (found,) = store.search("staff", probe[None], Question())
        (rough,) = alone.search("staff", probe[None], Question())
    assert [m.similarity for m in found] == pytest.approx(exact, abs=1e-6)
    assert [m.similarity for m in rough] != pytest.approx(exact, abs=1e-6)
    assert [m.similarity for m in rough] == pytest.approx(exact, abs=1e-2)


@pytest.mark.parametrize("harm", ["missing", "cut off", "of another form"])
def test_an_image_that_cannot_be_read_is_made_anew(tmp_path: Path, harm: str) -> None:
    vectors = unit(60)
    with opened(tmp_path) as store:
        store.create(new())
        store.enrol("staff", many(vectors))
        store._upkeep.fold("staff", at_once=True)
    (path,) = tmp_path.glob("*.rows")
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:4100] if harm == "cut off" else b"x" * 9000)
    with opened(tmp_path) as store:
        assert ids(store, vectors[5], top=1) == ["p5"]
        store.forget("staff", "p6")
        store.compact()
        assert len(ids(store, vectors[5], top=100)) == 59
    assert len(list(tmp_path.glob("*.rows"))) == 1


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.create(new())
        store.enrol("staff", many(unit(9)))
        (tmp_path / "abc.rows").write_bytes(b"old")
        (tmp_path / "def.unfinished").write_bytes(b"half")
        store.compact()
    assert [p.name for p in tmp_path.iterdir() if p.suffix in (".rows", ".unfinished")] == []


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("how", ["forget", "forget_face", "drop"])
def test_after_compacting_no_byte_of_a_deleted_vector_is_in_any_file(
    tmp_path: Path, precision: Precision, how: str
) -> None:
    vectors = unit(300, dimension=DIMENSION)
    with opened(tmp_path) as store, opened(tmp_path) as other:
        store.create(new(precision=precision))
        store.create(new("kept"))
        store.enrol("kept", many(unit(3, seed=8)))
        for start in range(0, 300, 30):
            store.enrol("staff", many(vectors)[start : start + 30])
        store._upkeep.fold("staff", at_once=True)
        other.search("staff", vectors[:1], Question())
        marks = _marks(tmp_path, vectors, precision)
        assert all(_holders(tmp_path, mark) for mark in marks.values())
        if how == "drop":
            store.drop("staff")
        for i in range(0, 300, 3) if how != "drop" else ():
            store.forget("staff", f"p{i}") if how == "forget" else store.forget_face("staff", f"f{i}")
        store.compact()
        for (i, _), mark in marks.items():
            assert bool(_holders(tmp_path, mark)) is (how != "drop" and i % 3 != 0), i
        left = 0 if how == "drop" else 200
        assert sum(1 for _ in store.export("kept")) == 3
        if left:
            assert len(ids(other, vectors[1], top=300)) == left


def _marks(folder: Path, vectors: Any, precision: Precision) -> dict[tuple[int, str], bytes]:
    """Bytes that tell a vector: of the database, and of the segment."""
    from visage.search.embedded.segment import encode

    empty = np.zeros(len(vectors), np.int32)
    coded = encode(precision, vectors, empty, empty.astype(np.int64)).vectors
    marks = {(i, "kept"): vectors[i].tobytes()[8:40] for i in range(len(vectors))}
    return marks | {(i, "searched"): coded[i].tobytes() for i in range(len(vectors))}


def _holders(folder: Path, mark: bytes) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file() and mark in path.read_bytes()]


def test_deletions_are_compacted_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_LOOK_EVERY", 0.05)
    vectors = unit(50)
    with opened(tmp_path, compact_after=0.1) as store:
        store.create(new())
        store.enrol("staff", many(vectors))
        store.forget("staff", "p7")
        mark = vectors[7].tobytes()[:32]
        ended = threading.Event()
        for _ in range(200):
            if not _holders(tmp_path, mark):
                ended.set()
                break
            threading.Event().wait(0.05)
        assert ended.is_set()
        assert len(ids(store, vectors[1], top=50)) == 49


def test_writers_of_a_process_share_commits_and_one_that_fails_fails_alone(store: EmbeddedStore) -> None:
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


def test_another_process_that_writes_for_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visage.search.embedded.database._BUSY_SECONDS", 0.1)
    with opened(tmp_path) as store:
        store.create(new())
        holder = sqlite3.connect(tmp_path / "galleries.sqlite", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process is writing") as told:
            store.enrol("staff", many(unit(1)))
        assert told.value.retry_after >= 1
        holder.execute("ROLLBACK")
        holder.close()
        assert store.enrol("staff", many(unit(1)))[0][0].faces == 1


def test_a_full_disk_is_told_and_nothing_half_is_kept(store: EmbeddedStore) -> None:
    def limit(pages: int) -> None:
        store._writer.do(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone(), alone=True)

    store.enrol("staff", many(unit(1)))
    limit(1)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        store.enrol("staff", many(unit(5000, seed=2), "x"))
    assert store.collection("staff").faces == 1
    limit(1_000_000)
    store.enrol("staff", many(unit(50, seed=2), "x"))
    assert store.collection("staff").faces == 51


def test_a_file_that_is_no_database_and_a_folder_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StoreUnavailable):
        EmbeddedStore(tmp_path / "file" / "below")
    (tmp_path / "galleries.sqlite").write_bytes(b"no database" * 2000)
    with pytest.raises(StoreUnavailable, match="damaged"):
        EmbeddedStore(tmp_path)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.create(new())
    with pytest.raises(StoreUnavailable, match="closed"):
        store.create(new("more"))


def test_a_graph_answers_like_the_exact_search_and_follows_writes(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    vectors = unit(500)
    with opened(tmp_path) as store:
        store.create(new(index="hnsw"))
        store.enrol("staff", many(vectors[:300]))
        assert ids(store, vectors[5], top=1) == ["p5"]
        store.forget("staff", "p5")
        store.enrol("staff", many(vectors)[300:])
        found = ids(store, vectors[5], top=10)
        exact = [f"p{i}" for i in np.argsort(-(vectors @ vectors[5])) if i != 5][:10]
        assert len(set(found) & set(exact)) >= 9
        assert ids(store, vectors[400], top=1, where={"n": {"lt": 10}})[0] in {f"p{i}" for i in range(10)}
        store._upkeep.fold("staff", at_once=True)
        assert ids(store, vectors[400], top=1) == ["p400"]
        assert len(ids(store, vectors[5], top=600)) == 499
