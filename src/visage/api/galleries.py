"""The store behind the routes: opened when it is first needed, used on threads only."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from visage.api.ahead import made_ahead
from visage.deadline import Deadline
from visage.errors import ConfigurationError, StoreUnavailable
from visage.search.base import Store
from visage.search.places import is_begun, warm_up

log = logging.getLogger(__name__)

T = TypeVar("T")

Opener = Callable[[str], Store]

_THREADS = 8


class Galleries:
    """Lends the store at `where` to work on worker threads; the event loop only waits."""

    def __init__(self, where: str, opener: Opener) -> None:
        self._where = where
        self._opener = opener
        self._store: Store | None = None
        self._warming: Future[None] | None = None
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="gallery")

    async def run(self, work: Callable[[Store], T], deadline: Deadline) -> T:
        """What `work` returns. Raises what it raises, StoreUnavailable and DeadlineExceeded; a write that was
        overtaken by its deadline may yet have happened.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(self._opened()))
        try:
            async with asyncio.timeout(deadline.left()):
                return await future
        except TimeoutError:
            deadline.left()
            raise

    async def warm_up(self) -> None:
        """Make the first search in galleries that are here already as quick as the second."""
        if not is_begun(self._where):
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._opened)
        except StoreUnavailable as error:  # it is said again to whoever asks; pictures are answered without it
            log.warning("%s", error)
        if self._warming is not None:
            await asyncio.wrap_future(self._warming)

    def stream(self, work: Callable[[Store], Iterator[T]]) -> AsyncGenerator[T, None]:
        """What `work` yields, made on a thread of its own: who takes it may be slow."""
        return made_ahead(lambda: work(self._opened()))

    def _opened(self) -> Store:
        with self._lock:
            if self._store is None:
                try:
                    self._store = self._opener(self._where)
                    self._warming = self._pool.submit(warm_up, self._store)  # while the first persons are enrolled
                except ConfigurationError as error:
                    raise StoreUnavailable(str(error), retry_after=60) from error
            return self._store

    async def aclose(self) -> None:
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)
        if self._store is not None:
            await asyncio.to_thread(self._store.close)
            self._store = None
