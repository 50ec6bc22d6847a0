"""Who runs on which cores: all of them for one picture alone, one each where several are worked on.

Two runs on one core each get more done than one run on two after the other (measured 1.1–1.5×: parts of a network do
not divide), but a caller who is alone is answered sooner by all cores (1.3–1.8×). So every network is opened twice, and
each run takes the form that suits what else is going on.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

from visage.backends.base import ModelFile, OpenSession, Session, Sizes
from visage.errors import VisageError
from visage.faces import Floats, Pixels

# Work of a millisecond is not worth more threads.
_MOST_PARTS = 4


class Load:
    """How many runs are wanted at once in this process, and how many `cores` there are for them."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self._lock = threading.Lock()
        self._wanted = 0
        # Threads are made when the first is wanted.
        self._pool = ThreadPoolExecutor(min(cores, _MOST_PARTS), thread_name_prefix="part")

    @property
    def shared(self) -> bool:
        """Whether more than one run is wanted now."""
        return self._wanted > 1

    @contextmanager
    def picture(self) -> Iterator[None]:
        """One picture is worked on: its networks want one run at a time."""
        with self._lock:
            self._wanted += 1
        try:
            yield
        finally:
            with self._lock:
                self._wanted -= 1

    def spread(self, work: Callable[[int, int], None], length: int) -> None:
        """`work(start, stop)` for all of 0…length: in parts side by side where nobody else wants the cores."""
        parts = 1 if self.shared else min(self.cores, _MOST_PARTS, length)
        if parts <= 1:
            work(0, length)
            return
        edges = [length * part // parts for part in range(parts + 1)]
        others = [self._pool.submit(work, *edges[part : part + 2]) for part in range(1, parts)]
        try:
            work(*edges[:2])
        finally:
            wait(others)
        for other in others:
            other.result()

    def close(self) -> None:
        self._pool.shutdown()

    @contextmanager
    def spare(self) -> Iterator[Callable[[], int]]:
        """For a picture with work for several cores: what is yielded takes those that nobody else wants now, gives
        back those that somebody does, and tells how many it has besides the picture's own.
        """
        held = 0

        def adjust() -> int:
            nonlocal held
            with self._lock:
                others = self._wanted - held
                self._wanted, held = self._wanted - held, max(0, self.cores - max(1, others))
                self._wanted += held
            return held

        try:
            yield adjust
        finally:
            with self._lock:
                self._wanted -= held


class ElasticSession:
    """One network in two forms: `wide` on all cores, `narrow` on one, of which several run side by side."""

    def __init__(self, wide: Session, narrow: Session, load: Load) -> None:
        self._wide = wide
        self._narrow = narrow
        self._load = load
        self.sizes: Sizes = wide.sizes
        self.max_batch: int = wide.max_batch
        self.streams: int = wide.streams

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        return (self._narrow if self._load.shared else self._wide).run(pixels)

    def close(self) -> None:
        self._wide.close()
        self._narrow.close()


def elastic(open_session: OpenSession, load: Load) -> OpenSession:
    """As `open_session`, but a file that is to run on several cores here is opened for one core as well."""

    def opened(model: ModelFile, /) -> Session:
        wide = open_session(model)
        if model.threads <= 1 or load.cores <= 1 or wide.streams:
            return wide
        try:
            return ElasticSession(wide, open_session(replace(model, threads=1)), load)
        except VisageError:
            wide.close()
            raise

    return opened
