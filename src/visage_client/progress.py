"""How far a long call has come."""

import sys
import time
from collections.abc import Callable
from typing import TextIO, TypeAlias

Progress: TypeAlias = Callable[[int, int | None], object]
"""Told how many are done, and of how many, where that is known."""

_WIDTH = 30
_EVERY = 0.1  # seconds


class Bar:
    """A line on standard error that is written over; nothing where that is no terminal."""

    def __init__(self, label: str = "", *, out: TextIO | None = None) -> None:
        self._label = label
        self._out = sys.stderr if out is None else out
        self._shown = self._out.isatty()
        self._started = time.monotonic()
        self._told = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self._shown and (done == total or now - self._told >= _EVERY):
            self._told = now
            rate = done / max(now - self._started, 1e-9)
            end = "\n" if done == total else ""
            self._out.write(f"\r\x1b[K{self._label} {_bar(done, total)} {rate:.0f}/s{end}")
            self._out.flush()


def _bar(done: int, total: int | None) -> str:
    if not total:
        return str(done)
    filled = _WIDTH * min(done, total) // total
    return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total}"


def progress_of(wanted: Progress | bool, label: str) -> Progress:
    """True: a bar; False: nothing."""
    if callable(wanted):
        return wanted
    return Bar(label) if wanted else lambda _done, _total: None
