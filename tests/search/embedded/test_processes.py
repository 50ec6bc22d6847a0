"""Several processes on one folder, and processes that are killed."""

import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.search.embedded.worker import FACES, faces_of
from tests.search.galleries import new, opened
from tests.search.workers import Worker
from visage.search.base import Question
from visage.search.embedded import EmbeddedStore

SLOW = pytest.mark.slow


def worker_in(folder: Path, who: str, first: int, count: int, together: int) -> Worker:
    return Worker("tests.search.embedded.worker", who, folder, who, first, count, together)


def hold_whole(store: EmbeddedStore, who: str, acknowledged: list[int]) -> None:
    """Every acknowledged person is there with all faces, and no other one with some of them."""
    persons = []
    after = ""
    while page := store.persons("staff", after=after, limit=1000):
        persons += [person for person in page if person.id.startswith(f"{who}-")]
        after = page[-1].id
    assert {f"{who}-{i}" for i in acknowledged} <= {person.id for person in persons}
    assert all(person.faces == FACES for person in persons)
    for i in acknowledged[:3] + acknowledged[-3:]:
        wanted = faces_of(who, i)
        np.testing.assert_array_equal(store.vectors("staff", list(wanted)), np.stack(list(wanted.values())))
        (found,) = store.search("staff", wanted[f"{who}-{i}-1"][None], Question(top=1))
        assert found[0].person.id == f"{who}-{i}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=SLOW)])
def test_what_was_acknowledged_is_there_after_kill_9_and_nothing_is_half(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(6)
    with opened(tmp_path) as store:
        store.create(new())
        for round_ in range(rounds):
            who = f"r{round_}"
            worker = worker_in(tmp_path, who, 0, 1_000_000, chance.choice([1, 5, 50]))
            worker.begun.wait(200)  # else a busy machine has nothing acknowledged that could be lost
            time.sleep(chance.uniform(0.02, 0.6))
            worker.kill()
            assert worker.acknowledged
            hold_whole(store, who, worker.acknowledged)
            assert worker.said == []
            if round_ % 10 == 2:
                store.compact()
        faces = store.collection("staff").faces
        assert faces == sum(1 for _ in store.export("staff")) == len({face.id for _, face, _ in store.export("staff")})


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("count", "readers_each"), [(60, 1), pytest.param(400, 33, marks=SLOW)])
def test_three_processes_lose_no_write_and_each_sees_every_other_s_at_once(
    tmp_path: Path, count: int, readers_each: int
) -> None:
    with opened(tmp_path) as store:
        store.create(new())
        workers = [worker_in(tmp_path, who, 0, count, 1) for who in ("a", "b", "c")]
        stale: list[str] = []

        def read(worker: Worker) -> None:
            """Whatever was acknowledged before a question is in its answer."""
            while worker.process.poll() is None:
                if worker.acknowledged:
                    i = worker.acknowledged[-1]
                    probe = faces_of(worker.who, i)[f"{worker.who}-{i}-2"]
                    (found,) = store.search("staff", probe[None], Question(top=1))
                    if found[0].person.id != f"{worker.who}-{i}":
                        stale.append(f"{worker.who}-{i}")

        readers = [threading.Thread(target=read, args=(worker,)) for worker in workers for _ in range(readers_each)]
        for reader in readers:
            reader.start()
        assert [worker.wait() for worker in workers] == [0, 0, 0]
        for reader in readers:
            reader.join()
        assert stale == [] and [worker.said for worker in workers] == [[], [], []]
        for worker in workers:
            assert worker.acknowledged == list(range(count))
            hold_whole(store, worker.who, worker.acknowledged)
        assert store.collection("staff").faces == 3 * count * FACES
