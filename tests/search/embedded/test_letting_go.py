"""What was deleted, dropped or compacted: every process lets go of it, and nobody waits longer than needed."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.search.galleries import DIMENSION, enrolment, holding, ids, many, new, opened, unit
from tests.support import wait_ready
from visage.errors import StoreUnavailable
from visage.search.base import Question
from visage.search.embedded import EmbeddedStore, database, store, upkeep
from visage.search.embedded.exporting import exported
from visage.search.embedded.graph import Graph
from visage.search.embedded.ranking import EVERYBODY, Asked
from visage.search.embedded.records import find
from visage.search.embedded.segment import encode


def mapped(folder: Path) -> list[str]:
    """The files of the image that this process maps."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sorted({line.split("/")[-1] for line in lines if str(folder) in line and ".rows" in line})


def test_searches_go_on_while_a_drop_waits_for_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 100.0)  # the drop is not to give up before the search is answered
    with opened(tmp_path) as kept:
        kept.create(new())
        kept.create(new("old"))
        kept.enrol("staff", many(unit(5)))
        ids(kept, unit(5)[2], top=1)  # the first search compiles, for a while
        begun = threading.Event()
        write = kept._writer.do

        def noted(work: Any, **how: Any) -> Any:
            begun.set()
            return write(work, **how)

        monkeypatch.setattr(kept._writer, "do", noted)
        holder = sqlite3.connect(tmp_path / "galleries.sqlite", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        dropping = threading.Thread(target=kept.drop, args=("old",))
        dropping.start()
        found: list[str] = []
        searching = threading.Thread(target=lambda: found.extend(ids(kept, unit(5)[2], top=1)))
        waits = begun.wait(30)
        searching.start()
        searching.join(30)
        waits, answered = waits and dropping.is_alive(), not searching.is_alive()
        holder.execute("ROLLBACK")
        holder.close()
        dropping.join()
        searching.join()
        assert waits and answered and found == ["p2"]
        assert [c.name for c in kept.collections()] == ["staff"]


def test_a_process_that_does_not_search_lets_go_of_what_others_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_LOOK_EVERY", 0.05)
    vectors = unit(60)
    with opened(tmp_path) as one, opened(tmp_path) as other:
        for name in ("staff", "old"):
            one.create(new(name))
            one.enrol(name, many(vectors))
        one._upkeep.fold(at_once=True)
        for each in (one, other):
            for name in ("staff", "old"):
                assert ids(each, vectors[3], name, top=1) == ["p3"]
        assert len(mapped(tmp_path)) == 2 and len(other._searched) == 2
        one.forget("staff", "p7")
        one.drop("old")
        one.compact()
        wait_ready(lambda: not any("deleted" in line for line in mapped(tmp_path)), 60)
        wait_ready(lambda: len(other._searched) == 1, 60)
        assert len(one._searched) == 1
        assert len(ids(other, vectors[3], top=100)) == 59


def test_a_graph_forgets_who_was_deleted(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    vectors = unit(500)
    with opened(tmp_path) as kept, opened(tmp_path) as other:
        kept.create(new(index="hnsw"))
        kept.enrol("staff", many(vectors))
        assert ids(other, vectors[5], top=1) == ["p5"]
        ((_, searched),) = other._searched.items()
        assert searched.graph is not None and len(searched.graph) == 500
        for i in range(30):
            kept.forget("staff", f"p{i}")
        other._let_go()
        assert searched.graph is not None  # few are gone: another graph would cost more than they do
        for i in range(30, 490):
            kept.forget("staff", f"p{i}")
        other._let_go()
        assert searched.graph is None
        assert set(ids(other, vectors[495], top=100)) == {f"p{i}" for i in range(490, 500)}
        other._let_go()
        assert searched.graph is not None and len(searched.graph) == 10


def test_a_graph_answers_for_rows_that_were_there_a_moment_ago() -> None:
    """A search that began before another one, which saw more rows go, and made the graph."""
    pytest.importorskip("faiss")
    vectors = unit(100)
    persons, keys = np.arange(100, dtype=np.int32), np.arange(1, 101, dtype=np.int64)
    now, before = (encode("fp32", vectors, persons.copy(), keys) for _ in range(2))
    now.forget(np.arange(61, 101))
    graph = Graph(DIMENSION)
    graph.add([now])
    assert (len(graph), graph.lacks([now]), graph.lacks([before])) == (60, 0, 0)
    best = graph.nearest([before], Asked(vectors[7:8], 100, True, -1.0, EVERYBODY))
    found = best.persons[best.persons >= 0]
    assert found[0] == 7 and sorted(found) == list(range(60))


def test_a_graph_is_built_where_no_transaction_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(upkeep, "_LOOK_EVERY", 600.0)  # it reads, and that would be a transaction, too
    monkeypatch.setattr(store, "MOST_ADDED", 100)
    busy: list[int] = []
    added = Graph._add

    def add(graph: Graph, parts: Any) -> None:
        if graph.lacks(parts) > 100:
            asking = database.connect(tmp_path)
            asking.execute("PRAGMA busy_timeout = 0")
            busy.append(asking.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
            asking.close()
        added(graph, parts)

    monkeypatch.setattr(Graph, "_add", add)
    vectors = unit(300)
    with opened(tmp_path) as kept:
        kept.create(new(index="hnsw"))
        kept.enrol("staff", many(vectors))
        assert ids(kept, vectors[5], top=1) == ["p5"]
    assert busy == [0]


def test_writers_do_not_wait_for_a_reader_whom_compacting_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0, time=time.time, sleep=time.sleep)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(upkeep, "time", clock)  # compacting gives up when the test says so
    monkeypatch.setattr(database, "_BUSY_SECONDS", 40.0)
    tried = threading.Event()
    attempt = upkeep._is_log_emptied

    def noted(connection: sqlite3.Connection) -> bool:
        tried.set()
        return attempt(connection)

    monkeypatch.setattr(upkeep, "_is_log_emptied", noted)
    with opened(tmp_path) as kept:
        kept.create(new())
        kept.enrol("staff", many(unit(20)))
        kept.forget("staff", "p1")
        reader = database.connect(tmp_path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM faces").fetchone()
        failed: list[Exception] = []

        def compact() -> None:
            try:
                kept.compact()
            except StoreUnavailable as exc:
                failed.append(exc)

        compacting = threading.Thread(target=compact)
        compacting.start()
        try:
            for i in range(5):
                tried.clear()
                assert tried.wait(30)  # again and again, with room for writers in between
                began = time.monotonic()
                kept.enrol("staff", [enrolment(f"new{i}")])
                assert time.monotonic() - began < 20  # not as long as SQLite would wait for the reader
            assert compacting.is_alive()
        finally:
            clock.now += upkeep._CHECKPOINT_SECONDS
            compacting.join(60)
        assert "a reader of the galleries that does not end" in str(failed[0])
        reader.close()
        kept.compact()


def test_the_name_of_somebody_without_faces_leaves_the_files_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_LOOK_EVERY", 0.05)
    with opened(tmp_path, compact_after=0.1) as kept:
        kept.create(new())
        kept.enrol("staff", [enrolment("nobody", name="Ann Onymous"), *many(unit(3))])
        assert holding(tmp_path, b"Ann Onymous")
        kept.forget("staff", "nobody")
        wait_ready(lambda: not holding(tmp_path, b"Ann Onymous"), 60)
        assert (kept.collection("staff").persons, kept.collection("staff").faces) == (3, 3)
        assert len(ids(kept, unit(1)[0])) == 3


def test_compacting_takes_former_names_and_metadata_out_of_the_files(tmp_path: Path) -> None:
    with opened(tmp_path) as kept:
        kept.create(new(description="Former words"))
        kept.enrol("staff", [enrolment(f"p{i}", name=f"Former {i}", metadata={"x": f"old {i}"}) for i in range(200)])
        for i in range(200):
            kept.rename("staff", f"p{i}", new_name="A name of another length", metadata={})
        kept.describe("staff", description="")
        kept.compact()
        for text in (b"Former", b"old 1"):
            assert not holding(tmp_path, text)


def test_a_collection_that_changes_too_fast_is_worth_trying_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_TRIES", 0)
    with opened(tmp_path) as kept:
        kept.create(new())
        with pytest.raises(StoreUnavailable, match="try again"):
            kept.search("staff", unit(1), Question())


@pytest.fixture
def store_of_many(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with opened(tmp_path) as kept:
        kept.create(new())
        kept.enrol("staff", [enrolment("a", [(f"f{i:03}", v) for i, v in enumerate(unit(200))])])
        yield kept


def test_a_page_of_an_export_is_bounded_by_faces_and_read_in_order(store_of_many: EmbeddedStore) -> None:
    with store_of_many._reading("staff") as (connection, state):
        assert find(connection, "staff") == state
        page = exported(connection, state, ("a", "f030"), 50)
        assert [face.id for _, face, _ in page] == [f"f{i:03}" for i in range(31, 81)]
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        exported(connection, state, ("", ""), 5)
        connection.set_trace_callback(None)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}").fetchall()
        assert not any("B-TREE" in row[3] for row in plan), plan
