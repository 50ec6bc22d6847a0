import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from visage.batching import Batcher

HANG = 60  # seconds; only ever reached by a fault

submissions = st.lists(st.lists(st.integers(0, 10_000), max_size=9), min_size=1, max_size=8)


class Poisoned(Exception):
    pass


@settings(deadline=None, max_examples=60)
@given(
    callers=st.lists(submissions, min_size=1, max_size=6),
    max_batch=st.integers(1, 7),
    workers=st.integers(1, 4),
    kinds=st.integers(1, 3),
    poison=st.sampled_from([0, 5, 50]),
)
def test_every_caller_gets_exactly_its_own_answers(
    callers: list[list[list[int]]], max_batch: int, workers: int, kinds: int, poison: int
) -> None:
    """Items that `poison` divides fail the run they are in; the answer to any other is its square."""
    lock = threading.Lock()
    seen: list[list[int]] = []

    def bad(item: int) -> bool:
        return poison > 0 and item % poison == 0

    def run(items: Sequence[int]) -> list[int]:
        with lock:
            seen.append(list(items))
        if any(map(bad, items)):
            raise Poisoned
        return [item * item for item in items]

    start = threading.Barrier(len(callers))

    def call(work: list[list[int]]) -> None:
        start.wait(HANG)
        pending = [(items, batcher.submit(items)) for items in work]
        for items, futures in pending:
            assert len(futures) == len(items)
            for item, future in zip(items, futures, strict=True):
                error = future.exception(HANG)
                assert isinstance(error, Poisoned) if bad(item) else (error, future.result()) == (None, item * item)

    with (
        Batcher(run, name="square", max_batch=max_batch, workers=workers, kind=lambda item: item % kinds) as batcher,
        ThreadPoolExecutor(len(callers)) as pool,
    ):
        for finished in [pool.submit(call, work) for work in callers]:
            finished.result(HANG)
        assert batcher.waiting == 0
    assert all(len(batch) <= max_batch for batch in seen)
    assert all(len({item % kinds for item in batch}) == 1 for batch in seen)
    good = sorted(item for work in callers for items in work for item in items if not bad(item))
    assert sorted(item for batch in seen if not any(map(bad, batch)) for item in batch) == good


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 6))
def test_whoever_leaves_before_a_worker_is_free_is_never_run_and_all_others_are(leaves: list[bool], size: int) -> None:
    entered, gate = threading.Event(), threading.Event()
    seen: list[int] = []

    def run(items: Sequence[int]) -> list[int]:
        entered.set()
        assert gate.wait(HANG)
        seen.extend(items)
        return list(items)

    with Batcher(run, name="echo", max_batch=size) as batcher:
        batcher.submit([-1])
        assert entered.wait(HANG)
        futures = batcher.submit(range(len(leaves)))
        for future, gone in zip(futures, leaves, strict=True):
            assert not gone or future.cancel()
        gate.set()
        stayed = [i for i, gone in enumerate(leaves) if not gone]
        assert [futures[i].result(HANG) for i in stayed] == stayed
    assert seen == [-1, *stayed]
