"""/v1 behind the door: limits, deadlines, places; streams that may be longer; an event loop that only waits."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn

from tests.api.v1.test_bulk import BULK, NDJSON, Threefold, ndjson
from tests.galleries import MemoryStore, gallery_client
from tests.support import constant_runtime, settings_of, wait_ready
from visage.api.app import create_app
from visage.cli.serve import server_config

# httpx's own limit of 5 s is too short for a busy machine.
get, post = partial(httpx.get, timeout=60), partial(httpx.post, timeout=60)


class Slow(MemoryStore):
    """Takes its time over every list of persons."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.let_go = threading.Event()

    def persons(self, *given: Any, **more: Any) -> Any:
        self.asked.set()
        assert self.let_go.wait(200)
        return super().persons(*given, **more)


@contextmanager
def running(data_dir: Path, store: Any, **environ: str) -> Iterator[str]:
    """The application behind a real server, in a thread; its URL."""
    settings = settings_of(DATA_DIR=str(data_dir), **environ)
    app = create_app(settings, opener=lambda s, w: constant_runtime(s, w, embedder=Threefold()), stores=lambda _: store)
    server = uvicorn.Server(server_config(settings, app))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
        thread.start()
        try:
            wait_ready(lambda: server.started)
            wait_ready(lambda: get(f"{url}/ready").status_code == 200)
            yield url
        finally:
            server.should_exit = True
            thread.join()


def test_a_slow_store_holds_nobody_else_up(tmp_path: Path) -> None:
    store = Slow()
    with running(tmp_path / "d", store, REQUEST_TIMEOUT="300") as url, ThreadPoolExecutor(20) as pool:
        post(f"{url}/v1/collections", json={"name": "staff"})
        waiting = [pool.submit(get, f"{url}/v1/collections/staff/persons", timeout=200) for _ in range(20)]
        try:
            wait_ready(lambda: "visage_requests_inside 20.0" in get(f"{url}/metrics").text)
            assert store.asked.wait(30)
            for _ in range(20):
                assert get(f"{url}/health").status_code == 200
            assert not any(one.done() for one in waiting)  # the store still holds them: the others passed them by
        finally:
            store.let_go.set()
        assert all(one.result().status_code == 200 for one in waiting)


def test_a_deadline_is_kept_and_places_are_counted(tmp_path: Path) -> None:
    store = Slow()
    with gallery_client(tmp_path / "d", store=store, MAX_BODY_BYTES="2048") as client:
        client.post("/v1/collections", json={"name": "staff"})
        late = client.get("/v1/collections/staff/persons", headers={"X-Request-Timeout": "0.2"})
        store.let_go.set()
        assert late.status_code == 503 and late.json()["type"] == "urn:visage:deadline-exceeded"
        assert late.headers["retry-after"] and late.headers["x-request-id"]
        large = client.post("/v1/detect", json={"images": ["x" * 3000]})
        assert large.status_code == 413 and large.json()["type"] == "urn:visage:request-too-large"


def test_no_place_no_entry(tmp_path: Path) -> None:
    store = Slow()
    environ = {"MAX_REQUESTS": "1", "REQUEST_TIMEOUT": "300"}
    with running(tmp_path / "d", store, **environ) as url, ThreadPoolExecutor(1) as pool:
        post(f"{url}/v1/collections", json={"name": "staff"})

        def let_in() -> httpx.Response:
            """An answer is there before its place is free again."""
            while (answer := get(f"{url}/v1/collections/staff/persons")).status_code == 503:
                time.sleep(0.01)
            return answer

        waiting = pool.submit(let_in)
        assert store.asked.wait(30)
        assert get(f"{url}/v1/collections").status_code == 503
        store.let_go.set()
        assert waiting.result().status_code == 200


def test_a_stream_may_be_longer_than_a_body(tmp_path: Path) -> None:
    rows = ndjson(*({"id": f"p{i}", "vectors": [[1, i, 0]]} for i in range(3000)))
    with gallery_client(
        tmp_path / "d", runtime={"embedder": Threefold()}, MAX_BODY_BYTES="2048", MAX_INFLIGHT_BYTES="4096"
    ) as client:
        client.post("/v1/collections", json={"name": "staff"})
        lines = client.post(BULK, content=rows, headers=NDJSON).text.splitlines()
    assert json.loads(lines[-1]) == {"done": True, "persons": 3000, "faces": 3000, "failed": 0}


def test_who_sends_everything_before_reading_is_not_kept_waiting(tmp_path: Path) -> None:
    """The answer is longer than all buffers between the two: a server that waited to send it would never read on."""
    count = 60_000
    line = b'{"id": "%s-%d", "vectors": [[1, 0, 0]]}\n'
    body = b"".join(line % (b"a-rather-long-identifier-" * 4, i) for i in range(count))

    async def raw(url: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]), limit=2**12)
        head = (
            f"POST {BULK} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n"
        )
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        answer = bytearray()
        while piece := await reader.read(2**16):
            answer += piece
        writer.close()
        return bytes(answer)

    with running(tmp_path / "d", MemoryFaster()) as url:
        post(f"{url}/v1/collections", json={"name": "staff"})
        answer = asyncio.run(asyncio.wait_for(raw(url), 200))
    assert b'{"done":true,"persons":60000,"faces":60000,"failed":0}' in answer and len(answer) > 8 * 2**20


class MemoryFaster(MemoryStore):
    """Counts no faces, which takes long where they are many."""

    def person(self, name: str, person: str, /) -> Any:
        return self._persons[name][person]


def test_who_hangs_up_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    store = MemoryStore()

    async def cut(url: str) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        head = (
            f"POST {BULK} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 100000\r\n\r\n"
        )
        writer.write(head.encode() + ndjson({"id": "a", "vectors": [[1, 0, 0]]}))
        await writer.drain()
        until = time.monotonic() + 30
        while not store.persons("staff") and time.monotonic() < until:  # a pause in the body has it written
            await asyncio.sleep(0.01)
        writer.close()

    with running(tmp_path / "d", store) as url:
        post(f"{url}/v1/collections", json={"name": "staff"})
        asyncio.run(cut(url))
        wait_ready(lambda: "visage_requests_inside 0.0" in get(f"{url}/metrics").text)
        assert [person.id for person in store.persons("staff")] == ["a"]
        assert get(f"{url}/health").status_code == 200


def test_an_export_that_nobody_reads_to_the_end_ends(tmp_path: Path) -> None:
    store = MemoryStore()
    with running(tmp_path / "d", store) as url:
        post(f"{url}/v1/collections", json={"name": "staff"})
        rows = ndjson(*({"id": f"p{i}", "metadata": {"x": "y" * 5000}, "vectors": [[1, i, 0]]} for i in range(2000)))
        post(f"{url}{BULK}", content=rows, headers=NDJSON)
        with httpx.stream("GET", f"{url}/v1/collections/staff/export", timeout=60) as answer:
            assert answer.status_code == 200
            next(answer.iter_bytes())
        wait_ready(lambda: "visage_requests_inside 0.0" in get(f"{url}/metrics").text)
        wait_ready(lambda: not any(thread.name == "ahead" for thread in threading.enumerate()))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/v1/collections/staff/persons/bulk"),
        ("PATCH", "/v1/collections/staff/persons/export"),
        ("POST", "/v1/collections/staff/persons/bulk/faces"),
        ("POST", "/v1/collections/staff/export"),
        ("PATCH", "/v1/collections/export"),
    ],
)
def test_a_body_is_no_stream_for_a_name_in_its_path(tmp_path: Path, method: str, path: str) -> None:
    with gallery_client(tmp_path / "d", MAX_BODY_BYTES="2048") as client:
        client.post("/v1/collections", json={"name": "staff"})
        answer = client.request(method, path, content=b'{"name": "' + b"x" * 3000 + b'"}')
        assert answer.status_code == 413 and answer.json()["type"] == "urn:visage:request-too-large"


class Endless(MemoryStore):
    """An export that ends when nobody takes it any more, or the test does."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.left = threading.Event()

    def export(self, name: str, /) -> Iterator[Any]:
        rows = list(super().export(name))
        try:
            while not self.over.is_set():
                yield from rows
        finally:
            self.left.set()


@pytest.mark.parametrize("headers", [{}, {"content-length": "2"}])
def test_an_export_ends_when_its_caller_hangs_up(tmp_path: Path, headers: dict[str, str]) -> None:
    """What is sent to nobody is thrown away by the server without a word: only its news of the caller tells."""
    store = Endless()
    with running(tmp_path / "d", store) as url:
        post(f"{url}/v1/collections", json={"name": "staff"})
        post(f"{url}{BULK}", content=ndjson({"id": "a", "vectors": [[1, 0, 0]]}), headers=NDJSON)
        try:
            with httpx.stream(
                "GET",
                f"{url}/v1/collections/staff/export",
                headers=headers,
                content=b"{}" if headers else None,
                timeout=60,
            ) as answer:
                assert answer.status_code == 200
                next(answer.iter_bytes())
            assert store.left.wait(60), "the export went on"
            wait_ready(lambda: "visage_requests_inside 0.0" in get(f"{url}/metrics").text)
        finally:
            store.over.set()


def test_a_route_is_counted_by_its_whole_template(tmp_path: Path) -> None:
    with gallery_client(tmp_path) as client:
        assert client.get("/v1/collections/none/persons").status_code == 404
        metrics = client.get("/metrics").text
    assert 'route="/v1/collections/{collection}/persons"' in metrics


def test_the_port_that_is_listened_on_gives_a_rebound_name_away(tmp_path: Path) -> None:
    with running(tmp_path / "d", MemoryStore()) as url:
        port = int(url.rsplit(":", 1)[1])
        hosts = {f"evil.example:{port}": 403, f"localhost:{port}": 200, "faces.example.org": 200}
        for host, status in hosts.items():
            forged = {"host": host, "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https"}
            assert get(f"{url}/v1/collections", headers=forged).status_code == status
