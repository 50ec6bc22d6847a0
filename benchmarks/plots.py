"""The plots of docs/performance.md: `make plots`.

Latency and throughput against the number of clients; time against the number of faces of one picture.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks import pictures
from benchmarks.serving import REPO, Report, Service, load

CLIENTS = (1, 2, 4, 8, 16, 32)
FACES = (1, 4, 16, 64, 256, 700)
TIMES = 3
# Tiles of misc/images/group.jpg (24 faces each) in one picture, all of which are found at this size.
TILES = (6, 5)
CROWD_ENV = {"MAX_SIZE": "1280,1280"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=REPO / "docs" / "images")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load for each number of clients")
    given = parser.parse_args(arguments)
    given.into.mkdir(parents=True, exist_ok=True)
    environ = {"MODELS_DIR": str(REPO / "models")}
    with tempfile.TemporaryDirectory() as folder, Service(environ) as service:
        picture = Path(folder) / "one.jpg"
        picture.write_bytes(pictures.one_face())
        loads = {count: load(service.url, picture, count, given.seconds) for count in CLIENTS}
    save(of_clients(loads), given.into / "clients.png")
    with Service({**environ, **CROWD_ENV}) as service:
        times = crowd_seconds(service.url, FACES)
    save(of_faces(times), given.into / "faces.png")
    return 0


def crowd_seconds(url: str, counts: Sequence[int]) -> dict[int, float]:
    """The median time of a request for the so many largest faces of one picture with 720."""
    body = pictures.jpeg(np.tile(pictures.read("group.jpg"), (*TILES, 1)))
    found = {}
    with httpx.Client(timeout=300, headers={"Content-Type": "image/jpeg"}) as client:
        for count in counts:
            seconds = []
            for _ in range(TIMES):
                started = time.perf_counter()
                answer = client.post(f"{url}/extract?limit_faces={count}", content=body).raise_for_status().json()
                seconds.append(time.perf_counter() - started)
            answered = len(answer["data"][0]["faces"])
            if answered != count:
                raise SystemExit(f"{count} faces were asked for, {answered} answered")
            found[count] = statistics.median(seconds)
    return found


def of_clients(loads: Mapping[int, Report]) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    latency, throughput = figure.subplots(1, 2)
    counts = list(loads)
    latency.plot(counts, [loads[count].p95 for count in counts], "o-", label="p95")
    latency.plot(counts, [loads[count].p50 for count in counts], "o-", label="p50")
    latency.set(ylabel="latency, ms", yscale="log")
    _plain(latency)
    latency.legend()
    throughput.plot(counts, [loads[count].rate for count in counts], "o-", color="tab:green")
    throughput.set(ylabel="images a second", ylim=(0, None))
    for axes in (latency, throughput):
        axes.set(xlabel="clients", xscale="log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.grid(visible=True, alpha=0.3)
    figure.suptitle("one face, 880×1076 JPEG, the default pair, two cores")
    return figure


def of_faces(times: Mapping[int, float]) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    counts = list(times)
    axes.plot(counts, [times[count] * 1000 for count in counts], "o-")
    axes.set(xlabel="faces described", ylabel="one request, ms", xscale="log", yscale="log")
    axes.set_xticks(counts, [str(count) for count in counts])
    _plain(axes)
    axes.minorticks_off()
    axes.grid(visible=True, alpha=0.3)
    axes.set_title("a picture of 720 faces, detected at 1280×1280, the default pair, two cores", fontsize="medium")
    return figure


def _plain(axes: Axes) -> None:
    """Milliseconds on a logarithmic scale that can be read off: 20, 50, 100."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
