"""misc/nginx/visage.conf, run by a real nginx where there is one, before services of a few lines."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.support import REPO, own_address, served, wait_ready

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx-light")


@dataclass
class Service:
    """Answers with `status`, and remembers what it was asked. `dies`: it does its work, and is gone before it answers."""

    name: str
    status: int = 200
    dies: bool = False
    seen: list[dict[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    bytes: int = 0
    port: int = 0

    @contextmanager
    def serving(self) -> Iterator["Service"]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                left = int(self.headers.get("content-length", 0))
                while left:
                    piece = len(self.rfile.read(min(left, 2**20)))
                    service.bytes, left = service.bytes + piece, left - piece
                service.seen.append({key.lower(): value for key, value in self.headers.items()})
                service.asked.append(self.requestline.removesuffix(" HTTP/1.1"))
                if service.dies:
                    self.close_connection = True
                    return
                body = service.name.encode()
                self.send_response(service.status)
                if service.status == 503:
                    self.send_header("Retry-After", "7")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PATCH = do_PUT = do_DELETE = do_POST

            def log_message(self, *_: object) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.port = server.server_port
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            thread.start()
            yield self
            server.shutdown()


OURS = own_address()


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind((OURS, 0))
        return int(tried.getsockname()[1])


@contextmanager
def nginx(folder: Path, *ports: int) -> Iterator[httpx.Client]:
    """The shipped file with these services instead of the compose file's."""
    port = free_port()
    names = iter(ports)
    text = (REPO / "misc" / "nginx" / "visage.conf").read_text("utf-8")
    text = re.sub(r"server visage-\d:18080", lambda _: f"server 127.0.0.1:{next(names)}", text)
    (folder / "site.conf").write_text(text.replace("listen 8080;", f"listen {OURS}:{port};"), "utf-8")
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        # workers of an nginx that root starts could not write their bodies here
        f"{'user root;' if os.getuid() == 0 else ''} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;"
        f"events {{}} http {{ access_log off; {paths} include {folder}/site.conf; }}",
        "utf-8",
    )
    command = [str(NGINX), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command)
    try:
        wait_ready(lambda: _listens(port) or _ended(process, folder), 60)
        with httpx.Client(base_url=f"http://{OURS}:{port}", timeout=60) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex((OURS, port)) == 0


def _ended(process: subprocess.Popen[bytes], folder: Path) -> bool:
    assert process.poll() is None, (folder / "error.log").read_text("utf-8")
    return False


Balanced = Callable[..., tuple[httpx.Client, Service, Service]]


@pytest.fixture
def balanced(tmp_path: Path) -> Iterator[Balanced]:
    with ExitStack() as opened:

        def of(first: int, second: int, *, dies: bool = False) -> tuple[httpx.Client, Service, Service]:
            one, other = Service("a", first, dies), Service("b", second)
            for service in (one, other):
                opened.enter_context(service.serving())
            return opened.enter_context(nginx(tmp_path, one.port, other.port)), one, other

        yield of


def test_requests_are_spread_and_told_whose_they_are(balanced: Balanced) -> None:
    client, one, other = balanced(200, 200)
    told = [client.post("/extract", content=b"x" * 3_000_000, headers={"X-Request-Id": f"id-{i}"}) for i in range(6)]
    assert {answer.text for answer in told} == {"a", "b"} and one.bytes + other.bytes == 18_000_000
    seen = one.seen + other.seen
    assert sorted(headers["x-request-id"] for headers in seen) == [f"id-{i}" for i in range(6)]
    assert {headers["x-forwarded-for"] for headers in seen} == {"127.0.0.1"}
    client.post("/extract", content=b"x")
    assert any(re.fullmatch("[0-9a-f]{32}", headers["x-request-id"]) for headers in one.seen + other.seen)


def test_of_a_service_that_is_full_the_next_one_is_asked_with_the_whole_body(balanced: Balanced) -> None:
    client, full, free = balanced(503, 200)
    for _ in range(8):
        answer = client.post("/extract", content=b"x" * 100_000)
        assert (answer.status_code, answer.text) == (200, "b")
    assert free.bytes == 800_000 and full.seen


def test_where_all_are_full_callers_are_told_so_however_often_they_ask_fault_19(balanced: Balanced) -> None:
    client, _, _ = balanced(503, 503)
    for _ in range(20):
        answer = client.post("/extract", content=b"x")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


def test_a_service_that_is_gone_costs_nobody_an_answer(tmp_path: Path) -> None:
    with socket.socket() as gone, Service("b").serving() as there:
        gone.bind(("127.0.0.1", 0))  # not listening, and nobody else's meanwhile
        with nginx(tmp_path, gone.getsockname()[1], there.port) as client:
            assert [client.post("/extract", content=b"x").text for _ in range(10)] == ["b"] * 10


PERSONS = "/v1/collections/staff/persons"
WRITES = [
    ("POST", PERSONS),
    ("POST", f"{PERSONS}/grace/faces"),
    ("POST", f"{PERSONS}/search/faces?quality=off"),
    ("POST", "/v1/collections"),
    ("POST", "/v1/something/new"),
    ("PATCH", f"{PERSONS}/grace"),
    ("PUT", f"{PERSONS}/grace"),
    ("DELETE", f"{PERSONS}/grace"),
    ("DELETE", "/v1/collections/search"),
    ("POST", "/v1/collections/staff/bulk"),
]
READS = [
    ("GET", PERSONS),
    ("GET", "/v1/collections/staff/export?vectors=base64"),
    ("GET", "/ready"),
    ("POST", "/extract"),
    ("POST", "/extract?threshold=0.5"),
    ("POST", "/multipart/draw_detections"),
    ("POST", "/v1/detect?limit=1"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/compare"),
    ("POST", "/v1/collections/staff/search"),
]
# How the first of two services fails: it is full, or it may have been (a deadline that came first), or gone with the answer.
FAULTS: list[dict[str, Any]] = [{"first": 503}, {"first": 200, "dies": True}]
failing = pytest.mark.parametrize("fault", FAULTS, ids=["503", "dies"])


def done(one: Service, other: Service, method: str, path: str) -> int:
    """How often both together did it."""
    return (one.asked + other.asked).count(f"{method} {path}")


@failing
@pytest.mark.parametrize(("method", "path"), WRITES, ids=lambda value: value.replace("/", "_"))
def test_a_write_is_done_once_however_its_service_fails(
    balanced: Balanced, fault: dict[str, Any], method: str, path: str
) -> None:
    client, one, other = balanced(second=200, **fault)
    statuses = [client.request(method, path, content=b"{}").status_code for _ in range(6)]
    assert done(one, other, method, path) == 6
    assert one.asked and set(statuses) == {200, 502 if one.dies else 503}  # whoever asked is told


@failing
def test_a_write_with_a_key_is_asked_of_the_next_service(balanced: Balanced, fault: dict[str, Any]) -> None:
    client, one, other = balanced(second=200, **fault)
    for i, method in enumerate(["POST", "PATCH", "DELETE"] * 2):
        answer = client.request(method, PERSONS, content=b"{}", headers={"Idempotency-Key": f"k{i}"})
        assert (answer.status_code, answer.text) == (200, "b")
    assert one.seen and {headers["idempotency-key"] for headers in other.seen} == {f"k{i}" for i in range(6)}


@failing
@pytest.mark.parametrize(("method", "path"), READS, ids=lambda value: value.replace("/", "_"))
def test_what_changes_nothing_is_asked_of_the_next_service(
    balanced: Balanced, fault: dict[str, Any], method: str, path: str
) -> None:
    client, one, _ = balanced(second=200, **fault)
    content = b"x" * 1000 if method == "POST" else None
    told = [client.request(method, path, content=content) for _ in range(4)]
    assert [(answer.status_code, answer.text) for answer in told] == [(200, "b")] * 4 and one.asked


def test_of_a_service_that_is_gone_a_write_goes_to_the_other(tmp_path: Path) -> None:
    with socket.socket() as gone, Service("b").serving() as there:
        gone.bind(("127.0.0.1", 0))
        with nginx(tmp_path, gone.getsockname()[1], there.port) as client:
            assert [client.post(PERSONS, content=b"{}").text for _ in range(6)] == ["b"] * 6
            assert [client.patch(f"{PERSONS}/a", content=b"{}").text for _ in range(6)] == ["b"] * 6


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_paths_are_handed_on_as_they_were_sent(balanced: Balanced, method: str) -> None:
    """An id may hold a quoted slash, which must not become one on the way."""
    client, one, other = balanced(200, 200)
    path = f"{PERSONS}/a%2Fb%20%C3%A9?where=%7B%22a%22%3A%22%26%22%7D"
    assert client.request(method, path).status_code == 200
    assert one.asked + other.asked == [f"{method} {path}"]
    for inner in ("/.write", "/.write-once"):
        assert client.get(inner).status_code == 404  # nginx's own


def test_a_body_of_any_length_passes_to_bulk_alone(balanced: Balanced) -> None:
    client, one, other = balanced(200, 200)
    piece, pieces = b"x" * 2**20, 130

    def sent(path: str) -> int:
        body = (piece for _ in range(pieces))
        headers = {"Content-Length": str(len(piece) * pieces)}
        return client.post(path, content=body, headers=headers).status_code

    assert sent("/v1/collections/staff/bulk") == 200
    assert one.bytes + other.bytes == len(piece) * pieces
    told = HTTPConnection(client.base_url.host, client.base_url.port, timeout=60)
    told.request("POST", PERSONS, headers={"Content-Length": str(129 * 2**20)})
    assert told.getresponse().status == 413
    told.close()


def test_a_long_bulk_enrolment_passes_to_a_real_service_and_is_answered(tmp_path: Path, models_dir: Path) -> None:
    """As fast as it can be sent. What nginx itself does: once an answer has begun it sends no more of the body."""
    vector = base64.b64encode(bytes(4 * 127) + b"\0\0\x80\x3f").decode()
    rows = [json.dumps({"id": f"p{i}", "name": "x" * 480, "vectors": [vector]}).encode() + b"\n" for i in range(9000)]
    environ = {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir)}
    with served(tmp_path, **environ) as service:
        assert httpx.post(f"{service.url}/v1/collections", json={"name": "staff"}, timeout=60).status_code == 201
        port = int(service.url.rpartition(":")[2])
        with nginx(tmp_path, port, port) as client:
            headers = {"Content-Type": "application/x-ndjson"}
            answer = client.post("/v1/collections/staff/bulk", content=b"".join(rows), headers=headers)
            last = json.loads(answer.text.splitlines()[-1])
            assert last == {"done": True, "persons": 9000, "faces": 9000, "failed": 0}
            assert len(client.get("/v1/collections/staff/export?vectors=false").text.splitlines()) == 9000
