"""What is written before it can be sent: in memory to a limit, then in a file without a name."""

import asyncio
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from typing import TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from visage.errors import AnswerNotRead

T = TypeVar("T")

_IN_MEMORY = 2**20  # bytes
_PIECE = 2**16
_MOST = 128 * 2**20  # bytes that wait: the answer to more than a million rows
_PATIENCE = 20.0  # seconds


class Streamed(StreamingResponse):
    """Leaves the body to the route, which reads it meanwhile; that the caller hangs up the door sees.

    The answer begins at once or, `late`, with its first piece.
    """

    late = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.late:
            self.body_iterator = _after(await anext(aiter(self.body_iterator), None), self.body_iterator)
        await self.stream_response(send)


async def _after(first: T | None, rest: AsyncIterable[T]) -> AsyncIterator[T]:
    if first is not None:
        yield first
    async for one in rest:
        yield one


class Spool:
    """Bytes from one task to another; who writes does not wait for who reads, up to `most` bytes.

    A caller who sends a long body and reads the answer only then would else stand still with us: we unable to send,
    they unable to. From `most` bytes on whoever writes waits until all of it is taken; where nothing is taken for
    `patience` seconds the caller is one of those, and AnswerNotRead ends the writing.
    """

    def __init__(self, *, most: int = _MOST, patience: float = _PATIENCE) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - open as long as the spool is
        self._most = most
        self._patience = patience
        self._written = 0
        self._read = 0
        self._ended = False
        self._news = asyncio.Event()
        self._taken = asyncio.Event()

    async def write(self, data: bytes) -> None:
        """Raises AnswerNotRead; `data` is written all the same."""
        self._append(data)
        while self._written > self._most:
            self._taken.clear()
            try:
                async with asyncio.timeout(self._patience):
                    await self._taken.wait()
            except TimeoutError:
                raise AnswerNotRead(
                    f"{self._written - self._read} bytes of the answer wait to be read: read it while you send, or "
                    "send fewer rows at a time"
                ) from None

    def end(self, data: bytes = b"") -> None:
        """`data` is the last."""
        self._append(data)
        self._ended = True

    def _append(self, data: bytes) -> None:
        self._file.seek(self._written)
        self._file.write(data)
        self._written += len(data)
        self._news.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """All that is written, until the end."""
        while True:
            while self._read < self._written:
                self._file.seek(self._read)
                piece = self._file.read(min(_PIECE, self._written - self._read))
                self._read += len(piece)
                yield piece
                self._taken.set()
            self._empty()
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()

    def _empty(self) -> None:
        """All is taken: what the file holds is of no use any more."""
        self._file.seek(0)
        self._file.truncate()
        self._read = self._written = 0
        self._taken.set()

    def close(self) -> None:
        self._file.close()
