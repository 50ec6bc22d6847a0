"""How long a download is given, and when it is tried again."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tenacity import AttemptManager, RetryCallState, Retrying, retry_if_exception_type

from visage.errors import DownloadFailed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download is given. Seconds; `slowest` in bytes a second over `window` seconds."""

    connect: float = 10.0
    silence: float = 30.0
    slowest: float = 2048.0
    window: float = 60.0
    attempts: int = 5
    unreached: int = 3  # attempts at a server that no connection comes about with
    first_pause: float = 1.0
    longest_pause: float = 60.0


class Interrupted(DownloadFailed):
    """A failure that may not last: worth another try, from where it broke off. `pause`: what the server asked for."""

    def __init__(self, detail: str, *, pause: float | None = None) -> None:
        super().__init__(detail)
        self.pause = pause


class Unreached(Interrupted):
    """No connection came about: no such name, nobody listening, no network."""


class TooSlow(Interrupted):
    """It came further, but so slowly that this does not count."""


class _Stuck:
    """Counts the tries since the download was last further than ever: a line that drops often still gets there."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._furthest = size()
        self.tries = 0

    def count(self, state: RetryCallState) -> None:
        size = self._size()
        further = size > self._furthest and not isinstance(_error(state), TooSlow)
        self.tries = 1 if further else self.tries + 1
        self._furthest = max(size, self._furthest)


def attempts(size: Callable[[], int], patience: Patience) -> Iterator[AttemptManager]:
    """Tries, each to be entered as a context, for as long as they end in `Interrupted` and may help.

    `size` tells how many bytes there are by now.
    """
    stuck = _Stuck(size)
    return iter(
        Retrying(
            retry=retry_if_exception_type(Interrupted),
            after=stuck.count,  # comes before `stop` and `wait`
            stop=lambda state: stuck.tries >= _most(state, patience),
            wait=lambda state: _pause(state, stuck.tries, patience),
            before_sleep=_say,
            reraise=True,
        )
    )


def _pause(state: RetryCallState, tries: int, patience: Patience) -> float:
    """As the server asked; else twice as long each time."""
    error = _error(state)
    asked = error.pause if isinstance(error, Interrupted) else None
    doubled = patience.first_pause * 2.0 ** (tries - 1)
    return min(patience.longest_pause, doubled if asked is None else asked)


def _most(state: RetryCallState, patience: Patience) -> int:
    return patience.unreached if isinstance(_error(state), Unreached) else patience.attempts


def _say(state: RetryCallState) -> None:
    pause = state.next_action.sleep if state.next_action else 0.0
    log.warning("download interrupted (%s); trying again in %.1f s", _error(state), pause)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
