"""What is made on a thread, a few pieces ahead of who takes them on the event loop."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from queue import Full, Queue
from typing import Generic, TypeVar

T = TypeVar("T")

_PIECES = 4
_LOOK = 0.25  # seconds between two looks whether anybody still wants them


async def made_ahead(make: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """What `make` yields. When it is closed it waits for the thread to leave."""
    ahead = _Ahead(make)
    try:
        while (piece := await ahead.take()) is not None:
            yield piece[0]
    finally:
        await ahead.aclose()


class _Ahead(Generic[T]):
    def __init__(self, make: Callable[[], Iterator[T]]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._pieces: Queue[tuple[T] | BaseException | None] = Queue(_PIECES)
        self._arrived = asyncio.Event()
        self._unwanted = threading.Event()
        self._ended = self._loop.create_future()
        threading.Thread(target=self._run, name="ahead", daemon=True).start()

    async def take(self) -> tuple[T] | None:
        """The next piece; None at the end. Raises what the making raised."""
        while self._pieces.empty():
            self._arrived.clear()
            if self._pieces.empty():
                await self._arrived.wait()
        piece = self._pieces.get_nowait()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    async def aclose(self) -> None:
        self._unwanted.set()
        await asyncio.shield(self._ended)

    def _run(self) -> None:
        try:
            for piece in self._make():
                if not self._put((piece,)):
                    return
            self._put(None)
        except Exception as exc:  # whatever it is, it is raised again where the pieces are taken
            self._put(exc)
        finally:
            self._loop.call_soon_threadsafe(self._ended.set_result, None)

    def _put(self, piece: tuple[T] | BaseException | None) -> bool:
        """Whether it is still wanted."""
        while not self._unwanted.is_set():
            try:
                self._pieces.put(piece, timeout=_LOOK)
            except Full:
                continue
            self._loop.call_soon_threadsafe(self._arrived.set)
            return True
        return False
