"""HEALTHCHECK's command, run as docker does it."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from tests.support import REPO


def status(port: int, **environ: str) -> int:
    command = [sys.executable, str(REPO / "misc" / "container" / "healthy.py")]
    env = {"PATH": os.environ.get("PATH", ""), "PORT": str(port), **environ}
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("", "")
    return done.returncode


@pytest.fixture
def answering() -> Callable[[bytes], tuple[int, list[bytes]]]:
    """A port where one connection gets these bytes, and what was asked there."""

    def of(answer: bytes) -> tuple[int, list[bytes]]:
        listening = socket.create_server(("127.0.0.1", 0))
        asked: list[bytes] = []

        def serve() -> None:
            with listening, listening.accept()[0] as connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return listening.getsockname()[1], asked

    return of


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 1),
        (b"no HTTP at all\r\n\r\n", 1),
        (b"", 1),
    ],
)
def test_it_is_healthy_when_it_is_ready(
    answering: Callable[[bytes], tuple[int, list[bytes]]], answer: bytes, expected: int
) -> None:
    port, asked = answering(answer)
    assert status(port, ROOT_PATH="/faces/") == expected
    assert asked[0].startswith(b"GET /faces/ready HTTP/1.1\r\n")


def test_it_is_not_where_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening, and nobody else's meanwhile
        assert status(taken.getsockname()[1]) == 1
