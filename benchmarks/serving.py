"""`visage serve` as a process of its own, and clients of it in another."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.posting import Poster, Question

REPO = Path(__file__).resolve().parents[1]


class Service:
    """A service on a port that the system chose; `tree` and `python` may be another commit's."""

    def __init__(self, environ: Mapping[str, str], tree: Path = REPO, python: Path = Path(sys.executable)) -> None:
        self._log = Path(tempfile.mkstemp(prefix="visage-bench-", suffix=".log")[1])
        env = {**os.environ, "PORT": "0", "LOG_FORMAT": "json", "PYTHONPATH": str(tree / "src"), **environ}
        started = time.perf_counter()
        with self._log.open("w") as out:
            self.process = subprocess.Popen([str(python), "-m", "visage", "serve"], env=env, stderr=out, cwd=tree)
        self.url = self._wait()
        self.ready_after = time.perf_counter() - started
        self.seen = psutil.Process(self.process.pid)

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(120)
        self._log.unlink()

    def rss(self) -> float:
        """MB."""
        return float(self.seen.memory_info().rss) / 2**20

    def _wait(self) -> str:
        while self.process.poll() is None:
            whole = self._log.read_text("utf-8").rpartition("\n")[0]  # the last line may be being written just now
            for line in whole.splitlines():
                event = str(json.loads(line)["event"])
                if event.startswith("visage is ready: "):
                    return event.split()[3]
            time.sleep(0.005)
        raise SystemExit(self._log.read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Report:
    """What clients saw: images a second, latencies in ms, answers that were not 200, and the CPU seconds they took."""

    rate: float
    p50: float
    p95: float
    refused: int
    cpu_share: float


def load(url: str, picture: Path, clients: int, seconds: float, query: str = "") -> Report:
    """Clients in a process of their own that post one picture again and again."""
    command = [sys.executable, "-m", "benchmarks.serving", url, str(picture), str(clients), str(seconds), query]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPO)
    return Report(**json.loads(done.stdout))


def _clients(url: str, picture: Path, clients: int, seconds: float, query: str) -> Report:
    question = Question.picture(url, picture.read_bytes(), query)
    times: list[float] = []
    refused: list[int] = []
    started, cpu = time.perf_counter(), time.process_time()
    until = started + seconds

    def post() -> None:
        with Poster(url) as poster:
            while time.perf_counter() < until:
                asked = time.perf_counter()
                status, _ = poster.post(question)
                times.append(time.perf_counter() - asked)
                if status != httpx.codes.OK:
                    refused.append(status)

    threads = [threading.Thread(target=post) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    ordered = sorted(times)
    return Report(
        (len(times) - len(refused)) / took,
        statistics.median(ordered) * 1000,
        ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1000,
        len(refused),
        (time.process_time() - cpu) / took / (os.cpu_count() or 1),
    )


if __name__ == "__main__":
    where, file, number, duration, more = sys.argv[1:]
    seen = _clients(where, Path(file), int(number), float(duration), more)
    print(json.dumps({name: getattr(seen, name) for name in Report.__slots__}))
