import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.galleries import DIMENSION, holding, ids, many, new, opened, unit
from tests.support import wait_ready
from visage.errors import StoreUnavailable
from visage.search.base import Precision, Question
from visage.search.embedded import EmbeddedStore, image, upkeep


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with opened(tmp_path / "galleries") as store:
        store.create(new())
        yield store


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
        assert all(holding(tmp_path, mark) for mark in marks.values())
        if how == "drop":
            store.drop("staff")
        for i in range(0, 300, 3) if how != "drop" else ():
            store.forget("staff", f"p{i}") if how == "forget" else store.forget_face("staff", f"f{i}")
        store.compact()
        for (i, _), mark in marks.items():
            assert bool(holding(tmp_path, mark)) is (how != "drop" and i % 3 != 0), i
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


def test_deletions_are_compacted_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_LOOK_EVERY", 0.05)
    vectors = unit(50)
    with opened(tmp_path, compact_after=0.1) as store:
        store.create(new())
        store.enrol("staff", many(vectors))
        store.forget("staff", "p7")
        mark = vectors[7].tobytes()[:32]
        wait_ready(lambda: not holding(tmp_path, mark), 60)
        assert len(ids(store, vectors[1], top=50)) == 49


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
