import asyncio
import threading
from concurrent.futures import Future

import pytest
import uvloop

from visage.deadline import Deadline
from visage.errors import DeadlineExceeded


def answered(value: int) -> Future[int]:
    future: Future[int] = Future()
    future.set_result(value)
    return future


def failed(error: Exception) -> Future[int]:
    future: Future[int] = Future()
    future.set_exception(error)
    return future


def test_there_is_time_left_until_there_is_none() -> None:
    assert 0 < Deadline(100).left() <= 100
    with pytest.raises(DeadlineExceeded, match=r"not answered within 0 s") as refused:
        Deadline(0).left()
    assert refused.value.retry_after == 5


def test_a_cancelled_deadline_is_over_at_once() -> None:
    deadline = Deadline(100)
    deadline.cancel()
    with pytest.raises(DeadlineExceeded, match="within 100 s"):
        deadline.left()


def test_answers_come_in_the_order_of_their_futures() -> None:
    assert Deadline(100).wait([answered(2), answered(1), answered(3)]) == [2, 1, 3]
    assert Deadline(100).wait([]) == []


def test_an_answer_that_comes_later_is_waited_for() -> None:
    later: Future[int] = Future()
    threading.Timer(0.02, later.set_result, [7]).start()
    assert Deadline(100).wait([later]) == [7]


def test_when_time_is_over_what_still_waits_is_cancelled() -> None:
    futures: list[Future[int]] = [answered(1), Future(), Future()]
    with pytest.raises(DeadlineExceeded):
        Deadline(0.03).wait(futures)
    assert [future.cancelled() for future in futures] == [False, True, True]


def test_a_failure_is_raised_as_it_is_and_cancels_the_rest() -> None:
    rest: Future[int] = Future()
    with pytest.raises(ZeroDivisionError):
        Deadline(100).wait([failed(ZeroDivisionError()), rest])
    assert rest.cancelled()


def test_a_timeout_of_the_work_itself_is_not_taken_for_the_callers() -> None:
    with pytest.raises(TimeoutError) as raised:
        Deadline(100).wait([failed(TimeoutError("the disk"))])
    assert str(raised.value) == "the disk"


@pytest.mark.parametrize("seconds", [0.0234, 0.0254, 0.0264])
def test_a_timer_of_the_event_loop_never_rings_before_the_deadline_is_over(seconds: float) -> None:
    """uvloop counts whole milliseconds and rings early; a caller that then asks must be told that it is too late."""

    async def rung() -> bool:
        deadline = Deadline(seconds)
        try:
            left = deadline.left()
        except DeadlineExceeded:
            return False  # the machine was elsewhere all the while: nothing was waited for
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(left):
                await asyncio.Event().wait()
        with pytest.raises(DeadlineExceeded):
            deadline.left()
        return True

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rounds = [runner.run(rung()) for _ in range(20)]
    assert any(rounds)


def test_who_hangs_up_wakes_the_thread_that_waits_and_what_has_not_begun_does_not_begin() -> None:
    deadline, waiting = Deadline(100), threading.Event()

    class Awaited(Future[int]):
        def result(self, timeout: float | None = None) -> int:
            waiting.set()
            return super().result(timeout)

    begun: Future[int] = Future()
    begun.set_running_or_notify_cancel()
    queued = Awaited()
    told: list[type[BaseException]] = []

    def wait() -> None:
        try:
            deadline.wait([queued, begun])
        except DeadlineExceeded as error:
            told.append(type(error))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert waiting.wait(30)
    deadline.cancel()
    thread.join(60)

    assert told == [DeadlineExceeded]
    assert queued.cancelled() and not begun.cancelled()
