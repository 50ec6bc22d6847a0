import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from visage.batching import Batcher
from visage.errors import InferenceFailed, Overloaded

HANG = 60  # seconds; only ever reached by a fault


class Gated:
    """A run function that waits for the test, and remembers its batches: each item doubled."""

    def __init__(self, open_: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self._gate = threading.Event()
        if open_:
            self._gate.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.release()
        assert self._gate.wait(HANG)
        return [2 * item for item in items]

    def open(self) -> None:
        self._gate.set()

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=HANG)


def results(futures: Sequence[Future[Any]]) -> list[Any]:
    return [future.result(HANG) for future in futures]


def test_an_idle_worker_takes_a_single_item_at_once() -> None:
    run = Gated(open_=True)
    with Batcher(run, name="double", max_batch=8) as batcher:
        assert results(batcher.submit([21])) == [42]
    assert run.batches == [[21]]


def test_callers_that_wait_are_joined_up_to_the_largest_batch() -> None:
    run = Gated()
    with Batcher(run, name="double", max_batch=3) as batcher:
        first = batcher.submit([0])
        run.wait_entered()
        later = [batcher.submit([i]) for i in range(1, 6)]
        assert batcher.waiting == 5
        run.open()
        assert results(first) == [0]
        assert [results(futures) for futures in later] == [[2], [4], [6], [8], [10]]
        assert batcher.waiting == 0
    assert run.batches == [[0], [1, 2, 3], [4, 5]]


def test_a_submission_larger_than_a_batch_is_split_and_answered_in_order() -> None:
    run = Gated(open_=True)
    with Batcher(run, name="double", max_batch=4) as batcher:
        assert results(batcher.submit(list(range(10)))) == [2 * i for i in range(10)]
    assert max(len(batch) for batch in run.batches) <= 4
    assert [item for batch in run.batches for item in batch] == list(range(10))


def test_kinds_never_share_a_batch_and_the_oldest_item_goes_first() -> None:
    run = Gated()
    with Batcher(run, name="double", max_batch=8, kind=lambda item: item % 2) as batcher:
        first = batcher.submit([100])
        run.wait_entered()
        rest = batcher.submit([1, 2, 3, 4, 5])
        run.open()
        assert results([*first, *rest]) == [200, 2, 4, 6, 8, 10]
    assert run.batches == [[100], [1, 3, 5], [2, 4]]


def test_a_failed_batch_fails_only_the_culprit() -> None:
    entered, gate = threading.Semaphore(0), threading.Event()

    def run(items: Sequence[int]) -> list[float]:
        entered.release()
        assert gate.wait(HANG)
        return [1 / item for item in items]

    with Batcher(run, name="inverse", max_batch=8) as batcher:
        first = batcher.submit([1])
        assert entered.acquire(timeout=HANG)
        good, bad, other = batcher.submit([2, 0, 4])
        gate.set()
        assert results([*first, good, other]) == [1.0, 0.5, 0.25]
        assert isinstance(bad.exception(HANG), ZeroDivisionError)
        assert results(batcher.submit([5])) == [0.2]  # the worker lives on


def test_a_run_that_answers_the_wrong_number_fails() -> None:
    with Batcher(lambda items: [0] * (len(items) + 1), name="miscounted") as batcher:
        error = batcher.submit([1])[0].exception(HANG)
    assert isinstance(error, InferenceFailed)
    assert str(error) == "miscounted gave 2 answers for 1 items"


def test_a_cancelled_caller_is_dropped_from_its_batch() -> None:
    run = Gated()
    with Batcher(run, name="double", max_batch=8) as batcher:
        first = batcher.submit([0])
        run.wait_entered()
        gone, stays = batcher.submit([1, 2])
        assert gone.cancel()
        run.open()
        assert results([*first, stays]) == [0, 4]
        with pytest.raises(CancelledError):
            gone.result(HANG)
    assert run.batches == [[0], [2]]


def test_a_queue_of_cancelled_callers_runs_nothing_and_harms_no_later_one() -> None:
    run = Gated()
    with Batcher(run, name="double", max_batch=8) as batcher:
        first = batcher.submit([0])
        run.wait_entered()
        assert all(future.cancel() for future in batcher.submit([1, 2, 3]))
        run.open()
        assert results(first) == [0]
        assert results(batcher.submit([4])) == [8]
    assert run.batches == [[0], [4]]


def test_what_is_already_running_cannot_be_cancelled() -> None:
    run = Gated()
    with Batcher(run, name="double") as batcher:
        (future,) = batcher.submit([1])
        run.wait_entered()
        assert not future.cancel()
        run.open()
        assert future.result(HANG) == 2


def test_a_full_queue_refuses_at_the_door_and_queues_nothing_of_that_submission() -> None:
    run = Gated()
    with Batcher(run, name="double", max_batch=8, max_waiting=3) as batcher:
        first = batcher.submit([0])
        run.wait_entered()
        waiting = batcher.submit([1, 2])
        with pytest.raises(Overloaded, match="double has 2 items waiting"):
            batcher.submit([3, 4])
        assert batcher.waiting == 2
        last = batcher.submit([5])  # room for one there is
        with pytest.raises(Overloaded):
            batcher.submit([6])
        run.open()
        assert results([*first, *waiting, *last]) == [0, 2, 4, 10]
    assert run.batches == [[0], [1, 2, 5]]


def test_closing_finishes_what_waits_and_takes_nothing_more() -> None:
    run = Gated()
    batcher = Batcher(run, name="double", max_batch=2, max_waiting=10**9)
    futures = batcher.submit([1, 2, 3, 4, 5])
    run.wait_entered()
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while True:  # closing has begun once submissions are refused
        try:
            futures += batcher.submit([6])
        except Overloaded as refused:
            assert "shutting down" in str(refused)
            break
        time.sleep(0.001)  # or there are very many where the other thread is held back
    run.open()
    closing.join(HANG)
    assert not closing.is_alive()
    assert all(future.done() for future in futures)
    assert results(futures)[:5] == [2, 4, 6, 8, 10]


def test_closing_an_idle_batcher_twice_is_no_harm() -> None:
    batcher = Batcher(Gated(open_=True), name="double", workers=2)
    batcher.close()
    batcher.close()
    with pytest.raises(Overloaded):
        batcher.submit([1])


def test_several_workers_run_at_the_same_time() -> None:
    together = threading.Barrier(3)

    def run(items: Sequence[int]) -> list[int]:
        together.wait(HANG)  # broken unless three are inside
        return list(items)

    with Batcher(run, name="three", max_batch=1, workers=3) as batcher:
        assert results(batcher.submit([1, 2, 3])) == [1, 2, 3]


def test_the_size_of_each_batch_is_reported() -> None:
    sizes: list[int] = []
    run = Gated()
    with Batcher(run, name="double", max_batch=4, observe=sizes.append) as batcher:
        first = batcher.submit([0])
        run.wait_entered()
        rest = batcher.submit([1, 2, 3])
        run.open()
        results([*first, *rest])
    assert sizes == [1, 3]


def test_how_many_wait_is_told_whenever_it_changes() -> None:
    run, told = Gated(), list[int]()
    with Batcher(run, name="double", max_batch=2, observe_waiting=told.append) as batcher:
        first = batcher.submit([0])
        run.wait_entered()
        more = batcher.submit([1, 2, 3])
        assert told == [1, 0, 3]
        run.open()
        assert results([*first, *more]) == [0, 2, 4, 6]
        assert batcher.call([9])[0].result(HANG) == 18  # nobody waits: nothing is to be told
    assert told == [1, 0, 3, 1, 0]


def test_an_empty_submission_has_no_answers() -> None:
    with Batcher(Gated(open_=True), name="double") as batcher:
        assert batcher.submit([]) == []


def test_an_idle_batchers_work_is_done_on_the_callers_own_thread() -> None:
    ran_on: list[int] = []

    def run(items: Sequence[int]) -> list[int]:
        ran_on.append(threading.get_ident())
        return [item + 1 for item in items]

    with Batcher(run, name="test", max_batch=4) as batcher:
        futures = batcher.call([1, 2])
        assert all(future.done() for future in futures)
        assert [future.result() for future in futures] == [2, 3]
        assert ran_on == [threading.get_ident()]


def test_while_a_caller_runs_its_own_batch_others_wait_and_are_joined() -> None:
    entered, leave = threading.Event(), threading.Event()
    sizes: list[int] = []

    def run(items: Sequence[int]) -> list[int]:
        if 0 in items:
            entered.set()
            assert leave.wait(HANG)
        sizes.append(len(items))
        return list(items)

    with Batcher(run, name="test", max_batch=4) as batcher:
        first = threading.Thread(target=lambda: batcher.call([0]))
        first.start()
        assert entered.wait(HANG)
        futures = [batcher.call([i])[0] for i in (1, 2, 3)]
        assert not any(future.done() for future in futures)
        assert batcher.waiting == 3
        leave.set()
        assert [future.result(HANG) for future in futures] == [1, 2, 3]
        first.join()
    assert sizes == [1, 3]


def test_a_call_that_fails_gives_its_error_to_its_future() -> None:
    def run(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ValueError("13")
        return list(items)

    with Batcher(run, name="test", max_batch=4) as batcher:
        good, bad = batcher.call([1, 13])
        assert good.result(HANG) == 1
        assert isinstance(bad.exception(HANG), ValueError)
        assert batcher.call([2])[0].result(HANG) == 2  # the place was given back


def test_a_call_of_mixed_kinds_or_too_many_items_is_queued() -> None:
    batches: list[list[int]] = []

    def run(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        return list(items)

    with Batcher(run, name="test", max_batch=2, kind=lambda item: item % 2) as batcher:
        for items in ([1, 2], [1, 3, 5]):
            assert [future.result(HANG) for future in batcher.call(items)] == items
    assert all(len(batch) <= 2 and len({item % 2 for item in batch}) == 1 for batch in batches)


def test_closing_waits_for_what_a_caller_runs_itself() -> None:
    entered, leave = threading.Event(), threading.Event()
    finished: list[int] = []

    def run(items: Sequence[int]) -> list[int]:
        entered.set()
        assert leave.wait(HANG)
        finished.extend(items)
        return list(items)

    batcher = Batcher(run, name="test")
    caller = threading.Thread(target=lambda: batcher.call([1]))
    caller.start()
    assert entered.wait(HANG)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    leave.set()
    closing.join(HANG)
    assert finished == [1]
    caller.join()
    with pytest.raises(Overloaded):
        batcher.call([2])


def test_what_is_submitted_apart_is_joined_with_nothing() -> None:
    run = Gated()
    with Batcher(run, name="t", max_batch=8) as batcher:
        futures = batcher.submit([0])
        run.wait_entered()  # it takes no more until all of these wait
        futures += [*batcher.submit([1]), *batcher.submit([2, 3], apart=True), *batcher.submit([4], apart=True)]
        futures += [*batcher.submit([5]), *batcher.submit([6])]
        run.open()
        assert results(futures) == [0, 2, 4, 6, 8, 10, 12]
    assert run.batches == [[0], [1, 5, 6], [2, 3], [4]]


def test_no_room_for_a_batch_is_no_room_for_each_and_is_not_asked_again() -> None:
    gate, sizes = threading.Event(), []

    def run(items: Sequence[int]) -> list[int]:
        gate.wait(HANG)
        sizes.append(len(items))
        raise Overloaded("no server answers")

    with Batcher(run, name="t", max_batch=8) as batcher:
        futures = batcher.submit([0, 1, 2, 3])
        gate.set()
        for future in futures:
            with pytest.raises(Overloaded, match="no server answers"):
                future.result(HANG)
    assert sum(sizes) == 4  # once each
