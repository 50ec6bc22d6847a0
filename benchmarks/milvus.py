"""A gallery in Milvus: what a call takes, from a process that others do not wait for.

    PYTHONPATH=src:build/milvus-client python -m benchmarks.milvus [http://HOST:19530] [--rows 10000]

Prints Markdown. Makes a collection `benchmark` and drops it. Without an address the server is started that
`make bench-milvus`, which calls this, fetches into build/ with the client. Most of the time is Milvus' tick, not work.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.search.milvus.server import Server

from benchmarks.rows import Row, Table
from benchmarks.search import RECOGNISER, TOGETHER, probes_of, unit
from visage.search.base import Enrolment, NewCollection, NewFace, NewPerson, Question
from visage.search.places import open_place

NAME = "benchmark"
ROUNDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address", nargs="?")
    parser.add_argument("--rows", type=int, default=10_000)
    given = parser.parse_args()
    if given.address:
        measured(given.address, given.rows)
        return
    with tempfile.TemporaryDirectory(prefix="visage-milvus-") as folder:
        server = Server(Path(folder))
        server.start()
        try:
            measured(server.address, given.rows)
        finally:
            server.kill()


def measured(address: str, rows: int) -> None:
    vectors = unit(rows + ROUNDS, 1)
    probes = probes_of(vectors, 8)
    enrolments = [Enrolment(NewPerson(f"p{i}"), [NewFace(f"f{i}", vector)]) for i, vector in enumerate(vectors)]
    table = Table()
    table.head(f"{rows:,} × {vectors.shape[1]} in Milvus")
    store = open_place(address)
    try:
        store.create(NewCollection(NAME, RECOGNISER))
        began = time.perf_counter()
        for start in range(0, rows, TOGETHER):
            store.enrol(NAME, enrolments[start : min(start + TOGETHER, rows)])
        table.add(Row(f"enrolment, {TOGETHER} a call", rows / (time.perf_counter() - began), "rows/s"))
        single = iter(enrolments[rows:])
        table.add(Row("one person with one face enrolled", median(lambda: store.enrol(NAME, [next(single)])), "s"))
        table.add(Row("ten best persons", median(lambda: store.search(NAME, probes[:1], Question())), "s"))
        table.add(Row("the same of 8 probes", median(lambda: store.search(NAME, probes, Question())), "s"))
        table.add(Row("a collection told", median(lambda: store.collection(NAME)), "s"))
    finally:
        store.drop(NAME)
        store.close()


def median(call: Callable[[], object]) -> float:
    """Seconds."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


if __name__ == "__main__":
    main()
