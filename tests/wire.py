"""What the tests of the wire share: the captures' picture, detectors that wait, whole ASGI calls."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI

from tests.support import ConstantDetector, constant_runtime, settings_of, wait_ready
from visage.api.app import create_app
from visage.cli.serve import server_config
from visage.faces import Detections, Floats, ImageBatch

Message = dict[str, Any]

PROBLEM = "application/problem+json"
TEXT = b"this is a text and no picture"


def jpeg(width: int = 640, height: int = 480) -> bytes:
    """A picture as the captures used: 640×480, a grey slope."""
    row = np.linspace(0, 255, width).astype(np.uint8)
    pixels = np.broadcast_to(row[None, :, None], (height, width, 3))
    return bytes(cv2.imencode(".jpg", np.ascontiguousarray(pixels))[1])


PHOTO = jpeg()
CROP = jpeg(112, 112)


class HeldDetector(ConstantDetector):
    """Says when a run has begun, and ends it when it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.runs = 0

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        self.runs += len(thresholds)
        self.begun.release()
        assert self.let_go.wait(60)
        return super().detect(images, thresholds)


def gauge(metrics: str, name: str) -> float:
    """The sum of a metric's samples in Prometheus' text."""
    found = [line.rsplit(" ", 1)[1] for line in metrics.splitlines() if line.split("{")[0].split(" ")[0] == name]
    assert found, f"{name} is not among the metrics"
    return sum(float(value) for value in found)


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[FastAPI]:
    """The application with its lifespan run, ready; what is done with it is within the limit, too."""
    async with app.router.lifespan_context(app), asyncio.timeout(100):
        while app.state.visage.runtime is None:
            await asyncio.sleep(0.005)
        yield app


def constant_app(*, runtime: dict[str, Any] | None = None, **environ: str) -> FastAPI:
    more = runtime or {}
    return create_app(settings_of(**environ), opener=lambda s, w: constant_runtime(s, w, **more))


async def called(
    app: FastAPI,
    path: str,
    receive: Callable[[], Awaitable[Message]],
    headers: Sequence[tuple[str, str]] = (),
    query: bytes = b"",
    *,
    sent: list[Message] | None = None,
) -> list[Message]:
    """POST `path` as a server would hand it over; what the application sent. `sent` shows it as it comes."""
    sent = [] if sent is None else sent

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "client": ("192.0.2.1", 5),
        "server": ("test", 80),
    }
    await app(scope, receive, send)
    return sent


@contextmanager
def listening(app: Any) -> Iterator[int]:
    """An application behind the real server, in a thread; its port on 127.0.0.1."""
    server = uvicorn.Server(server_config(settings_of(), app))
    with socket.create_server(("127.0.0.1", 0)) as place:
        thread = threading.Thread(target=lambda: server.run(sockets=[place]))
        thread.start()
        try:
            wait_ready(lambda: server.started)
            yield place.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
