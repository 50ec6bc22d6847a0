"""Request bodies that were packed for their way (Content-Encoding)."""

import asyncio
from collections.abc import Iterator

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from visage.codings import Broken, TooLarge, UnknownCoding, Unpacker, codings_of
from visage.errors import BodyBroken, RequestTooLarge, UnknownContentCoding

_OF_THE_PACKED = frozenset({b"content-encoding", b"content-length"})


def unpacked(scope: Scope, receive: Receive, most: int | None) -> Receive:
    """What gives the body as it was before it was packed, which `scope` says from now on; no more than `most` bytes.

    Raises UnknownContentCoding, and where it is read BodyBroken and RequestTooLarge.
    """
    try:
        codings = codings_of(",".join(Headers(scope=scope).getlist("content-encoding")))
    except UnknownCoding as exc:
        raise UnknownContentCoding(f"Content-Encoding: {exc}; or send the body as it is") from exc
    if not codings:
        return receive
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name not in _OF_THE_PACKED]
    return _Unpacked(receive, Unpacker(codings, most), most).receive


def too_large(most: int) -> RequestTooLarge:
    """For a body of more than so many bytes, packed or not."""
    return RequestTooLarge(f"The request has more than {most} bytes; send fewer or smaller images at a time")


class _Unpacked:
    def __init__(self, receive: Receive, unpacker: Unpacker, most: int | None) -> None:
        self._receive = receive
        self._unpacker = unpacker
        self._most = most
        self._came = 0
        self._pieces: Iterator[bytes] | None = None  # of the part that came last
        self._last = False
        self._ended = False

    async def receive(self) -> Message:
        while not self._ended:
            if self._pieces is None:
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._take(message)
            if piece := await self._piece():
                return {"type": "http.request", "body": piece, "more_body": True}
            if self._ended:
                return {"type": "http.request", "body": b"", "more_body": False}
        return await self._receive()

    def _take(self, message: Message) -> None:
        packed = message.get("body", b"")
        self._came += len(packed)  # much may be sent that unpacks to nothing
        if self._most is not None and self._came > self._most:
            raise too_large(self._most)
        self._last = not message.get("more_body", False)
        self._pieces = self._unpacker.feed(packed)

    async def _piece(self) -> bytes:
        """Empty where there is none yet, or the body has ended."""
        await asyncio.sleep(0)  # others have their turn, however much comes of a little
        try:
            piece = next(self._pieces or iter(()), None)
            if piece is None:
                self._pieces = None
                if self._last:
                    self._ended = True
                    self._unpacker.finish()
        except TooLarge as exc:
            raise RequestTooLarge(f"The request's body is too large: {exc}; send fewer or smaller images") from exc
        except Broken as exc:
            raise BodyBroken(f"The body is not what Content-Encoding says: {exc}") from exc
        return piece or b""
