"""A gallery over HTTP: enrolment in bulk, search by vector, /health meanwhile, and the start with all of it.

    python -m benchmarks.galleries [--rows 100000] [--folder DIR]

Prints Markdown. The vectors and the probes are those of `benchmarks.search`; ratios are taken between requests and
faiss' flat index in this process (extra `search`), asked in turn. The service has its usual settings.
"""

import http.client
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import ormsgpack

from benchmarks.posting import Poster, Question
from benchmarks.rows import Row, Table, percentile, ratio
from benchmarks.search import (
    DIMENSION,
    PROBES,
    RECOGNISER,
    faiss_flat,
    in_a_folder,
    in_turn,
    opened,
    probes_of,
    recode,
    unit,
)
from benchmarks.serving import Service
from visage.faces import Floats
from visage.search.base import NewCollection, Precision
from visage.search.places import FOLDER

PACKED = "application/x-msgpack"
_A_PIECE = 200  # rows of the body sent at a time
_HEALTH = 200  # times


def main() -> None:
    in_a_folder(__doc__, lambda folder, rows: Benchmark(folder, rows).run())


class Benchmark:
    def __init__(self, folder: Path, rows: int) -> None:
        self.folder, self.rows = folder, rows
        self.environ = {"DATA_DIR": str(folder)}
        self.vectors = unit(rows, 1)
        self.probes = probes_of(self.vectors, PROBES)
        self.table = Table()

    def run(self) -> str:
        self.table.head(f"{self.rows:,} × {DIMENSION} over HTTP, {len(os.sched_getaffinity(0))} cores")
        with opened(self.folder / FOLDER) as store:
            store.create(NewCollection("all", RECOGNISER))
        with Service(self.environ) as service:
            self.fill(service.url)
        with opened(self.folder / FOLDER) as store:
            store._upkeep.fold("all", at_once=True)
        for precision in ("fp32", "fp16", "int8"):
            with opened(self.folder / FOLDER) as store:
                recode(store, precision)
            self.asked(precision)
        return self.table.verdict()

    def fill(self, url: str) -> None:
        """As one stream, whose answer is read while it is sent: a line a row, once it is on the disk."""
        began = time.perf_counter()
        *_, last = streamed(url, "/v1/collections/all/bulk", self._rows())
        took = time.perf_counter() - began
        if last != {"done": True, "persons": self.rows, "faces": self.rows, "failed": 0}:
            raise SystemExit(f"the stream ended with {last}")
        self.table.add(Row("bulk enrolment, each row acknowledged", self.rows / took, "rows/s", 5000, at_least=True))

    def _rows(self) -> Iterator[bytes]:
        for start in range(0, self.rows, _A_PIECE):
            numbers = range(start, min(start + _A_PIECE, self.rows))
            yield b"".join(ormsgpack.packb({"id": f"p{i}", "vectors": [self.vectors[i].tobytes()]}) for i in numbers)

    def asked(self, precision: Precision) -> None:
        one, eight = question(self.probes[:1]), question(self.probes[:8])
        apart = [question(probe[None]) for probe in self.probes[:8]]
        began = time.perf_counter()
        with Service(self.environ) as service, Poster(service.url) as poster:
            found(poster, one)
            if precision == "fp32":
                self.table.add(Row("process to first answer", time.perf_counter() - began, "s", 2.0))
            ways: dict[str, Callable[[], object]] = {
                "one": lambda: found(poster, one),
                "eight": lambda: found(poster, eight),
                "eight calls": lambda: [found(poster, each) for each in apart],
            }
            flat = faiss_flat(self.vectors)
            if flat is not None:
                ways["faiss"] = lambda: flat.search(self.probes[:1], 10)
            took = in_turn(ways)
            self._told(precision, took)
            if precision == "fp32":
                self.health(service.url, one)

    def _told(self, precision: Precision, took: dict[str, Sequence[float]]) -> None:
        self.table.add(Row(f"{precision}: ten best persons of a vector", 1e3 * statistics.median(took["one"]), "ms"))
        if "faiss" in took:
            self.table.add(Row("faiss flat, the ten best rows", 1e3 * statistics.median(took["faiss"]), "ms"))
            aim = 0.5 if precision == "int8" else 1.2
            self.table.add(Row(f"{precision}: to faiss flat", ratio(took["one"], took["faiss"]), "", aim))
        aimed = 0.5 if precision == "fp32" else None
        self.table.add(Row(f"{precision}: 8 probes to 8 calls", ratio(took["eight"], took["eight calls"]), "", aimed))

    def health(self, url: str, one: Question) -> None:
        """Alone, and while somebody searches without a pause."""
        self.table.add(Row("/health, median", 1e3 * statistics.median(healthy(url)), "ms", 5.0))
        done = threading.Event()

        def searching() -> None:
            with Poster(url) as poster:
                while not done.is_set():
                    found(poster, one)

        thread = threading.Thread(target=searching)
        thread.start()
        try:
            times = healthy(url)
        finally:
            done.set()
            thread.join()
        self.table.add(Row("/health beside searches, median", 1e3 * statistics.median(times), "ms", 5.0))
        self.table.add(Row("/health beside searches, p99", 1e3 * percentile(times, 0.99), "ms"))


def question(probes: Floats) -> Question:
    body = {"vectors": [probe.tobytes() for probe in probes], "top": 10, "threshold": -0.99}
    return Question("/v1/collections/all/search", ormsgpack.packb(body), {"Content-Type": PACKED, "Accept": PACKED})


def found(poster: Poster, asked: Question) -> Any:
    status, body = poster.post(asked)
    if status != http.client.OK:
        raise SystemExit(f"the service answered {status}: {body[:300]!r}")
    return ormsgpack.unpackb(body)


def healthy(url: str) -> list[float]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    times = []
    for _ in range(_HEALTH):
        began = time.perf_counter()
        connection.request("GET", "/health")
        connection.getresponse().read()
        times.append(time.perf_counter() - began)
    connection.close()
    return times


def streamed(url: str, path: str, pieces: Iterable[bytes]) -> Iterator[Any]:
    """The lines of the answer; the body is sent by a thread of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", PACKED)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()

    def send() -> None:
        for piece in pieces:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")

    sending = threading.Thread(target=send)
    sending.start()
    with connection.getresponse() as answer:
        for line in answer:
            yield orjson.loads(line)
    sending.join()
    connection.close()


if __name__ == "__main__":
    main()
