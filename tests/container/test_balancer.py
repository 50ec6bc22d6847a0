"""misc/nginx/visage.conf, run by a real nginx where there is one, before services of a few lines."""

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support import REPO, own_address, wait_ready

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx-light")


@dataclass
class Service:
    """Answers with `status`, and remembers what it was asked."""

    name: str
    status: int = 200
    seen: list[dict[str, str]] = field(default_factory=list)
    bytes: int = 0
    port: int = 0

    @contextmanager
    def serving(self) -> Iterator["Service"]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                service.bytes += len(self.rfile.read(int(self.headers.get("content-length", 0))))
                service.seen.append({key.lower(): value for key, value in self.headers.items()})
                body = service.name.encode()
                self.send_response(service.status)
                if service.status == 503:
                    self.send_header("Retry-After", "7")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

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

        def of(first: int, second: int) -> tuple[httpx.Client, Service, Service]:
            one, other = (opened.enter_context(Service(*how).serving()) for how in (("a", first), ("b", second)))
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
