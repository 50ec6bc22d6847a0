"""Of the collections that are searched so much is held as may be, and what is in use is never broken."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.search.galleries import ids, many, new, opened, unit
from visage.search.embedded import searched
from visage.search.embedded.searched import Searched, Several

VECTORS = unit(12)


def fill(store, names):  # type: ignore[no-untyped-def]
    for name in names:
        store.create(new(name))
        store.enrol(name, many(VECTORS))


def test_what_was_searched_the_longest_ago_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched, "MOST_COLLECTIONS", 3)
    names = [f"c{i}" for i in range(8)]
    with opened(tmp_path) as kept:
        fill(kept, names)
        for name in names:
            assert ids(kept, VECTORS[5], "c0", top=1) == ["p5"]  # in use all the time
            assert ids(kept, VECTORS[2], name, top=1) == ["p2"]
        keys = {state.key for state in _states(kept)}
        assert len(kept._searched) == 3 and {key for key, _ in kept._searched.items()} <= keys
        held = {state.collection.name for state in _states(kept) if state.key in kept._searched}
        assert held == {"c0", "c6", "c7"}


def test_so_many_bytes_are_held_and_the_last_one_whatever_it_takes(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(6)]
    with opened(tmp_path, memory=3 * 12_000) as kept:
        fill(kept, names)
        for name in names:
            assert ids(kept, VECTORS[2], name, where={"n": {"gte": 1}}, top=1) == ["p2"]
        assert len(kept._searched) == 3
        assert kept._searched._bytes == sum(one.bytes for _, one in kept._searched.items()) <= 3 * 12_000
        kept._searched._most_bytes = 1
        assert ids(kept, VECTORS[3], "c0", top=1) == ["p3"]
        assert [state.collection.name for state in _states(kept) if state.key in kept._searched] == ["c0"]
        kept.drop("c0")
        assert len(kept._searched) == kept._searched._bytes == kept._searched._files == 0


def test_files_that_are_mapped_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched, "MOST_FILES", 2)
    names = [f"c{i}" for i in range(5)]
    with opened(tmp_path) as kept:
        fill(kept, names)
        kept._upkeep.fold(at_once=True)
        for name in names:
            assert ids(kept, VECTORS[2], name, top=1) == ["p2"]
        assert len(kept._searched) == kept._searched._files == 2


def test_a_collection_of_few_takes_little(tmp_path: Path) -> None:
    with opened(tmp_path) as kept:
        kept.create(new())
        kept.enrol("staff", many(VECTORS[:1]))
        assert ids(kept, VECTORS[0], top=1) == ["p0"]
        ((_, one),) = kept._searched.items()
        assert one.image.bytes <= 8 * (4 * VECTORS.shape[1] + 12)


def test_what_is_searched_is_not_let_go_and_dear_graphs_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched, "MOST_COLLECTIONS", 1)
    several = Several(tmp_path, 10**9)
    with several.using() as first:
        one = first.of(1)
        for key in range(2, 6):
            with several.using() as use:
                use.of(key)
        assert 1 in several and len(several) == 2 and first.of(1) is one
    with several.using() as use:
        use.of(9)
    assert [key for key, _ in several.items()] == [9]
    monkeypatch.setattr(Searched, "is_dear", property(lambda self: True))
    for key in (10, 11):
        with several.using() as use:
            use.of(key)
    assert [key for key, _ in several.items()] == [9, 10, 11]


def test_searches_of_many_collections_at_once_are_right_while_they_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searched, "MOST_COLLECTIONS", 2)
    names = [f"c{i}" for i in range(6)]
    with opened(tmp_path) as kept:
        fill(kept, names)
        kept._upkeep.fold("c1", at_once=True)
        stop = threading.Event()

        def disturb() -> None:
            while not stop.is_set():
                kept._let_go()
                kept.enrol("c3", [])

        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        try:
            with ThreadPoolExecutor(4) as pool:
                asked = [(names[i % 6], i % 12) for i in range(300)]
                found = list(pool.map(lambda one: ids(kept, VECTORS[one[1]], one[0], top=1), asked))
        finally:
            stop.set()
            disturbing.join()
        assert found == [[f"p{i}"] for _, i in asked]
        assert len(kept._searched) <= 2


def _states(store):  # type: ignore[no-untyped-def]
    from visage.search.embedded.records import states

    with store._readers.reading() as connection:
        return states(connection)
