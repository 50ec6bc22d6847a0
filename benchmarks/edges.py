"""What the edges cost: reading a request and writing an answer, with networks that take no time.

Prints Markdown. The service runs whole but for its networks, which answer at once what they are told to: real sockets,
uvicorn, the door, parsing, JPEG decoding and the answer's writing. Two tables: one picture of 500 KB by each way in
(the picture is not decoded: what is left is the way), and answers with 1 and 400 faces of 512 numbers by each way out.
The client is a bare socket in another process; every number is a median of requests that alternate between the ways.
"""

import base64
import json
import multiprocessing
import os
import socket
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support import ConstantDetector, constant_runtime, settings_of
from visage import logs
from visage.api.app import create_app
from visage.cli.serve import server_config
from visage.faces import Detections, Embedding, Floats, ImageBatch, Pixels
from visage.families.base import ALIGNED

ROUNDS = 150
PICTURE_BYTES = 500_000
FEW, MANY = 1, 400


class Finds(ConstantDetector):
    """As many faces as its name says, whatever it is shown."""

    def __init__(self, count: int) -> None:
        self.boxes = np.tile(ConstantDetector.boxes[:1], (count, 1))
        self.scores = np.linspace(0.99, 0.9, count, dtype=np.float32)
        self.landmarks = np.tile(ConstantDetector.landmarks[:1], (count, 1, 1))

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        return [Detections(self.boxes, self.scores, self.landmarks)] * len(thresholds)


class Embeds:
    """512 numbers that print at full length."""

    crop = ALIGNED
    max_batch = 0

    def __init__(self) -> None:
        raw = np.random.default_rng(1).normal(0, 1, 512).astype(np.float32)
        self._answer = Embedding(raw / np.linalg.norm(raw), float(np.linalg.norm(raw)))

    def predict(self, crops: Pixels, /) -> list[Embedding]:
        return [self._answer] * len(crops)


def small_picture() -> bytes:
    """640×480, some kilobytes: its decoding is the same on every way."""
    return bytes(cv2.imencode(".jpg", np.full((480, 640, 3), 128, np.uint8))[1])


def no_picture() -> bytes:
    """500 KB that the decoder refuses by their first bytes."""
    return b"\x00" * 16 + np.random.default_rng(2).bytes(PICTURE_BYTES - 16)


def ways_in(data: bytes) -> dict[str, bytes]:
    """The whole request, head and body, by the name of its form."""
    boundary = uuid.uuid4().hex
    form = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n"
    ).encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return {
        "raw body": request("image/jpeg", data),
        "msgpack": request("application/msgpack", bytes(msgpack.packb({"images": {"data": [data]}}))),
        "multipart": request(f"multipart/form-data; boundary={boundary}", form, "/multipart/extract"),
        "JSON": request(
            "application/json", json.dumps({"images": {"data": [base64.b64encode(data).decode()]}}).encode()
        ),
    }


def request(kind: str, body: bytes, path: str = "/extract", accept: str = "*/*") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nAccept: {accept}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Served:
    """The application on a port of its own, in this process's other thread."""

    def __init__(self, faces: int) -> None:
        settings = settings_of(LOG_LEVEL="INFO", MAX_FACES="1000")
        more = {"detector": Finds(faces), "embedder": Embeds()}
        app = create_app(settings, opener=lambda s, w: constant_runtime(s, w, **more))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._server = uvicorn.Server(server_config(settings, app))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]}, daemon=True)
        self._thread.start()
        while app.state.visage.runtime is None:
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)


def timed(port: int, requests: Sequence[bytes], rounds: int) -> list[float]:
    """Median milliseconds of each request, sent in turn over one connection."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times: list[list[float]] = [[] for _ in requests]
        for turn in range(rounds + 5):
            for one, its in zip(requests, times, strict=True):
                started = time.perf_counter()
                connection.sendall(one)
                answered(connection)
                if turn >= 5:
                    its.append((time.perf_counter() - started) * 1000)
    return [statistics.median(its) for its in times]


def answered(connection: socket.socket) -> None:
    """Read one whole 200."""
    got = bytearray()
    while (end := got.find(b"\r\n\r\n")) < 0:
        got += connection.recv(1 << 20)
    assert got.startswith(b"HTTP/1.1 200"), bytes(got[:300])
    length = int(got.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    left = end + 4 + length - len(got)
    while left > 0:
        left -= len(connection.recv(min(left, 1 << 20)))


def elsewhere(work: Callable[..., Any], *given: Any) -> Any:
    """`work`'s result from a process of its own: the client must not hold the service's interpreter."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given)


def main() -> int:
    logs.configure("INFO", "text")
    sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - the log's lines are written, and not shown
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}; medians of {ROUNDS}\n")
    served = Served(FEW)
    large, small = ways_in(no_picture()), ways_in(b"\x00" * 64)
    names = list(large)
    times = elsewhere(timed, served.port, [*large.values(), *small.values()], ROUNDS)
    served.stop()
    print(f"| way in | {PICTURE_BYTES // 1000} KB, ms | 64 bytes, ms | bytes on the wire |\n|---|---|---|---|")
    for name, whole, bare in zip(names, times[: len(names)], times[len(names) :], strict=True):
        print(f"| {name} | {whole:.2f} | {bare:.2f} | {len(large[name])} |")
    print("\n| way out | faces | ms | without vectors, ms |\n|---|---|---|---|")
    for faces in (FEW, MANY):
        served = Served(faces)
        body = small_picture()
        kinds = {"JSON": "application/json", "msgpack": "application/x-msgpack"}
        full = [request("image/jpeg", body, accept=kind) for kind in kinds.values()]
        less = [request("image/jpeg", body, "/extract?extract_embedding=0", kind) for kind in kinds.values()]
        times = elsewhere(timed, served.port, [*full, *less], ROUNDS if faces == FEW else 30)
        served.stop()
        for name, whole, bare in zip(kinds, times[:2], times[2:], strict=True):
            print(f"| {name} | {faces} | {whole:.2f} | {bare:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
