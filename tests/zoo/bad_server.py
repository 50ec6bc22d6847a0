"""A server on a loopback port that answers every path as a test says, well or badly, and keeps a log."""

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: its path and query, where it began, and of which version."""

    target: str
    range: str | None
    if_range: str | None

    @property
    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.target).query).items()}


@dataclass(slots=True)
class Exchange:
    """One request being answered."""

    handler: BaseHTTPRequestHandler
    seen: Seen
    server: "BadServer"

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.handler.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()

    def send(self, data: bytes) -> None:
        self.handler.wfile.write(data)


Answer = Callable[[Exchange], None]


@dataclass(slots=True)
class BadServer:
    """`scripts`: the answers of a path, one a request; the last one goes on."""

    port: int = 0
    scripts: dict[str, list[Answer]] = field(default_factory=dict)
    log: list[Seen] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: Any = field(default_factory=threading.Lock)

    def at(self, path: str, *answers: Answer) -> str:
        """Answer `path` so; its address."""
        self.scripts[path] = list(answers)
        return f"http://127.0.0.1:{self.port}{path}"

    def ranges(self) -> list[str | None]:
        return [seen.range for seen in self.log]

    def answer(self, exchange: Exchange) -> None:
        with self.lock:
            self.log.append(exchange.seen)
            script = self.scripts[urlsplit(exchange.seen.target).path]
            answer = script.pop(0) if len(script) > 1 else script[0]
        answer(exchange)


@contextmanager
def bad_server() -> Iterator[BadServer]:
    state = BadServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            seen = Seen(self.path, self.headers.get("Range"), self.headers.get("If-Range"))
            try:
                state.answer(Exchange(self, seen, state))
                self.wfile.flush()
            except OSError:
                pass  # the client has gone

        def log_message(self, *_: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    state.port = httpd.server_address[1]
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


# -- answers ------------------------------------------------------------------------------------------------------


def whole(
    data: bytes,
    *,
    etag: str | None = '"v1"',
    until: int | None = None,
    length: int | None = None,
    then: Callable[[Exchange], None] = lambda _: None,
    strict: bool = True,
    **headers: str,
) -> Answer:
    """The file, from where it is asked for; the connection ends after byte `until`.

    `length`: what Content-Length says instead; `then` comes before the end; not `strict`: If-Range is not looked at.
    """

    def answer(exchange: Exchange) -> None:
        seen = exchange.seen
        first = 0
        if seen.range is not None and etag is not None and (seen.if_range == etag or not strict):
            first = int(seen.range.removeprefix("bytes=").removesuffix("-"))
        if first >= len(data) > 0:
            exchange.start(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"})
            return
        said = {"Content-Type": BINARY, "Content-Length": str(len(data) - first if length is None else length)}
        if etag is not None:
            said["ETag"] = etag
        if first:
            said["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        exchange.start(206 if first else 200, {**said, **{k.replace("_", "-"): v for k, v in headers.items()}})
        exchange.send(data[first:until])
        exchange.handler.wfile.flush()
        then(exchange)

    return answer


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(exchange: Exchange) -> None:
        said = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
        exchange.start(code, said)
        exchange.send(body)

    return answer


def partial(data: bytes, first: int, last: int | None = None, **headers: str) -> Answer:
    """A 206 of bytes `first` to `last`, whatever was asked for."""
    end = len(data) if last is None else last + 1
    part = data[first:end]
    content_range = f"bytes {first}-{end - 1}/{len(data)}"
    return status(206, part, Content_Range=content_range, Content_Type=BINARY, **{"ETag": '"v1"', **headers})


def redirect(to: str) -> Answer:
    return status(302, Location=to)


def page(text: str) -> Answer:
    return status(200, text.encode(), Content_Type="text/html; charset=utf-8")


def endless(data: bytes) -> Answer:
    """No Content-Length: the end of the connection is the end of the file."""

    def answer(exchange: Exchange) -> None:
        exchange.start(200, {"Content-Type": BINARY, "ETag": '"v1"'})
        exchange.send(data)

    return answer


def drip(data: bytes, size: int, pause: float) -> Answer:
    """`size` bytes every `pause` seconds."""

    def answer(exchange: Exchange) -> None:
        seen = exchange.seen
        first = int(seen.range.removeprefix("bytes=").removesuffix("-")) if seen.range else 0
        said = {"Content-Type": BINARY, "ETag": '"v1"', "Content-Length": str(len(data) - first)}
        exchange.start(206 if first else 200, {**said, "Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"})
        for start in range(first, len(data), size):
            exchange.send(data[start : start + size])
            exchange.handler.wfile.flush()
            if exchange.server.closing.wait(pause):
                return

    return answer


def hang(exchange: Exchange) -> None:
    """Nothing more, until the test is over."""
    exchange.server.closing.wait(600)


def gzipped(data: bytes) -> Answer:
    return status(200, gzip.compress(data), Content_Type=BINARY, Content_Encoding="gzip", ETag='"v1"')
