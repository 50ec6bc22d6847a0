"""SIGTERM while something is inside: whoever is inside hears of it, and the log has no traceback."""

import http.client
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.streams import Stream, vector_of
from tests.support import Server, served, wait_ready
from tests.wire import gauge

# A process or two each, which a busy machine takes its time to start.
pytestmark = pytest.mark.timeout(400)

# The service, with less time for those inside than operators have to wait for.
SOON = (
    "-c",
    "import sys; from visage.cli import serve; serve._GRACE_SECONDS = 2; from visage.__main__ import main; "
    "sys.exit(main(['serve']))",
)


@pytest.fixture
def environ(tmp_path: Path, models_dir: Path) -> dict[str, str]:
    return {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir)}


def collection(server: Server) -> None:
    answer = httpx.post(f"{server.url}/v1/collections", json={"name": "staff"}, timeout=60)
    assert answer.status_code == 201, answer.text


def ended_well(server: Server) -> None:
    assert server.process.wait(60) in (0, -signal.SIGTERM)
    assert "Traceback" not in server.log()
    # what uvicorn says of those that it gives up is for its developers
    assert "ASGI callable" not in server.log()


def inside(server: Server) -> float:
    return gauge(httpx.get(f"{server.url}/metrics", timeout=60).text, "visage_requests_inside")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_that_has_no_end_is_told_that_the_service_stops(
    tmp_path: Path, environ: dict[str, str], workers: int
) -> None:
    with served(tmp_path, **environ, NUM_WORKERS=str(workers)) as server:
        wait_ready(lambda: server.log().count("visage is ready") == workers)
        collection(server)
        told: list[Any] = []
        for line in Stream(server.url).lines():
            told.append(line)
            if len(told) == 1:
                began = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
        last = told.pop()
        assert last["done"] is False and last["error"]["type"] == "urn:visage:service-stopping"
        assert (last["persons"], last["failed"]) == (len(told), 0) and f"{len(told)} rows" in last["error"]["detail"]
        ended_well(server)
        assert time.monotonic() - began < 20  # the grace


@pytest.fixture
def soon(tmp_path: Path, environ: dict[str, str]) -> Iterator[Server]:
    with served(tmp_path, SOON, **environ) as server:
        yield server


def test_an_export_that_nobody_reads_is_cut_so_that_its_reader_notices(soon: Server) -> None:
    collection(soon)
    rows = [json.dumps({"id": f"p{i}", "vectors": [vector_of("p1").tolist()]}).encode() for i in range(12_000)]
    answer = httpx.post(
        f"{soon.url}/v1/collections/staff/bulk",
        content=b"\n".join(rows),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=120,
    )
    assert json.loads(answer.text.splitlines()[-1])["done"] is True
    connection = http.client.HTTPConnection(soon.url.removeprefix("http://"), timeout=60)
    connection.request("GET", "/v1/collections/staff/export", headers={"X-Request-Id": "cut"})
    export = connection.getresponse()
    soon.process.send_signal(signal.SIGTERM)
    wait_ready(lambda: "an answer was cut short" in soon.log())
    with pytest.raises(http.client.IncompleteRead):
        export.read()
    connection.close()
    ended_well(soon)
    (told,) = [json.loads(line) for line in soon.log().splitlines() if "an answer was cut short" in line]
    assert told["id"] == "cut" and "stopping" in told["reason"] and told["level"] == "warning"


def test_who_is_not_answered_when_the_time_is_over_is_told_to_ask_again(soon: Server) -> None:
    connection = http.client.HTTPConnection(soon.url.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/extract")
    connection.putheader("Content-Type", "image/jpeg")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"x")  # and no more
    wait_ready(lambda: inside(soon) == 1)
    soon.process.send_signal(signal.SIGTERM)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert json.loads(answer.read())["type"] == "urn:visage:service-stopping"
    connection.close()
    ended_well(soon)
