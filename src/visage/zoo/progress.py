"""What long work shows while it lasts: a bar where a person looks on, a line now and then where a log is kept."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

log = logging.getLogger(__name__)

_LINE_EVERY = 10.0  # seconds


class Meter(Protocol):
    """Told how far something has come: `done` of `total` bytes, whose number may be unknown."""

    def __call__(self, done: int, total: int | None, /) -> None: ...


@contextmanager
def metered(what: str) -> Iterator[Meter]:
    """A meter for `what` on standard error."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        yield _Lines(what)


class _Lines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + _LINE_EVERY

    def __call__(self, done: int, total: int | None, /) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LINE_EVERY
        of = f" of {total / 1e6:.1f} MB ({100 * done / total:.0f} %)" if total else " MB"
        log.info("%s: %.1f%s", self._what, done / 1e6, of)
