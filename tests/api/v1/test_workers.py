"""Galleries behind real worker processes: what one has acknowledged every other one knows, and kill -9 loses none of it."""

import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import orjson
import psutil
import pytest

from tests.streams import Stream, vector_of
from tests.support import Server, served, settings_of, wait_ready
from visage.cli.serve import server_config

WORKERS = 3
THRESHOLD = 0.9


def asked(url: str, method: str, path: str, **more: Any) -> httpx.Response:
    """On a connection of its own, which any worker may take."""
    answer = httpx.request(method, f"{url}/v1{path}", timeout=300, **more)
    assert answer.status_code < 400, answer.text
    return answer


def who_is(url: str, person: str) -> list[str]:
    body = {"vectors": [vector_of(person).tolist()], "top": 1, "threshold": THRESHOLD}
    (probe,) = asked(url, "POST", "/collections/staff/search", json=body).json()["probes"]
    return [match["person"]["id"] for match in probe["matches"]]


def enrolled(url: str, person: str) -> None:
    asked(url, "POST", "/collections/staff/persons", json={"id": person, "vectors": [vector_of(person).tolist()]})


@pytest.fixture
def environ(tmp_path: Path, models_dir: Path) -> dict[str, str]:
    return {
        "DATA_DIR": str(tmp_path / "data"),
        "MODELS_DIR": str(models_dir),
        "NUM_WORKERS": str(WORKERS),
        "MAX_REQUESTS": "256",
        "REQUEST_TIMEOUT": "300",  # how long three processes take tells of the machine
    }


@contextmanager
def serving(folder: Path, environ: dict[str, str]) -> Iterator[Server]:
    """All of the workers are ready."""
    with served(folder, **environ) as server:
        wait_ready(lambda: str(server.log()).count("visage is ready") == WORKERS, 120)
        yield server


def test_a_worker_that_starts_slowly_is_not_taken_for_one_that_hangs() -> None:
    """It says nothing before its libraries are loaded; on a busy machine uvicorn's own 5 s end it again and again."""
    assert server_config(settings_of(NUM_WORKERS="3"), partial(lambda: None)).timeout_worker_healthcheck >= 60


class Mixed:
    """Writers that hold every write against the next answers, and readers of what others wrote."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.there: list[str] = []
        self.faults: list[str] = []
        self.done = threading.Event()

    def write(self, writer: int) -> None:
        for n in range(3):
            person = f"p{100 * writer + n}"
            enrolled(self.url, person)
            if who_is(self.url, person) != [person]:
                self.faults.append(f"{person} was enrolled and is not found")
            if n == 1:
                asked(self.url, "DELETE", f"/collections/staff/persons/{person}")
                if who_is(self.url, person) == [person]:
                    self.faults.append(f"{person} was deleted and is found")
            else:
                self.there.append(person)

    def read(self, reader: int) -> None:
        chance = random.Random(reader)
        while not self.done.wait(0.1):
            if self.there:
                person = chance.choice(self.there)
                if who_is(self.url, person) != [person]:
                    self.faults.append(f"{person} was acknowledged and is not found")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("each", [12, pytest.param(50, marks=pytest.mark.slow)])
def test_writers_and_readers_over_three_workers_lose_nothing_and_read_nothing_stale(
    tmp_path: Path, environ: dict[str, str], each: int
) -> None:
    with serving(tmp_path, environ) as server:
        asked(server.url, "POST", "/collections", json={"name": "staff"})
        mixed = Mixed(server.url)
        with ThreadPoolExecutor(2 * each) as pool:
            readers = [pool.submit(mixed.read, i) for i in range(each)]
            writers = [pool.submit(mixed.write, i) for i in range(each)]
            try:
                for writer in writers:
                    writer.result()
            finally:
                mixed.done.set()
            for reader in readers:
                reader.result()
        assert mixed.faults == []
        assert len(mixed.there) == each * 2
        held = asked(server.url, "GET", "/collections/staff").json()
        assert (held["persons"], held["faces"]) == (2 * each, 2 * each)
        lines = asked(server.url, "GET", "/collections/staff/export").text.splitlines()
        assert sorted(orjson.loads(line)["person"]["id"] for line in lines) == sorted(mixed.there)


def killed(server: Server) -> None:
    """Every process of the service at once, as when the power goes."""
    process = psutil.Process(server.process.pid)
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # one that ended with those before it
            one.send_signal(signal.SIGKILL)
    server.process.wait()


@pytest.mark.timeout(600)
def test_what_a_stream_has_acknowledged_is_there_after_kill_9(tmp_path: Path, environ: dict[str, str]) -> None:
    acknowledged: list[str] = []
    with serving(tmp_path, environ) as server:
        asked(server.url, "POST", "/collections", json={"name": "staff"})
        for told in Stream(server.url).lines():
            assert told["status"] == "enrolled"
            acknowledged.append(told["person"])
            if len(acknowledged) == 2500:
                killed(server)
    with serving(tmp_path, environ) as server:
        held = asked(server.url, "GET", "/collections/staff").json()
        assert held["persons"] == held["faces"] >= len(acknowledged) >= 2500
        lines = asked(server.url, "GET", "/collections/staff/export").text.splitlines()
        kept = {told["person"]["id"]: np.array(told["vector"], np.float32) for told in map(orjson.loads, lines)}
        assert set(acknowledged) <= set(kept)
        for person in acknowledged[::100]:
            assert np.allclose(kept[person], vector_of(person), atol=1e-6)
