"""A real Milvus server: several processes, kill -9 in mid-load, collections that move. `make milvus-test`."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.search.contract.places import PATIENT, of_server
from tests.search.embedded.worker import FACES, faces_of
from tests.search.galleries import ids, many, new, opened, unit
from tests.search.milvus.server import PACKAGE, Server
from tests.search.workers import Worker
from visage.errors import StoreUnavailable
from visage.search.base import Question, Store
from visage.search.milvus import open_store
from visage.search.moving import Moved, move

pytestmark = [pytest.mark.milvus, pytest.mark.timeout(600)]


def worker_at(address: str, who: str, seconds: float, together: int) -> Worker:
    return Worker("tests.search.milvus.worker", who, address, who, seconds, together)


def refusals(worker: Worker) -> list[float]:
    """How long each took; a worker says nothing else."""
    assert all(said == "unavailable" for said, _ in worker.said)
    return [float(seconds) for _, seconds in worker.said]


def hold_whole(store: Store, workers: list[Worker]) -> int:
    """Every acknowledged person is there with all faces, and no other one with some of them. Returns how many."""
    persons = []
    after = ""
    while page := store.persons("staff", after=after, limit=1000):
        persons += page
        after = page[-1].id
    there = {person.id for person in persons}
    for worker in workers:
        assert {f"{worker.who}-{i}" for i in worker.acknowledged} <= there
        for i in worker.acknowledged[:2] + worker.acknowledged[-2:]:
            wanted = faces_of(worker.who, i)
            np.testing.assert_array_equal(store.vectors("staff", list(wanted)), np.stack(list(wanted.values())))
            assert ids(store, wanted[f"{worker.who}-{i}-1"], top=1) == [f"{worker.who}-{i}"]
    assert all(person.faces == FACES for person in persons)
    return len(persons)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    if find_spec("pymilvus") is None or not PACKAGE.exists():
        pytest.skip("needs pymilvus and a Milvus server: make milvus-test")
    server = Server(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def test_kill_9_in_mid_load_is_told_in_time_mended_by_itself_and_loses_nothing(own_server: Server) -> None:
    with (
        closing(open_store(own_server.address, seconds=5)) as store,
        closing(open_store(own_server.address, seconds=PATIENT)) as patient,
    ):
        hold_through_kills(own_server, store, patient)


def hold_through_kills(own_server: Server, store: Store, patient: Store) -> None:
    create(own_server.address)
    rounds, down = 3, 6.0
    workers = [worker_at(own_server.address, who, 75, together) for who, together in (("a", 1), ("b", 20))]
    assert all(worker.ready.wait(200) for worker in workers)
    told: list[float] = []
    for worker in workers:
        worker.begun.wait(60)
    for _ in range(rounds):
        time.sleep(8)
        own_server.kill()
        end = time.monotonic() + down
        while time.monotonic() < end:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable) as refused:
                store.search("staff", unit(1), Question())
            told.append(time.monotonic() - began)
            assert refused.value.retry_after >= 1
        own_server.start()
    assert [worker.wait() for worker in workers] == [0, 0]
    longest = max([*told, *(took for worker in workers for took in refusals(worker))])
    # Half of it before the server came back, and as much again for what it was not ready for; the rest is the machine's.
    assert longest < 4 * 5
    persons = hold_whole(patient, workers)
    assert patient.collection("staff").faces >= persons * FACES
    assert ids(store, unit(1)[0], top=1) != []
    counts = [len(worker.acknowledged) for worker in workers]
    assert min(counts) > 0 and all(refusals(worker) for worker in workers)
    sys.stderr.write(
        f"kill -9 {rounds} times: {counts} persons acknowledged, {persons} there, longest refusal {longest:.1f} s\n"
    )


def create(address: str) -> None:
    with of_server(address).opened() as store:
        store.create(new())


def test_three_processes_lose_no_write_and_each_sees_every_other_s_at_once(milvus_server: str) -> None:
    create(milvus_server)
    with closing(open_store(milvus_server, seconds=PATIENT)) as store:
        workers = [worker_at(milvus_server, who, 20, 2) for who in ("a", "b", "c")]
        stale: list[str] = []
        asked = [0]

        def read(worker: Worker) -> None:
            """Whatever was acknowledged before a question is in its answer."""
            while worker.process.poll() is None:
                if worker.acknowledged:
                    i = worker.acknowledged[-1]
                    if ids(store, faces_of(worker.who, i)[f"{worker.who}-{i}-2"], top=1) != [f"{worker.who}-{i}"]:
                        stale.append(f"{worker.who}-{i}")
                    asked[0] += 1

        readers = [threading.Thread(target=read, args=(worker,)) for worker in workers]
        for reader in readers:
            reader.start()
        assert [worker.wait() for worker in workers] == [0, 0, 0]
        for reader in readers:
            reader.join()
        assert stale == [] and asked[0] > 0 and all(worker.acknowledged for worker in workers)
        assert hold_whole(store, workers) == sum(len(worker.acknowledged) for worker in workers)
        store.drop("staff")


def test_a_collection_moves_there_and_back(milvus_server: str, tmp_path: Path) -> None:
    vectors = unit(600)
    with of_server(milvus_server).opened() as there, opened(tmp_path / "a") as here, opened(tmp_path / "b") as back:
        here.create(new(description="of here", metadata={"floor": 2}))
        here.enrol("staff", many(vectors))
        assert move(here, there, "staff") == Moved(600, 600, 32)
        assert move(there, back, "staff") == Moved(600, 600, 32)
        exported = {face.id: vector for _, face, vector in back.export("staff")}
        assert all(np.array_equal(exported[f"f{i}"], vectors[i]) for i in range(600))
        assert back.collection("staff").metadata == {"floor": 2}
        there.drop("staff")


def test_twenty_thousand_faces_are_searched_exactly_while_they_come(milvus_server: str) -> None:
    """Milvus searches what is young with a rougher index of its own unless the index is FLAT."""
    vectors = unit(20_000, dimension=64)
    probes = unit(4, seed=1, dimension=64)
    with of_server(milvus_server).opened() as store:
        store.create(replace(new("many"), recogniser=replace(new().recogniser, dimension=64)))
        for start in range(0, 20_000, 2_000):
            store.enrol("many", many(vectors)[start : start + 2_000])
        found = store.search("many", probes, Question(top=50))
        for probe, matches in zip(probes, found, strict=True):
            assert [m.person.id for m in matches] == [f"p{i}" for i in np.argsort(-(vectors @ probe))[:50]]
        store.drop("many")
