"""How long a caller waits."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TypeVar

from visage.errors import DeadlineExceeded

T = TypeVar("T")

# uvloop's timers count whole milliseconds and may ring almost two early: what is less than that is over.
_TICK = 0.002


class Deadline:
    """A point in time after which nobody wants the answer; `cancel` moves it to now."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises DeadlineExceeded when there are none."""
        left = self._at - time.monotonic()
        if left <= _TICK:
            raise DeadlineExceeded(f"The request was not answered within {self._seconds:g} s", retry_after=5)
        return left

    def cancel(self) -> None:
        self._at = float("-inf")

    def wait(self, futures: Sequence[Future[T]]) -> list[T]:
        """The futures' results, in order; on a failure or too late the rest is cancelled."""
        try:
            return [future.result(timeout=self.left()) for future in futures]
        except TimeoutError:
            self.left()
            raise
        finally:
            for future in futures:
                future.cancel()
