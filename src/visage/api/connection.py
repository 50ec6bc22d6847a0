"""A caller's connection: uvicorn's HTTP/1.1, and what it makes of offers to upgrade and of half-closed connections."""

import asyncio
import socket
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_OFFER_HEADERS = frozenset({b"upgrade", b"http2-settings"})
_INVALID = "Invalid HTTP request received."

# How every answer begins. To a caller who has ended their side it is sent ahead, byte by byte: for one who still reads
# it changes nothing, and the system of one who is gone replies that the connection is no more.
_BEGINNING = b"HTTP/1.1 "
_FIRST_LOOK, _LAST_LOOK = 0.05, 2.0  # seconds between two looks for that reply; each pause is twice the one before


class Connection(HttpToolsProtocol):
    """Answers an offer to upgrade as if it had not been made, and a caller who has ended their side of the connection.

    llhttp takes what follows a head with such an offer for another protocol (uvicorn#2722, httptools#124). A server may
    ignore the offer, and then has a whole request of HTTP/1.1 before it (RFC 9110, 7.8): so the head is read a second
    time, without the offer.
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._offered = False
        self._invalid = False
        self._answering: RequestResponseCycle | None = None
        self._half_closed = False
        self._begun: _Begun | None = None
        self._looking: asyncio.TimerHandle | None = None

    # ---------------------------------------------------------------- upgrades

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        while rest and not self._invalid:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                self._read_again()
            except httptools.HttpParserError:
                self._refuse()
            else:
                return

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._offered = self.parser.get_method() != b"CONNECT"
            return
        super().on_headers_complete()
        self.headers = []  # trailers come as headers do, and are none (RFC 9110, 6.5.1)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _read_again(self) -> None:
        """Give the head to a fresh parser without the offer."""
        if not self._offered:  # CONNECT: this is no proxy, and what follows is meant for somebody else
            self._refuse()
            return
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name not in _OFFER_HEADERS:
                head += [name, b": ", _without_offer(value) if name == b"connection" else value, b"\r\n"]
        self._offered = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(b"".join([*head, b"\r\n"]))
        except httptools.HttpParserError:
            self._refuse()

    def _refuse(self) -> None:
        """What comes is no request: say so once all that came before has been answered, and read no further."""
        if self._invalid:
            return
        self._invalid = True
        self.logger.warning(_INVALID)
        running = self._answering
        if running is None or running.response_complete or (running.more_body and not running.response_started):
            self.send_400_response(_INVALID)
        elif running.more_body:  # the answer has begun, and will not be whole
            self.transport.close()

    # ---------------------------------------------------------------- half-closed ends

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether to keep the connection: the caller sends no more, and may still wait for answers."""
        running = self._answering
        if running is None or running.response_complete or running.more_body or self.transport.is_closing():
            return False
        if not self._half_closed:
            self._half_closed = True
            if not self.cycle.more_body:  # the last one that came whole
                self.cycle.keep_alive = False
            if not running.response_started:  # what it says next shows as well whether somebody is there
                running.transport = self._begun = _Begun(self.transport)  # type: ignore[assignment]
            self._look(_FIRST_LOOK)
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        ends = not self.pipeline or self.pipeline[-1][0].more_body  # what is still to come never will
        if ends and self._invalid and not self.transport.is_closing():
            self.send_400_response(_INVALID)
        elif ends and self._half_closed:
            self.transport.close()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self._half_closed and (running := self._answering) is not None:
            running.disconnected = True  # it need not be the last one that came
            running.message_event.set()
        super().connection_lost(exc)

    def _look(self, pause: float) -> None:
        """End the connection once the caller's system has said that nobody is there."""
        if self.transport.is_closing():
            return
        if _is_gone(self.transport):
            self.transport.abort()
            return
        if self._begun is not None:
            self._begun.step()
        self._looking = self.loop.call_later(pause, self._look, min(2 * pause, _LAST_LOOK))


class _Begun:
    """A transport to which the first bytes of an answer may be written before there is one."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left = _BEGINNING
        self._answered = False

    def step(self) -> None:
        """Write one more of them."""
        if not self._answered and self._left:
            self._transport.write(self._left[:1])
            self._left = self._left[1:]

    def write(self, data: bytes) -> None:
        if not self._answered:
            self._answered = True
            data = data[len(_BEGINNING) - len(self._left) :]
        self._transport.write(data)

    def close(self) -> None:
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


def _without_offer(connection: bytes) -> bytes:
    """The options of a Connection header that are about something else."""
    options = (option.strip() for option in connection.split(b","))
    return b", ".join(option for option in options if option.lower() not in _OFFER_HEADERS)


def _is_gone(transport: asyncio.Transport) -> bool:
    """Whether the other side has reset the connection; while it has only ended its own half, there is no error."""
    return bool(transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
