"""What is costly to hold: opened once for all who need it, closed when nobody has needed it for long.

Knows nothing of networks. Opening and closing run on threads; all else happens on one event loop and needs no lock.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from typing import Any, Generic, TypeVar

from visage.deadline import Deadline
from visage.errors import ModelUnavailable, Overloaded, VisageError
from visage.memory import give_back

T = TypeVar("T")

log = logging.getLogger(__name__)


class Slot(Generic[T]):
    """Holds what `opener`'s context gives, from the start, and lends it.

    After `idle` seconds (0: never) in which nobody had it `rest` closes it; who needs it next opens it again, and
    those who come meanwhile wait for that one opening.
    """

    def __init__(
        self,
        name: str,
        opener: Callable[[], AbstractContextManager[T]],
        *,
        idle: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._opener = opener
        self._idle = idle
        self._clock = clock
        self._context = ExitStack()
        self._held: T | None = self._context.enter_context(opener())
        self._users = 0
        self._used = clock()
        self._change: asyncio.Task[Exception | None] | None = None  # an opening or a closing under way
        self._ended = False

    @property
    def held(self) -> T | None:
        """What is open now, for a look; None while it rests. Only who was lent it may use it."""
        return self._held

    @asynccontextmanager
    async def lent(self, deadline: Deadline) -> AsyncIterator[T]:
        """It, open, for as long as the context lasts: until then it is not closed.

        Raises DeadlineExceeded, and ModelUnavailable where it cannot be opened again; the next call tries anew.
        """
        self._users += 1
        try:
            yield await self._open(deadline)
        finally:
            self._users -= 1
            self._used = self._clock()

    async def rest(self) -> None:
        """Close it if it has been idle for long enough."""
        busy = self._held is None or self._users or self._ended
        if busy or not self._idle or self._clock() - self._used < self._idle:
            return
        self._held = None  # nobody is lent it from here on
        await asyncio.wait({self._begin(self._unload())})

    async def aclose(self) -> None:
        """Close it for good, when its users have left."""
        self._ended = True
        if self._change is not None:
            await asyncio.wait({self._change})
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """`aclose` where no event loop ever was."""
        self._ended, self._held = True, None
        self._context.close()

    async def _open(self, deadline: Deadline) -> T:
        while self._held is None:
            left = deadline.left()
            if self._ended:
                raise Overloaded(f"{self.name} is shutting down")
            change = self._change or self._begin(self._load())
            await asyncio.wait({change}, timeout=left)
            if change.done() and (why := change.result()) is not None:
                raise ModelUnavailable(f"{self.name} could not be loaded again; the service's log says why") from why
        return self._held

    def _begin(self, change: Coroutine[Any, Any, Exception | None]) -> asyncio.Task[Exception | None]:
        """A task of its own: it goes on when the one who began it leaves."""
        self._change = asyncio.create_task(change)
        return self._change

    async def _load(self) -> Exception | None:
        """Why it could not be opened, if so."""
        started = time.monotonic()
        try:
            self._held = await asyncio.to_thread(self._take_up)
        except Exception as exc:  # whatever it is, it is theirs who wait; the service lives on and the next one tries
            log.error("%s could not be loaded again: %s", self.name, exc, exc_info=not isinstance(exc, VisageError))
            return exc
        finally:
            self._change = None
        log.info("%s loaded again, %.2f s", self.name, time.monotonic() - started)
        return None

    async def _unload(self) -> None:
        started = time.monotonic()
        try:
            await asyncio.to_thread(self._let_go)
        except Exception:  # it is of no use any more, however it ended
            log.exception("%s did not close cleanly", self.name)
        finally:
            self._change = None
        log.info("%s was not used for %g s: unloaded, %.2f s", self.name, self._idle, time.monotonic() - started)

    def _take_up(self) -> T:
        held = self._context.enter_context(self._opener())
        give_back()
        return held

    def _let_go(self) -> None:
        self._context.close()
        give_back()
