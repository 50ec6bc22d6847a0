import asyncio
import logging
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop

from visage.deadline import Deadline
from visage.errors import DeadlineExceeded, GraphRejected, ModelUnavailable, Overloaded
from visage.slot import Slot

HANG = 60  # seconds; only ever reached by a fault


def later() -> Deadline:
    return Deadline(HANG)


def in_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on the event loop that the service is served with."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


class Thing:
    """What a slot holds."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.open = True


class Store:
    """Opens things one after the other: each waits for the gate, and fails where a failure is put down for it."""

    def __init__(self) -> None:
        self.things: list[Thing] = []
        self.threads: set[int] = set()
        self.failures: list[Exception] = []
        self.opening = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.closing = threading.Event()
        self.closing.set()

    @contextmanager
    def opener(self) -> Iterator[Thing]:
        self.threads.add(threading.get_ident())
        self.opening.release()
        assert self.gate.wait(HANG)
        if self.failures:
            raise self.failures.pop()
        thing = Thing(len(self.things))
        self.things.append(thing)
        yield thing
        self.threads.add(threading.get_ident())
        assert self.closing.wait(HANG)
        thing.open = False


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def slot_of(store: Store, clock: Clock | None = None, idle: float = 10.0) -> Slot[Thing]:
    slot = Slot("thing", store.opener, idle=idle, clock=clock or Clock())
    assert store.opening.acquire(timeout=HANG)  # that of the start
    return slot


async def rested(slot: Slot[Thing], clock: Clock) -> None:
    clock.now += 10
    await slot.rest()
    assert slot.held is None


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG):
        while not true():
            await asyncio.sleep(0.001)


async def used(slot: Slot[Thing], deadline: Deadline | None = None) -> int:
    async with slot.lent(deadline or later()) as thing:
        assert thing.open
        return thing.number


# open from the start


def test_it_is_open_from_the_start_and_stays_so_for_all_who_come() -> None:
    store = Store()
    slot = slot_of(store)

    async def work() -> None:
        assert [await used(slot) for _ in range(3)] == [0, 0, 0]
        await slot.aclose()

    in_loop(work)
    assert len(store.things) == 1 and not store.things[0].open


def test_what_cannot_be_opened_at_the_start_is_no_slot() -> None:
    store = Store()
    store.failures.append(GraphRejected("no network"))
    with pytest.raises(GraphRejected, match="no network"):
        Slot("thing", store.opener)


# rest


@pytest.mark.parametrize(("idle", "passed", "open_still"), [(10, 9.9, True), (10, 10, False), (0, 1e9, True)])
def test_it_is_closed_when_it_was_not_used_for_long_enough(idle: float, passed: float, open_still: bool) -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock, idle)

    async def work() -> None:
        clock.now += passed
        await slot.rest()
        assert (slot.held is not None) == store.things[0].open == open_still
        await slot.aclose()

    in_loop(work)


def test_each_use_puts_the_rest_off() -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        for _ in range(5):
            clock.now += 9
            await slot.rest()
            assert await used(slot) == 0
        await rested(slot, clock)
        await slot.aclose()

    in_loop(work)


def test_it_is_never_closed_while_anybody_has_it() -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        async with slot.lent(later()):
            async with slot.lent(later()):
                clock.now += 1000
            clock.now += 1000
            await slot.rest()
            assert slot.held is not None and store.things[0].open
        await slot.rest()  # used just now, until the second left
        assert store.things[0].open
        await rested(slot, clock)
        assert not store.things[0].open
        await slot.aclose()

    in_loop(work)


def test_one_who_failed_has_left() -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        with pytest.raises(ValueError, match="mine"):
            async with slot.lent(later()):
                raise ValueError("mine")
        await rested(slot, clock)
        await slot.aclose()

    in_loop(work)


def test_what_closes_badly_is_opened_again_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    store, clock = Store(), Clock()

    @contextmanager
    def opener() -> Iterator[Thing]:
        with store.opener() as thing:
            yield thing
        if thing.number == 0:
            raise OSError("stuck")

    slot = Slot("thing", opener, idle=10, clock=clock)

    async def work() -> None:
        await rested(slot, clock)
        assert await used(slot) == 1
        await slot.aclose()

    in_loop(work)
    assert "thing did not close cleanly" in caplog.text and "stuck" in caplog.text


# open again


def test_many_who_need_it_at_once_wait_for_one_opening() -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        await rested(slot, clock)
        store.gate.clear()
        tasks = [asyncio.create_task(used(slot)) for _ in range(20)]
        await until(lambda: store.opening.acquire(blocking=False))
        await asyncio.sleep(0.02)  # the loop goes on while it is opened, and nobody else has begun to
        assert not store.opening.acquire(blocking=False) and not any(task.done() for task in tasks)
        store.gate.set()
        assert await asyncio.gather(*tasks) == [1] * 20
        await slot.aclose()

    in_loop(work)
    assert len(store.things) == 2


def test_it_is_opened_and_closed_on_threads_and_each_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "visage")
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)
    store.threads.clear()

    async def work() -> None:
        await rested(slot, clock)
        await used(slot)
        await rested(slot, clock)
        await slot.aclose()
        assert threading.get_ident() not in store.threads and store.threads

    in_loop(work)
    said = [record.getMessage() for record in caplog.records if record.name == "visage.slot"]
    assert len(said) == 3
    assert re.fullmatch(r"thing was not used for 10 s: unloaded, \d+\.\d\d s", said[0])
    assert re.fullmatch(r"thing loaded again, \d+\.\d\d s", said[1])


def test_memory_is_given_back_after_both(monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)
    seen: list[list[bool]] = []
    monkeypatch.setattr("visage.slot.give_back", lambda: seen.append([thing.open for thing in store.things]))

    async def work() -> None:
        await rested(slot, clock)
        await used(slot)
        assert seen == [[False], [False, True]]
        await slot.aclose()

    in_loop(work)


@pytest.mark.parametrize("failure", [GraphRejected("the file is broken"), MemoryError("none left")])
def test_a_failed_opening_fails_all_who_wait_and_the_next_one_tries_again(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        await rested(slot, clock)
        store.gate.clear()
        store.failures.append(failure)
        tasks = [asyncio.create_task(used(slot)) for _ in range(5)]
        await until(lambda: store.opening.acquire(blocking=False))
        store.gate.set()
        for answer in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(answer, ModelUnavailable)
            assert str(answer) == "thing could not be loaded again; the service's log says why"
            assert answer.__cause__ is failure
        assert len(store.things) == 1
        assert await used(slot) == 1
        await slot.aclose()

    in_loop(work)
    assert f"thing could not be loaded again: {failure}" in caplog.text
    assert ("Traceback" in caplog.text) == (not isinstance(failure, GraphRejected))


def test_one_whose_deadline_passes_leaves_and_the_opening_goes_on_for_the_others() -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        await rested(slot, clock)
        store.gate.clear()
        patient = asyncio.create_task(used(slot))
        with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
            await used(slot, Deadline(0.05))
        assert not patient.done()
        store.gate.set()
        assert await patient == 1
        await rested(slot, clock)  # who left is not counted among its users
        await slot.aclose()

    in_loop(work)


def test_one_who_comes_too_late_opens_nothing() -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        await rested(slot, clock)
        gone = later()
        gone.cancel()
        with pytest.raises(DeadlineExceeded):
            await used(slot, gone)
        await asyncio.sleep(0.01)
        assert len(store.things) == 1
        await slot.aclose()

    in_loop(work)


def test_the_one_who_began_the_opening_may_leave() -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        await rested(slot, clock)
        store.gate.clear()
        first = asyncio.create_task(used(slot))
        await until(lambda: store.opening.acquire(blocking=False))
        second = asyncio.create_task(used(slot))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        store.gate.set()
        assert first.cancelled() and await second == 1
        await slot.aclose()

    in_loop(work)


def test_one_who_comes_while_it_is_closed_waits_and_gets_a_new_one() -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        clock.now += 10
        store.closing.clear()
        resting = asyncio.create_task(slot.rest())
        await asyncio.sleep(0.01)
        wanting = asyncio.create_task(used(slot))
        await asyncio.sleep(0.01)
        assert not wanting.done() and len(store.things) == 1
        store.closing.set()
        assert await wanting == 1
        await resting
        assert [thing.open for thing in store.things] == [False, True]
        await slot.aclose()

    in_loop(work)


# the end


def test_after_its_end_it_is_not_opened_again() -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        await slot.aclose()
        with pytest.raises(Overloaded, match="thing is shutting down"):
            await used(slot)
        await slot.rest()

    in_loop(work)
    assert len(store.things) == 1


def test_what_is_being_opened_when_the_end_comes_is_closed_too() -> None:
    store, clock = Store(), Clock()
    slot = slot_of(store, clock)

    async def work() -> None:
        await rested(slot, clock)
        store.gate.clear()
        wanting = asyncio.create_task(used(slot))
        await until(lambda: store.opening.acquire(blocking=False))
        wanting.cancel()
        ending = asyncio.create_task(slot.aclose())
        await asyncio.sleep(0.01)
        assert not ending.done()
        store.gate.set()
        await ending
        assert [thing.open for thing in store.things] == [False, False]

    in_loop(work)
