"""What the service costs beside its networks, and how it behaves under load: `make bench`.

Every row has an aim and the value of this run. Ratios are medians of runs that alternate in one process, so that
a machine whose speed drifts drifts for both. Needs nothing but this repository.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import psutil
import simplejpeg
import uvloop

import visage.runtime as composition
from visage.api.metrics import Metrics
from visage.backends import backend
from visage.backends.base import ModelFile, Session
from visage.deadline import Deadline
from visage.faces import Floats, ImageFaces, Pixels
from visage.images.fetching import Raw
from visage.options import ExtractOptions
from visage.runtime import open_runtime
from visage.settings import Settings

REPO = Path(__file__).resolve().parents[1]
PICTURES = REPO / "misc" / "images"
ROUNDS = 60
CROWD_ROUNDS = 12
CLIENTS = 30
LOAD_SECONDS = 20


def main() -> int:
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}\n")
    print(f"{'what':58} {'aim':>10} {'value':>10}")
    rows = [*overhead(), *cold_start(), *load()]
    print()
    missed = [name for name, aim, value in rows if aim is not None and value > aim]
    print("all aims met" if not missed else "missed: " + "; ".join(missed))
    return 0


def row(name: str, aim: float | None, value: float, unit: str) -> tuple[str, float | None, float]:
    shown = "" if aim is None else f"<= {aim:g}"
    print(f"{name:58} {shown:>10} {value:>8.2f} {unit}", flush=True)
    return name, aim, value


def one_face() -> bytes:
    """misc/images/grace_hopper.jpg at 880×1076, one face."""
    picture = cv2.imread(str(PICTURES / "grace_hopper.jpg"))
    factor = 1076 / picture.shape[0]
    large = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    left = (large.shape[1] - 880) // 2
    return simplejpeg.encode_jpeg(np.ascontiguousarray(large[:1076, left : left + 880]), 90, "BGR", "420")


def crowd() -> bytes:
    """misc/images/group.jpg four times over: 96 faces."""
    picture = cv2.imread(str(PICTURES / "group.jpg"))
    tiled = np.tile(picture, (2, 2, 1))
    return simplejpeg.encode_jpeg(np.ascontiguousarray(tiled), 90, "BGR", "420")


class Recorder:
    """A session that remembers what it was given."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.sizes = session.sizes
        self.max_batch = session.max_batch
        self.given: list[Pixels] = []
        self.recording = False

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        if self.recording:
            self.given.append(pixels.copy())
        return self.session.run(pixels)

    def close(self) -> None:
        self.session.close()


def overhead() -> list[tuple[str, float | None, float]]:
    """Service time ÷ time of the same runs of the same sessions alone, at the same shapes and threads."""
    recorders: list[Recorder] = []

    def recording(name: str) -> Callable[[ModelFile], Recorder]:
        def opened(model: ModelFile) -> Recorder:
            recorders.append(Recorder(backend(name)(model)))
            return recorders[-1]

        return opened

    composition.backend = recording  # type: ignore[assignment]
    settings, _ = Settings.load({"MODELS_DIR": str(REPO / "models"), "LOG_LEVEL": "ERROR"})
    runtime = open_runtime(settings, Metrics())
    rows = []
    for name, data, rounds, aim in (
        ("1 face, 880×1076", one_face(), ROUNDS, 1.2),
        ("crowd", crowd(), CROWD_ROUNDS, 1.25),
    ):
        rows += uvloop.run(_compared(runtime.service, recorders, name, data, rounds, aim))
    uvloop.run(runtime.aclose())
    return rows


async def _compared(
    service: Any, recorders: list[Recorder], name: str, data: bytes, rounds: int, aim: float
) -> list[tuple[str, float | None, float]]:
    async def serve() -> int:
        [outcome] = await service.extract([Raw(data)], ExtractOptions(), Deadline(60))
        assert isinstance(outcome.result, ImageFaces)
        return len(outcome.result.faces)

    for recorder in recorders:
        recorder.given, recorder.recording = [], True
    faces = await serve()
    for recorder in recorders:
        recorder.recording = False

    def replay() -> None:
        for recorder in recorders:
            for pixels in recorder.given:
                recorder.session.run(pixels)

    served, pure = [], []
    for _ in range(3):
        await serve()
        replay()
    for _ in range(rounds):
        started = time.perf_counter()
        await serve()
        middle = time.perf_counter()
        replay()
        served.append(middle - started)
        pure.append(time.perf_counter() - middle)
    a, b = statistics.median(served) * 1000, statistics.median(pure) * 1000
    ratio = statistics.median(x / y for x, y in zip(served, pure, strict=True))
    return [
        row(f"{name} ({faces} faces): service ÷ its sessions alone", aim, ratio, ""),
        row("    service time", None, a, "ms"),
        row("    sessions alone", None, b, "ms"),
        row("    difference", None, a - b, "ms"),
    ]


class Service:
    """`visage serve` as a process, stopped at the end."""

    def __init__(self) -> None:
        self._log = Path(tempfile.mkstemp(prefix="visage-bench-", suffix=".log")[1])
        env = {**os.environ, "PORT": "0", "LOG_FORMAT": "json", "MODELS_DIR": str(REPO / "models")}
        self.started = time.perf_counter()
        with self._log.open("w") as out:
            self.process = subprocess.Popen([sys.executable, "-m", "visage", "serve"], env=env, stderr=out, cwd=REPO)
        self.url = self._wait()

    def _wait(self) -> str:
        while self.process.poll() is None:
            for line in self._log.read_text().splitlines():
                event = json.loads(line)["event"]
                if event.startswith("visage is ready: "):
                    self.ready_after = time.perf_counter() - self.started
                    return str(event.split()[3])
            time.sleep(0.005)
        raise SystemExit(self._log.read_text())

    def rss(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._log.unlink()


def cold_start() -> list[tuple[str, float | None, float]]:
    """From the process's start to ready, networks prepared before."""
    times = []
    for _ in range(3):
        service = Service()
        times.append(service.ready_after)
        service.stop()
    return [row("process start to ready", 3.0, statistics.median(times), "s")]


def load() -> list[tuple[str, float | None, float]]:
    """30 clients in another process post the one-face picture for 20 s; /health is asked meanwhile."""
    service = Service()
    idle = service.rss()
    clients = subprocess.Popen([sys.executable, __file__, "--clients", service.url], stdout=subprocess.PIPE, text=True)
    times: list[float] = []
    peak = [idle]
    done = threading.Event()

    def watch_memory() -> None:
        while not done.wait(0.2):
            peak[0] = max(peak[0], service.rss())

    watcher = threading.Thread(target=watch_memory)
    watcher.start()
    time.sleep(2)
    with httpx.Client() as client:
        until = time.monotonic() + LOAD_SECONDS - 4
        while time.monotonic() < until:
            started = time.perf_counter()
            client.get(f"{service.url}/health").raise_for_status()
            times.append(time.perf_counter() - started)
            time.sleep(0.02)
    out, _ = clients.communicate(timeout=120)
    done.set()
    watcher.join()
    service.stop()
    report = json.loads(out)
    times.sort()
    return [
        row(f"/health p99 under {CLIENTS} clients", 25, times[int(len(times) * 0.99)] * 1000, "ms"),
        row(f"    images a second under {CLIENTS} clients", None, report["images"] / report["seconds"], "/s"),
        row("    answers that were not 200", None, report["refused"], ""),
        row("RSS after start", 400, idle, "MB"),
        row("RSS at most under load", 400, peak[0], "MB"),
    ]


def clients(url: str) -> None:
    """The load: threads that post one picture again and again; prints what came of it as JSON."""
    body = one_face()
    files = {"files": ("a.jpg", body, "image/jpeg")}
    until = time.monotonic() + LOAD_SECONDS
    counts: list[tuple[int, int]] = []

    def post() -> None:
        images = refused = 0
        with httpx.Client(timeout=60) as client:
            while time.monotonic() < until:
                if client.post(f"{url}/multipart/extract", files=files).status_code == 200:
                    images += 1
                else:
                    refused += 1
        counts.append((images, refused))

    threads = [threading.Thread(target=post) for _ in range(CLIENTS)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - started
    print(json.dumps({"images": sum(c[0] for c in counts), "refused": sum(c[1] for c in counts), "seconds": seconds}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--clients"]:
        clients(sys.argv[2])
    else:
        sys.exit(main())
