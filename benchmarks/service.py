"""What the service costs beside its networks, and how it behaves under load: `make bench`.

Every row has an aim and the value of this run. Ratios are medians of runs that alternate. "Pure" are the very sessions
that the service opened, given the very inputs that it gave them, one after the other in the same process.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import simplejpeg
import uvicorn

from benchmarks import decoding, pictures
from benchmarks.posting import Apart
from benchmarks.pure import Log, pairs, recorded
from benchmarks.rows import Row, Table, percentile, ratio
from benchmarks.serving import Service, load
from visage import logs
from visage.api.app import create_app
from visage.api.connection import Connection
from visage.runtime import Runtime
from visage.settings import Settings

ROUNDS = 60
CROWD_ROUNDS = 5
STREAM_ROUNDS = 4
STREAM_SECONDS = 4.0
CLIENTS = 8
HEALTH_CLIENTS = 30
HEALTH_SECONDS = 12.0
FAIR_SECONDS = 8.0


def main() -> int:
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}")
    logs.configure("ERROR", "text")
    table = Table()
    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder:
        files = {name: Path(folder) / f"{name}.jpg" for name in ("one_face", "wide", "crowd")}
        for name, file in files.items():
            file.write_bytes(getattr(pictures, name)())
        for name, environ in pairs(Path(folder) / "models").items():
            table.head(name)
            measure(table, environ, files)
    table.head("SCRFD's decode and suppression")
    for row in decoding.rows():
        table.add(row)
    print(f"\n{table.verdict()}")
    return 0


def measure(table: Table, environ: Mapping[str, str], files: Mapping[str, Path]) -> None:
    settings, _ = Settings.load({**environ, "LOG_LEVEL": "ERROR", "DEF_DET_THRESH": "0.3"})
    runtime, log = recorded(settings)
    with Here(settings, runtime) as here:
        for row in one_client(here, log, files["one_face"]):
            table.add(row)
        for row in crowd(here, log, files["crowd"].read_bytes()):
            table.add(row)
        post(here.url, files["one_face"].read_bytes())
        with log.recording():
            post(here.url, files["one_face"].read_bytes())
        for row in throughput(log, environ, files["one_face"]):
            table.add(row)
    for row in (*fairness(environ, files), *start(environ), *health(environ, files["one_face"])):
        table.add(row)


class Here:
    """The application served by uvicorn on a thread of this process, so that its sessions can be run without it."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        app = create_app(settings, opener=lambda _settings, _watcher: runtime)
        self._server = uvicorn.Server(
            uvicorn.Config(app, port=0, loop="uvloop", http=Connection, log_config=None, access_log=False)
        )
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> "Here":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        while httpx.get(f"{self.url}/ready").status_code != httpx.codes.OK:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


def post(url: str, body: bytes, query: str = "") -> int:
    """The faces that were found."""
    answer = httpx.post(f"{url}/extract{query}", content=body, headers={"Content-Type": "image/jpeg"}, timeout=120)
    return len(answer.raise_for_status().json()["data"][0]["faces"])


def one_client(here: Here, log: Log, picture: Path) -> list[Row]:
    """One face as a raw body over HTTP, against its networks alone."""
    served, pure, decode = [], [], []
    body = picture.read_bytes()
    with Apart(here.url, picture) as client:
        for number in range(ROUNDS + 5):
            if number == 5:
                served, pure, decode = [], [], []
                with log.recording():
                    client.post()
            served.append(client.post())
            answered = time.perf_counter()
            log.replay()
            replayed = time.perf_counter()
            simplejpeg.decode_jpeg(body, "BGR")
            decode.append(time.perf_counter() - replayed)
            pure.append(replayed - answered)
    beside = [s - p for s, p in zip(served, pure, strict=True)]
    a, b, c = (statistics.median(times) * 1000 for times in (served, pure, decode))
    return [
        Row("1 client, 1 face of 880×1076: (service − pure) ÷ decoding that JPEG", ratio(beside, decode), "", 2.5),
        Row("the same, service ÷ pure", ratio(served, pure), f"({a:.1f} ms, {b:.1f} ms; decoding {c:.1f} ms)", 1.15),
    ]


def crowd(here: Here, log: Log, body: bytes) -> list[Row]:
    """Hundreds of faces, against the same runs in as many streams as there are cores."""
    query = "?threshold=0.3"
    with log.recording():
        faces = post(here.url, body, query)
    cores = os.cpu_count() or 1
    served, pure = [], []
    for _ in range(CROWD_ROUNDS):
        started = time.perf_counter()
        post(here.url, body, query)
        answered = time.perf_counter()
        _side_by_side(log, cores)
        served.append(answered - started)
        pure.append(time.perf_counter() - answered)
    shown = f"({statistics.median(served):.2f} s, {statistics.median(pure):.2f} s)"
    return [Row(f"crowd of {faces} faces: service ÷ pure", ratio(served, pure), shown, 1.15)]


def _side_by_side(log: Log, cores: int) -> None:
    """The recorded runs, shared out among threads as the service shares them out; the detector's first."""
    first, *rest = log.runs
    first[0].session.run(first[1])
    waiting = list(reversed(rest))

    def work() -> None:
        while waiting:
            try:
                recorder, pixels = waiting.pop()
            except IndexError:
                return
            recorder.session.run(pixels)

    threads = [threading.Thread(target=work) for _ in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def throughput(log: Log, environ: Mapping[str, str], picture: Path) -> list[Row]:
    """Many clients, against streams of the networks alone; service and streams alternate."""
    cores = os.cpu_count() or 1
    served, limit, shares = [], [], []
    with Service(environ) as service:
        load(service.url, picture, CLIENTS, 1)
        for _ in range(STREAM_ROUNDS):
            report = load(service.url, picture, CLIENTS, STREAM_SECONDS)
            served.append(report.rate)
            shares.append(report.cpu_share)
            limit.append(log.streams(cores, STREAM_SECONDS))
    share = statistics.median(shares)
    shown = (
        f"({statistics.median(served):.1f}/s, {statistics.median(limit):.1f}/s; clients take {share:.0%} of the CPU)"
    )
    row = Row(f"{CLIENTS} clients: images/s ÷ {cores} pure streams", ratio(served, limit), shown, 0.92, at_least=True)
    return [row, Row("    the same, of the CPU that the clients leave", ratio(served, limit) / (1 - share))]


def fairness(environ: Mapping[str, str], files: Mapping[str, Path]) -> list[Row]:
    """One client's pictures of one face, while another client posts crowds without a pause."""
    stop = threading.Event()
    with Service(environ) as service:

        def crowds() -> None:
            while not stop.is_set():
                post(service.url, files["crowd"].read_bytes(), "?threshold=0.3")

        load(service.url, files["one_face"], 1, 1)
        alone = load(service.url, files["one_face"], 1, FAIR_SECONDS)
        busy = threading.Thread(target=crowds)
        busy.start()
        among = load(service.url, files["one_face"], 1, FAIR_SECONDS)
        stop.set()
        busy.join()
    shown = f"({alone.p95:.0f} ms alone, {among.p95:.0f} ms beside the crowd)"
    return [Row("1 face beside a crowd of hundreds: p95 ÷ p95 alone", among.p95 / alone.p95, shown, 2.0)]


def start(environ: Mapping[str, str]) -> list[Row]:
    """From the process's start to ready, networks prepared before."""
    times = []
    for _ in range(3):
        with Service(environ) as service:
            times.append(service.ready_after)
    return [Row("process start to ready", statistics.median(times), "s", 2.0)]


def health(environ: Mapping[str, str], picture: Path) -> list[Row]:
    """/health asked while 30 clients post, and the memory that this takes."""
    times: list[float] = []
    with Service(environ) as service:
        idle = peak = service.rss()
        loading = threading.Thread(target=load, args=(service.url, picture, HEALTH_CLIENTS, HEALTH_SECONDS))
        loading.start()
        with httpx.Client() as client:
            while loading.is_alive():
                asked = time.perf_counter()
                client.get(f"{service.url}/health").raise_for_status()
                times.append(time.perf_counter() - asked)
                peak = max(peak, service.rss())
                time.sleep(0.02)
    return [
        Row(f"{HEALTH_CLIENTS} clients: p99 of /health", percentile(times, 0.99) * 1000, "ms", 20),
        Row("RSS after start", idle, "MB"),
        Row(f"RSS at most under {HEALTH_CLIENTS} clients", peak, "MB"),
    ]


if __name__ == "__main__":
    sys.exit(main())
