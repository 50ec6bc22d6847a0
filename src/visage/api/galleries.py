"""The store behind the routes: opened when it is first needed, used on threads only."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Full, Queue
from typing import TypeVar

from visage.deadline import Deadline
from visage.errors import ConfigurationError, StoreUnavailable
from visage.search.base import Store

T = TypeVar("T")

Opener = Callable[[str], Store]

_THREADS = 8
_AHEAD = 4  # pieces of a long answer that are made before the caller takes them
_LOOK = 0.25  # seconds between two looks whether anybody still wants it


class Galleries:
    """Lends the store at `where` to work on worker threads; the event loop only waits."""

    def __init__(self, where: str, opener: Opener) -> None:
        self._where = where
        self._opener = opener
        self._store: Store | None = None
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

    async def stream(self, work: Callable[[Store], Iterator[T]]) -> AsyncIterator[T]:
        """What `work` yields, made on a thread of its own, and never far ahead of whom it is for, who may be slow."""
        pieces: Queue[T | BaseException | None] = Queue(_AHEAD)
        unwanted, arrived = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def put(piece: T | BaseException | None) -> bool:
            while not unwanted.is_set():
                try:
                    pieces.put(piece, timeout=_LOOK)
                except Full:
                    continue
                loop.call_soon_threadsafe(arrived.set)
                return True
            return False

        def make() -> None:
            try:
                if all(put(piece) for piece in work(self._opened())):
                    put(None)
            except Exception as exc:  # whatever it is, it is raised again where it is waited for
                put(exc)
            finally:
                loop.call_soon_threadsafe(ended.set_result, None)

        threading.Thread(target=make, name="gallery-stream", daemon=True).start()
        try:
            while True:
                while pieces.empty():
                    arrived.clear()
                    if pieces.empty():
                        await arrived.wait()
                piece = pieces.get_nowait()
                if piece is None:
                    return
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            unwanted.set()
            await asyncio.shield(ended)

    def _opened(self) -> Store:
        with self._lock:
            if self._store is None:
                try:
                    self._store = self._opener(self._where)
                except ConfigurationError as error:
                    raise StoreUnavailable(str(error), retry_after=60) from error
            return self._store

    async def aclose(self) -> None:
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)
        if self._store is not None:
            await asyncio.to_thread(self._store.close)
            self._store = None
