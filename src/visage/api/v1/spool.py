"""What is written before it can be sent: in memory to a limit, then in a file without a name."""

import asyncio
import tempfile
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

_IN_MEMORY = 2**20  # bytes
_PIECE = 2**16


class Streamed(StreamingResponse):
    """Leaves the body to the route, which reads it meanwhile; that the caller hangs up the door sees."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stream_response(send)


class Spool:
    """Bytes from one task to another; who writes never waits for who reads.

    A caller who sends a long body and reads the answer only then would else stand still with us: we unable to send,
    they unable to.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - open as long as the spool is
        self._written = 0
        self._read = 0
        self._ended = False
        self._news = asyncio.Event()

    def write(self, data: bytes) -> None:
        self._file.seek(self._written)
        self._file.write(data)
        self._written += len(data)
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """All that is written, until the end."""
        while True:
            while self._read < self._written:
                self._file.seek(self._read)
                piece = self._file.read(min(_PIECE, self._written - self._read))
                self._read += len(piece)
                yield piece
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        self._file.close()
