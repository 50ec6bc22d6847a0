"""How long a caller waits."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from visage.errors import DeadlineExceeded

T = TypeVar("T")

# uvloop's timers count whole milliseconds and may ring almost two early: what is less than that is over.
_TICK = 0.002


class Deadline:
    """A point in time after which nobody wants the answer; `cancel` moves it to now.

    `request`: the id of the request that waits, as the log calls it.
    """

    def __init__(self, seconds: float, *, request: str = "") -> None:
        self.request = request
        self._seconds = seconds
        self._at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._waited_for: set[Future[Any]] = set()

    def left(self) -> float:
        """Seconds left. Raises DeadlineExceeded when there are none."""
        left = self._at - time.monotonic()
        if left <= _TICK:
            raise DeadlineExceeded(f"The request was not answered within {self._seconds:g} s", retry_after=5)
        return left

    def part(self) -> "Deadline":
        """The same point in time, cancelled for itself: for work after which the request goes on."""
        self.left()
        part = Deadline(self._seconds, request=self.request)
        part._at = self._at
        return part

    def cancel(self) -> None:
        """Nobody wants the answer any more: what is waited for and has not begun does not begin."""
        with self._lock:
            self._at = float("-inf")
            waited_for = tuple(self._waited_for)
        for future in waited_for:
            future.cancel()

    def wait(self, futures: Sequence[Future[T]]) -> list[T]:
        """The futures' results, in order; on a failure or too late the rest is cancelled."""
        with self._lock:
            self._waited_for.update(futures)
        try:
            return [future.result(timeout=self.left()) for future in futures]
        except (TimeoutError, CancelledError):
            self.left()
            raise
        finally:
            for future in futures:
                future.cancel()
            with self._lock:
                self._waited_for.difference_update(futures)
