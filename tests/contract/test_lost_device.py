"""A device that is lost for good: the service says so, and a process that can answer takes the place of this one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests import losing
from tests.support import (
    REPO,
    ConstantDetector,
    Server,
    b64,
    client_of,
    constant_runtime,
    extract,
    served,
    settings_of,
    wait_ready,
)
from tests.wire import gauge
from visage.backends.base import Sizes
from visage.errors import DeviceLost
from visage.faces import Detections, Floats, ImageBatch

# A process alone ends after so many seconds; meanwhile it is asked, on a busy machine too.
SERVE = f"""
from visage.__main__ import main
from visage.backends import BACKENDS
from visage.cli import serve
BACKENDS[{losing.NAME!r}] = {losing.ADDRESS!r}
serve._LOSS_SECONDS = 10.0
if __name__ == "__main__":
    raise SystemExit(main(["serve"]))
"""


class Fragile(ConstantDetector):
    """Its device is lost when it runs, or when it is loaded again."""

    def __init__(self, *, later: bool) -> None:
        self.later = later
        self.lost = False

    @property
    def sizes(self) -> Sizes:  # type: ignore[override]
        if self.lost and self.later:
            raise DeviceLost(losing.SAID)
        return Sizes((640, 480))

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        if self.lost:
            raise DeviceLost(losing.SAID)
        return super().detect(images, thresholds)


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("compat", ["", "0.9"])
def test_readiness_and_liveness_say_why_and_nobody_is_let_in(hopper: bytes, later: bool, compat: str) -> None:
    told: list[bool] = []
    detector = Fragile(later=later)
    settings = settings_of(MODELS_IDLE_SECONDS="0.2" if later else "0", COMPAT_API=compat)
    opener = partial(constant_runtime, detector=detector)
    with client_of(settings, opener=opener, lost=lambda: told.append(True)) as client:
        extract(client, hopper)
        assert gauge(client.get("/metrics").text, "visage_ready") == 1
        if later:
            wait_ready(
                lambda: 'visage_model_in_memory{model="constant_detector",stage="detection"} 0.0' in _text(client)
            )
        detector.lost = True
        body = {"images": {"data": [b64(hopper)]}}
        first = client.post("/extract", json=body)
        assert first.status_code == 503 and int(first.headers["retry-after"]) > 0
        ready, health = client.get("/ready"), client.get("/health")
        assert (ready.status_code, health.status_code) == (503, 500)
        assert ready.json()["detail"] == health.json()["detail"] == losing.SAID
        for path in ("/extract", "/multipart/extract", "/draw_detections", "/multipart/draw_detections"):
            assert client.post(path, json=body).status_code == 503
        assert told == [True] and gauge(_text(client), "visage_ready") == 0
        if not compat:
            assert health.json()["type"] == "urn:visage:device-lost" and ready.json()["type"] == "urn:visage:not-ready"
            assert client.get("/info").json()["visage"]["ready"] is False


def _text(client: Any) -> str:
    return str(client.get("/metrics").text)


@contextmanager
def losing_server(folder: Path, models: Path, workers: str) -> Iterator[tuple[Server, Path]]:
    """A service, and the file that takes a process's device away."""
    (folder / "serve.py").write_text(SERVE, "utf-8")
    file = folder / "lose"
    environ = {"PYTHONPATH": f"{REPO / 'src'}:{REPO}", "MODELS_DIR": str(models), "NUM_WORKERS": workers}
    environ |= {"INFERENCE_BACKEND": losing.NAME, losing.FILE: str(file)}
    with served(folder, [str(folder / "serve.py")], **environ) as server:
        yield server, file


def asked(server: Server, hopper: bytes) -> httpx.Response:
    return httpx.post(f"{server.url}/extract", json={"images": {"data": [b64(hopper)]}}, timeout=60)


def test_a_process_alone_says_so_for_a_while_and_ends(models_dir: Path, tmp_path: Path, hopper: bytes) -> None:
    with losing_server(tmp_path, models_dir, "1") as (server, file):
        assert asked(server, hopper).status_code == 200
        file.touch()
        assert asked(server, hopper).json()["type"] == "urn:visage:device-lost"
        ready = httpx.get(f"{server.url}/ready", timeout=60)
        assert (ready.status_code, ready.json()["detail"]) == (503, losing.SAID)
        assert server.process.wait(60) == 1
        errors = [line["event"] for line in map(json.loads, server.log().splitlines()) if line["level"] == "error"]
        assert errors == [f"not ready any more: {losing.SAID}", "this process ends in 10 s"]


def test_of_several_one_takes_the_place_of_the_one_that_lost_it(
    models_dir: Path, tmp_path: Path, hopper: bytes
) -> None:
    with losing_server(tmp_path, models_dir, "2") as (server, file):

        def ready() -> int:
            return server.log().count("visage is ready")

        wait_ready(lambda: ready() == 2, 100)
        file.touch()
        assert asked(server, hopper).status_code == 503
        wait_ready(lambda: ready() == 3, 100)
        assert [asked(server, hopper).status_code for _ in range(8)] == [200] * 8
        assert gauge(httpx.get(f"{server.url}/metrics", timeout=60).text, "visage_ready") == 1
        assert server.process.poll() is None and "Traceback" not in server.log()
