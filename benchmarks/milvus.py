"""A gallery in Milvus: what a call takes, from a process that others do not wait for.

    PYTHONPATH=src:build/milvus-client python -m benchmarks.milvus [http://HOST:19530] [--rows 10000]

Prints Markdown. Makes a collection `benchmark` and drops it. Without an address the server is started that
`make bench-milvus`, which calls this, fetches into build/ with the client. Most of the time is Milvus' tick, not work.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tests.search.milvus.server import Server

from benchmarks.rows import Row, Table
from benchmarks.search import RECOGNISER, ROUNDS, TOGETHER, in_turn, probes_of, unit
from visage.search.base import Enrolment, NewCollection, NewFace, NewPerson, Question
from visage.search.places import open_place

NAME = "benchmark"


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
    vectors = unit(rows + ROUNDS + 1, 1)
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
        took = in_turn(
            {
                "one person with one face enrolled": lambda: store.enrol(NAME, [next(single)]),
                "ten best persons": lambda: store.search(NAME, probes[:1], Question()),
                "the same of 8 probes": lambda: store.search(NAME, probes, Question()),
                "a collection told": lambda: store.collection(NAME),
            }
        )
        for name, times in took.items():
            table.add(Row(name, statistics.median(times), "s"))
    finally:
        store.drop(NAME)
        store.close()


if __name__ == "__main__":
    main()
