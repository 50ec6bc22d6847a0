"""A folder that may not be written to: what is enrolled is found, nothing is written, and it is told."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import unwritable
from tests.search.galleries import enrolment, ids, many, new, opened, unit
from visage.errors import CollectionMissing, StoreUnavailable
from visage.search.base import Question
from visage.search.embedded import image, upkeep
from visage.search.embedded.ranking import compile_kernels
from visage.search.folder import is_writable

VECTORS = unit(40)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Before this process becomes nobody, who may not read what Python loads for it."""
    compile_kernels()


@pytest.fixture
def place() -> Iterator[Path]:
    with unwritable.folder() as folder:
        yield folder


def filled(folder: Path) -> None:
    with opened(folder) as kept:
        kept.create(new())
        kept.enrol("staff", many(VECTORS))
        kept._upkeep.fold(at_once=True)
        kept.forget("staff", "p7")
        kept.enrol("staff", many(unit(3, seed=5), "young-"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_everything_is_read_and_nothing_is_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_LOOK_EVERY", 0.02)
    folder = place / "galleries"
    filled(folder)
    before = contents(folder)
    with unwritable.only_read(place):
        assert not is_writable(folder)
        with opened(folder, compact_after=0.0) as kept:
            assert [c.name for c in kept.collections()] == ["staff"]
            assert kept.collection("staff").persons == 42
            assert ids(kept, VECTORS[3], top=1, where={"n": {"lt": 5}}) == ["p3"]
            assert "p7" not in ids(kept, VECTORS[7], top=100)
            assert ids(kept, unit(3, seed=5)[1], top=1) == ["young-p1"]
            assert kept.person("staff", "p3").metadata == {"n": 3} and len(kept.faces("staff", "p3")) == 1
            assert len(list(kept.export("staff"))) == 42
            for write in (
                lambda: kept.create(new("other")),
                lambda: kept.enrol("staff", [enrolment("x")]),
                lambda: kept.forget("staff", "p3"),
                lambda: kept.drop("staff"),
                kept.compact,
            ):
                with pytest.raises(StoreUnavailable, match="DATA_DIR is read-only") as refused:
                    write()
                assert not refused.value.lasting
            kept.check()
    assert contents(folder) == before


def test_a_file_that_is_missing_is_made_up_for_in_memory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_LEAST_TAIL", 4)  # so many would be folded into a file first
    folder = place / "galleries"
    filled(folder)
    for file in folder.glob("*.rows"):
        file.unlink()
    with unwritable.only_read(place), opened(folder) as kept:
        for _ in range(2):
            assert ids(kept, VECTORS[3], top=1) == ["p3"]
            assert len(ids(kept, VECTORS[7], top=100)) == 42
        assert not list(folder.glob("*.rows"))


def test_where_there_is_no_gallery_there_is_none(place: Path) -> None:
    for there in (place / "galleries", place):
        with unwritable.only_read(place), opened(there / "galleries") as kept:
            assert kept.collections() == []
            with pytest.raises(CollectionMissing):
                kept.search("staff", VECTORS[:1], Question())
            with pytest.raises(StoreUnavailable, match="DATA_DIR is read-only"):
                kept.create(new())
        assert list(place.iterdir()) == []


def test_it_is_written_to_again_as_soon_as_it_may_be(place: Path) -> None:
    folder = place / "galleries"
    with unwritable.only_read(place):
        store = opened(folder)
        kept = store.__enter__()
        assert kept.collections() == []
    kept.create(new())
    assert [c.name for c in kept.collections()] == ["staff"]
    kept.enrol("staff", many(VECTORS))
    assert ids(kept, VECTORS[3], top=1) == ["p3"]
    store.__exit__(None, None, None)


def test_what_another_process_writes_meanwhile_is_seen(place: Path) -> None:
    """Its own mount is read-only, the other's is not."""
    folder = place / "galleries"
    filled(folder)
    with unwritable.only_read(place):
        reading = opened(folder)
        kept = reading.__enter__()
        assert ids(kept, VECTORS[3], top=1) == ["p3"]
    with opened(folder) as writing:
        writing.enrol("staff", many(unit(2, seed=9), "new-"))
        with unwritable.only_read(place):
            assert ids(kept, unit(2, seed=9)[1], top=1) == ["new-p1"]
        writing.forget("staff", "p3")
    with unwritable.only_read(place):
        assert "p3" not in ids(kept, VECTORS[3], top=100)
        reading.__exit__(None, None, None)


@pytest.mark.parametrize("shared", [True, False])
def test_a_log_that_was_left_is_read_or_told_never_passed_over(place: Path, shared: bool) -> None:
    folder, left = place / "galleries", place / "left" / "galleries"
    with opened(folder) as kept:
        kept.create(new())
        kept.enrol("staff", many(VECTORS))
        shutil.copytree(folder, left)  # as a process that was killed leaves it
    if not shared:
        (left / "galleries.sqlite-shm").unlink()
    with unwritable.only_read(place):
        if shared:
            with opened(left) as kept:
                assert ids(kept, VECTORS[3], top=1) == ["p3"]
        else:
            with pytest.raises(StoreUnavailable, match="start once with DATA_DIR writable") as refused, opened(left):
                pass
            assert refused.value.lasting
