import multiprocessing
import time
from pathlib import Path

import pytest

from visage.access.rates import Buckets

SECOND = 10**9


class Clock:
    now = 1000 * SECOND

    def __call__(self) -> int:
        return self.now


def test_a_bucket_holds_a_minutes_requests_and_fills_up_evenly(tmp_path: Path) -> None:
    clock = Clock()
    buckets = Buckets(tmp_path / "rates", clock=clock)
    assert [buckets.take("k1", 3) for _ in range(4)] == [0, 0, 0, 20]
    clock.now += 19 * SECOND
    assert buckets.take("k1", 3) == 1
    clock.now += 1 * SECOND
    assert [buckets.take("k1", 3) for _ in range(2)] == [0, 20]
    clock.now += 3600 * SECOND
    assert [buckets.take("k1", 3) > 0 for _ in range(4)] == [False, False, False, True]
    buckets.close()


def test_each_key_has_a_bucket_of_its_own(tmp_path: Path) -> None:
    buckets = Buckets(tmp_path, clock=Clock())
    assert [buckets.take(key, 1) for key in ("k1", "k2", "k1")] == [0, 0, 60]
    buckets.close()


def test_a_refused_request_costs_nothing(tmp_path: Path) -> None:
    clock = Clock()
    buckets = Buckets(tmp_path, clock=clock)
    buckets.take("k1", 1)
    waits = []
    for _ in range(6):
        waits.append(buckets.take("k1", 1))
        clock.now += 10 * SECOND
    assert waits == [60, 50, 40, 30, 20, 10]
    assert buckets.take("k1", 1) == 0
    buckets.close()


def test_after_a_restart_of_the_machine_the_clock_is_behind_and_the_bucket_full(tmp_path: Path) -> None:
    clock = Clock()
    buckets = Buckets(tmp_path, clock=clock)
    assert [buckets.take("k1", 1), buckets.take("k1", 1)] == [0, 60]
    clock.now = 5 * SECOND
    assert buckets.take("k1", 1) == 0
    buckets.close()


def _taken(folder: Path, wanted: int, taken: "multiprocessing.Queue[int]") -> None:
    buckets = Buckets(folder)
    taken.put(sum(buckets.take("k1", 100) == 0 for _ in range(wanted)))


def test_processes_share_a_bucket(tmp_path: Path) -> None:
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    taken = context.Queue()
    workers = [context.Process(target=_taken, args=(tmp_path, 200, taken)) for _ in range(3)]
    for worker in workers:
        worker.start()
    total = sum(taken.get(timeout=200) for _ in workers)
    for worker in workers:
        worker.join(60)
    # A minute's worth, and what came in the seconds that starting took, however many these were.
    came = 100 * (time.monotonic() - started) / 60
    assert 100 <= total <= 101 + came


def test_where_no_file_can_be_kept_a_process_has_buckets_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    clock = Clock()
    buckets = Buckets(tmp_path / "file" / "rates", clock=clock)
    assert [buckets.take("k", 2) == 0 for _ in range(3)] == [True, True, False]
    assert buckets.take("other", 1) == 0
    assert "each process's own" in caplog.text
    buckets.close()
