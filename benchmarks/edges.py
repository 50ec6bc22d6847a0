"""What the edges cost: reading a request and writing an answer, with networks that take no time.

Prints Markdown. Ways in: the service runs whole but for its networks, over real sockets; one file by each form of
request, of a size and of nearly none. The decoder refuses it by its first bytes: what is left is the way. The client is
a bare socket in another process. Ways out: an answer with 1 and 400 faces of 512 numbers, made and written, without a
socket. Every number is a median; requests alternate between the ways. An argument is the number of rounds.
"""

import base64
import contextlib
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

import msgpack
import numpy as np
import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support import constant_runtime, settings_of

from visage import logs
from visage.api.answers import Shape, extraction
from visage.api.app import create_app
from visage.api.encoding import JSON, MSGPACK, render
from visage.cli.serve import server_config
from visage.faces import Embedding, Face, ImageFaces, Outcome
from visage.options import ExtractOptions

ROUNDS = 150
SIZES = (64, 500_000, 3_000_000)
FACES = (1, 400)


def no_picture(size: int) -> bytes:
    """A file that the decoder refuses by its first bytes."""
    return b"\x00" * 16 + np.random.default_rng(2).bytes(size - 16)


def outcome(faces: int) -> Outcome:
    """So many faces of 512 numbers that print at full length."""
    raw = np.random.default_rng(1).normal(0, 1, (faces, 512)).astype(np.float32)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    box, points = np.array([100.5, 100.5, 200.7, 230], np.float32), np.full((5, 2), 150.5, np.float32)
    known = [Face(i, box, 0.912345678, points, Embedding(unit[i], 12.345678)) for i in range(faces)]
    return Outcome(ImageFaces(known, 0.5, (640, 480)))


def ways_in(data: bytes) -> dict[str, bytes]:
    """The whole request, head and body, by the name of its form."""
    boundary = uuid.uuid4().hex
    form = (
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n'
            f"Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        + data
        + f"\r\n--{boundary}--\r\n".encode()
    )
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

    def __init__(self) -> None:
        settings = settings_of()
        app = create_app(settings, opener=constant_runtime)
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
    # The log's lines are made and written, and not shown.
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        logs.configure("INFO", "text")
        tables(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)
    return 0


def tables(rounds: int) -> None:
    print(
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}; medians of {rounds}\n"
    )
    served = Served()
    ways = {size: ways_in(no_picture(size)) for size in SIZES}
    columns = {
        size: dict(zip(forms, elsewhere(timed, served.port, list(forms.values()), rounds), strict=True))
        for size, forms in ways.items()
    }
    served.stop()
    print("| way in | " + " | ".join(f"{size:,} bytes, ms" for size in SIZES) + " |\n|---|" + "---|" * len(SIZES))
    for name in ways[SIZES[0]]:
        print(f"| {name} | " + " | ".join(f"{columns[size][name]:.2f}" for size in SIZES) + " |")
    print("\n| way out | faces | made, ms | written, ms | bytes |\n|---|---|---|---|---|")
    for faces in FACES:
        for kind in (JSON, MSGPACK):
            made, written, size = answer_times([outcome(faces)], kind, rounds)
            print(f"| {kind} | {faces} | {made:.3f} | {written:.3f} | {size} |")


def answer_times(outcomes: list[Outcome], kind: str, rounds: int) -> tuple[float, float, int]:
    """Median milliseconds of making and of writing an answer, and its length."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        answer = extraction(outcomes, ExtractOptions(), Shape(landmarks=True), total_ms=1.5, models={}, warnings=[])
        middle = time.perf_counter()
        body = render(answer, kind).body
        times.append((middle - started, time.perf_counter() - middle))
    made, written = np.median(times, axis=0) * 1000
    return float(made), float(written), len(body)


if __name__ == "__main__":
    sys.exit(main())
