"""Giving memory back: what a burst of requests took does not stay taken."""

import ctypes
import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

# mallopt(3): how many pools of memory the threads share; one a thread is glibc's habit, and none ever shrinks.
_M_ARENA_MAX = -8
_ARENAS = 2

_KEEPERS: list[Callable[[], None]] = []


def use_few_arenas() -> None:
    """Let all threads share two pools. To be called before there are threads; does nothing without glibc."""
    _glibc("mallopt", _M_ARENA_MAX, _ARENAS)


def keeps_memory(let_go: Callable[[], None]) -> None:
    """`let_go` is called by `give_back`: what keeps memory of its own returns what it does not need."""
    _KEEPERS.append(let_go)


def give_back() -> None:
    """Return free memory to the system: loading a network leaves as much as its file behind, a burst far more."""
    for let_go in _KEEPERS:
        let_go()
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    try:
        getattr(ctypes.CDLL(None), function)(*arguments)
    except (OSError, AttributeError):
        log.debug("%s is not to be had here", function)
