"""Deletions leave the files in about two minutes, whatever the clock did."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.search.galleries import holding, ids, many, new, opened, unit
from tests.support import wait_ready
from visage.search.embedded import upkeep
from visage.search.embedded.pending import Pending

DAY = 86_400.0
NOW = 1_700_000_000.0


class Removed:
    """The table, as far as it is asked here."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.connection.execute("CREATE TABLE removed (key INTEGER PRIMARY KEY, at REAL)")

    def add(self, *dates: float) -> None:
        self.connection.executemany("INSERT INTO removed (at) VALUES (?)", [(at,) for at in dates])

    def compacted(self, until: int) -> None:
        self.connection.execute("DELETE FROM removed WHERE key <= ?", (until,))

    def is_due(self, pending: Pending, *, wall: float, steady: float) -> bool:
        return pending.is_due(self.connection, wall=wall, steady=steady)


@pytest.fixture
def removed() -> Iterator[Removed]:
    table = Removed()
    yield table
    table.connection.close()


def test_one_that_the_clock_tells_rightly_is_due_after_its_wait(removed: Removed) -> None:
    pending = Pending(120)
    assert not removed.is_due(pending, wall=NOW, steady=0)
    removed.add(NOW)
    assert not removed.is_due(pending, wall=NOW, steady=0)
    assert not removed.is_due(pending, wall=NOW + 119, steady=119)
    assert removed.is_due(pending, wall=NOW + 120, steady=120)
    assert removed.is_due(Pending(120), wall=NOW + 120, steady=5)  # a process that started since


@pytest.mark.parametrize("ahead", [6.0, 3600.0, 400 * DAY])
def test_one_that_is_dated_later_than_now_is_due(removed: Removed, ahead: float) -> None:
    removed.add(NOW + ahead)
    assert removed.is_due(Pending(120), wall=NOW, steady=0)


@pytest.mark.parametrize("step", [-400 * DAY, -3600.0, -60.0, 60.0, 400 * DAY])
def test_a_clock_that_is_put_while_it_waits_delays_nothing(removed: Removed, step: float) -> None:
    pending = Pending(120)
    removed.add(NOW)
    removed.is_due(pending, wall=NOW, steady=1000)
    assert removed.is_due(pending, wall=NOW + step + 120, steady=1120)


def test_a_clock_that_is_put_back_again_and_again_delays_nothing(removed: Removed) -> None:
    pending = Pending(120)
    for second in range(0, 120, 15):
        removed.add(NOW + 1)  # somebody deletes all the time, and it is always the same moment
        assert not removed.is_due(pending, wall=NOW, steady=second)
    assert removed.is_due(pending, wall=NOW, steady=120)


def test_what_came_after_a_compaction_waits_by_itself(removed: Removed) -> None:
    pending = Pending(120)
    removed.add(NOW)
    removed.is_due(pending, wall=NOW, steady=0)
    removed.add(NOW + 100)
    removed.is_due(pending, wall=NOW + 100, steady=100)
    removed.compacted(1)
    assert not removed.is_due(pending, wall=NOW + 130, steady=130)
    assert removed.is_due(pending, wall=NOW, steady=220)
    removed.compacted(2)
    assert not removed.is_due(pending, wall=NOW + DAY, steady=500)


@pytest.mark.parametrize("off", [-400 * DAY, 400 * DAY])
@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_deleted_while_the_clock_was_wrong_leaves_the_files_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: float, restarted: bool
) -> None:
    monkeypatch.setattr(upkeep, "_LOOK_EVERY", 0.05)
    vectors = unit(20)
    mark = vectors[4].tobytes()
    with opened(tmp_path, compact_after=None if restarted else 1.0) as kept:
        kept.create(new())
        kept.enrol("staff", many(vectors))
        kept._upkeep.fold("staff", at_once=True)
        kept._writer.do(_forgetting_by_a_clock_that_is(off))
        kept.forget("staff", "p4")
        assert restarted is False or holding(tmp_path, mark)
        if not restarted:
            wait_ready(lambda: not holding(tmp_path, mark), 60)
    if restarted:
        with opened(tmp_path, compact_after=1.0) as kept:
            wait_ready(lambda: not holding(tmp_path, mark), 60)
            assert len(ids(kept, vectors[3], top=100)) == 19


def _forgetting_by_a_clock_that_is(off: float):  # type: ignore[no-untyped-def]
    def work(connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TRIGGER wrong AFTER INSERT ON removed BEGIN "
            f"UPDATE removed SET at = at + {off} WHERE key = new.key; END"
        )

    return work
