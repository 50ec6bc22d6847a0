"""The embedded gallery: how fast it answers, how much memory it takes, how fast it is filled.

    python -m benchmarks.search [--rows 100000] [--folder DIR]

Prints Markdown. Random unit vectors of 512 numbers, seed fixed, one a person. Times are medians; those with an aim are
ratios to faiss' flat index over the same vectors in this process (extra `search`), asked in turn with the store.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row, Table, ratio
from visage.faces import Floats
from visage.search.base import Enrolment, NewCollection, NewFace, NewPerson, Precision, Question, Recogniser
from visage.search.embedded import EmbeddedStore
from visage.search.embedded.ranking import compile_kernels

DIMENSION = 512
RECOGNISER = Recogniser("random", "0" * 64, "none", DIMENSION)
TOGETHER = 1000
ROUNDS = 21
PROBES = 100


def unit(count: int, seed: int) -> Floats:
    """float32 (count, 512)."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def probes_of(vectors: Floats, count: int) -> Floats:
    """float32 (count, 512): half of them near somebody."""
    probes = unit(count, 2)
    probes[::2] = 0.6 * vectors[: len(probes[::2])] + 0.8 * probes[::2]
    return np.asarray(probes / np.linalg.norm(probes, axis=1, keepdims=True), np.float32)


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]), int(sys.argv[3]))
        return
    in_a_folder(__doc__, lambda folder, rows: Benchmark(folder, rows).run())


def in_a_folder(about: str | None, run: Callable[[Path, int], str]) -> None:
    """Print what `run` says of a folder of its own and so many rows, as the command line has them."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the gallery is made; a temporary folder unless given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="visage-galleries-") as folder:
        print(run(Path(folder), given.rows))


class Benchmark:
    def __init__(self, folder: Path, rows: int) -> None:
        self.folder, self.rows = folder, rows
        self.vectors = unit(rows, 1)
        self.probes = probes_of(self.vectors, PROBES)
        self.table = Table()

    def run(self) -> str:
        self.table.head(f"{self.rows:,} × {DIMENSION}, {len(os.sched_getaffinity(0))} cores")
        with opened(self.folder) as store:
            self.fill(store)
            store._upkeep.fold("all", at_once=True)
            self.speed(store, "fp32")
        self.memory()
        for precision in ("fp16", "int8"):
            with opened(self.folder) as store:
                recode(store, precision)
                self.speed(store, precision)
            if precision == "int8":
                with opened(self.folder, rescore=False) as store:
                    self.recall(store, "int8 alone", 0.975)
        with opened(self.folder) as store:
            store.forget("all", "p1")
            began = time.perf_counter()
            store.compact()
            self.table.add(Row("compacting after a deletion", time.perf_counter() - began, "s"))
        return self.table.verdict()

    def fill(self, store: EmbeddedStore) -> None:
        store.create(NewCollection("all", RECOGNISER))
        began = time.perf_counter()
        for start in range(0, self.rows, TOGETHER):
            numbers = range(start, min(start + TOGETHER, self.rows))
            store.enrol("all", [Enrolment(NewPerson(f"p{i}"), [NewFace(f"f{i}", self.vectors[i])]) for i in numbers])
        rate = self.rows / (time.perf_counter() - began)
        self.table.add(Row(f"bulk enrolment, {TOGETHER} a call, each on the disk", rate, "rows/s", 5000, at_least=True))

    def speed(self, store: EmbeddedStore, precision: Precision) -> None:
        one, eight = self.probes[:1], self.probes[:8]
        ways: dict[str, Callable[[], object]] = {
            "one": lambda: store.search("all", one, Question()),
            "eight": lambda: store.search("all", eight, Question()),
            "eight calls": lambda: [store.search("all", probe[None], Question()) for probe in eight],
        }
        flat = faiss_flat(self.vectors)
        if flat is not None:
            ways["faiss"] = lambda: flat.search(one, 10)
        if precision == "fp32":
            ways["numpy"] = lambda: self.vectors @ one[0]
            ways["numpy, eight"] = lambda: self.vectors @ eight.T
        took = in_turn(ways)
        self.table.add(Row(f"{precision}: ten best persons", 1e3 * statistics.median(took["one"]), "ms"))
        self.table.add(Row(f"{precision}: 8 probes in one call", 1e3 * statistics.median(took["eight"]), "ms"))
        if precision == "fp32":
            self.table.add(Row("numpy's product alone", 1e3 * statistics.median(took["numpy"]), "ms"))
            self.table.add(Row("numpy's product alone, 8 probes", 1e3 * statistics.median(took["numpy, eight"]), "ms"))
        if flat is not None:
            self.table.add(Row("faiss flat, the ten best rows", 1e3 * statistics.median(took["faiss"]), "ms"))
            aim = 0.5 if precision == "int8" else 1.2
            self.table.add(Row(f"{precision}: to faiss flat", ratio(took["one"], took["faiss"]), "", aim))
        else:
            print("(faiss is not installed: pip install visage[search]; not compared)")
        aimed = 0.5 if precision == "fp32" else None
        self.table.add(Row(f"{precision}: 8 probes to 8 calls", ratio(took["eight"], took["eight calls"]), "", aimed))
        name = "int8, the best 40 weighed again" if precision == "int8" else precision
        self.recall(store, name, {"fp32": 1.0, "fp16": 0.995, "int8": 0.999}[precision])

    def recall(self, store: EmbeddedStore, name: str, aim: float) -> None:
        truth = [np.argsort(-line)[:10] for line in self.probes @ self.vectors.T]
        found = store.search("all", self.probes, Question())
        hits = [
            len({f"p{i}" for i in line} & {match.person.id for match in matches}) / 10
            for line, matches in zip(truth, found, strict=True)
        ]
        self.table.add(Row(f"{name}: recall of ten", statistics.mean(hits), "", aim, at_least=True))

    def memory(self) -> None:
        raw = self.rows * DIMENSION * 4
        for count in (1, 3):
            told = in_processes(self.folder, self.rows, count)
            held = sum(one["held"] for one in told)
            every = sum(one["whole"] for one in told)
            self.table.add(
                Row(f"memory of {count} process{'es' * (count > 1)} to the raw vectors", held / raw, "", 1.3)
            )
            self.table.add(Row("  of all that they hold, the interpreter too", every / self.rows, "bytes a vector"))
            self.table.add(Row("  start to first answer", max(one["start"] for one in told), "s", 2.0))


def worker(folder: Path, rows: int) -> None:
    """Open, ask, tell what it took; then wait until all have."""
    probe = unit(1, 3)
    compile_kernels()  # the compiler is in every process of the service, with a gallery or without
    before = proportional_bytes()
    began = time.perf_counter()
    with opened(folder) as store:
        store.search("all", probe, Question())
        started = time.perf_counter() - began
        for _ in range(5):
            store.search("all", probe, Question())
        print(f"{started}", flush=True)
        sys.stdin.readline()
        print(f"{proportional_bytes() - before} {proportional_bytes()}", flush=True)
        sys.stdin.readline()


def proportional_bytes() -> int:
    """Of this process's memory, with pages that several map counted in parts."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def in_processes(folder: Path, rows: int, count: int) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "benchmarks.search", "--worker", str(folder), str(rows)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    started = [float(read(one)) for one in workers]
    for one in workers:
        say(one)
    held = [tuple(map(int, read(one).split())) for one in workers]
    for one in workers:
        say(one)
        one.communicate()
    return [{"start": start, "held": mine, "whole": whole} for start, (mine, whole) in zip(started, held, strict=True)]


def read(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def say(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def recode(store: EmbeddedStore, precision: Precision) -> None:
    """The same collection in another precision: the vectors that are kept are float32 in each."""
    store._writer.do(lambda connection: connection.execute("UPDATE collections SET precision = ?", (precision,)))
    store._upkeep.mend("all")


def faiss_flat(vectors: Floats) -> Any:
    """The index, or None where faiss is not installed. Its threads sleep when they are done: by themselves they would
    spin on for a while, on the cores of whoever is asked next.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import faiss
    except ImportError:
        return None
    index = faiss.IndexFlatIP(DIMENSION)
    index.add(vectors)
    return index


def in_turn(ways: dict[str, Callable[[], object]]) -> dict[str, Sequence[float]]:
    """Seconds of each, asked in turn: a machine whose speed drifts drifts for all."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            took[name].append(time.perf_counter() - began)
    return {name: times[1:] for name, times in took.items()}


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(folder, compact_after=None, **options)
    try:
        yield store
    finally:
        store.close()


if __name__ == "__main__":
    main()
