"""The store behind the routes: opened when it is first needed, used on threads only."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from visage.api.ahead import made_ahead
from visage.deadline import Deadline
from visage.errors import ConfigurationError, NotReady, StoreUnavailable
from visage.search.base import Store
from visage.search.places import check, is_begun, unwritable, warm_up

log = logging.getLogger(__name__)

T = TypeVar("T")

Opener = Callable[[str], Store]

_THREADS = 8
# Whether what cannot be used was mended is looked at no more often than that.
_LOOK_SECONDS = 2.0


class Galleries:
    """Lends the store at `where` to work on worker threads; the event loop only waits."""

    def __init__(self, where: str, opener: Opener) -> None:
        self._where = where
        self._opener = opener
        self._store: Store | None = None
        self._warming: Future[None] | None = None
        self._fault: StoreUnavailable | None = None
        self._looked = 0.0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="gallery")

    async def run(self, work: Callable[[Store], T], deadline: Deadline) -> T:
        """What `work` returns. Raises what it raises, StoreUnavailable and DeadlineExceeded; a write that was
        overtaken by its deadline may yet have happened.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: self._done(work))
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
            await asyncio.get_running_loop().run_in_executor(self._pool, lambda: self._done(check))
        except StoreUnavailable as error:  # it is said again to whoever asks; pictures are answered without it
            log.error("%s", error)
        if self._warming is not None:
            await asyncio.wrap_future(self._warming)

    async def hold_usable(self) -> None:
        """Raises NotReady where galleries are there that cannot be used until somebody mends them; whether that was
        done is looked at now and then.
        """
        if self._fault is not None and time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            await asyncio.get_running_loop().run_in_executor(self._pool, self._look)
        if self._fault is not None:
            raise NotReady(f"{str(self._fault)[:1].upper()}{str(self._fault)[1:]}", retry_after=self._fault.retry_after)

    async def warning(self) -> str:
        """What may be wrong and hinders nobody who only asks; else nothing."""
        return await asyncio.to_thread(lambda: unwritable(self._where))

    def stream(self, work: Callable[[Store], Iterator[T]]) -> AsyncGenerator[T, None]:
        """What `work` yields, made on a thread of its own: who takes it may be slow."""
        return made_ahead(lambda: self._streamed(work))

    def _streamed(self, work: Callable[[Store], Iterator[T]]) -> Iterator[T]:
        yield from self._done(work)

    def _done(self, work: Callable[[Store], T]) -> T:
        try:
            return work(self._opened())
        except StoreUnavailable as error:
            if error.lasting:
                self._fault = error
            raise

    def _look(self) -> None:
        if self._store is None and not is_begun(self._where):
            self._fault = None  # it was taken away
            return
        with suppress(StoreUnavailable):
            self._done(check)
            self._fault = None
            log.info("the galleries can be used again")

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
