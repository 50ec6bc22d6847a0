import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.networks import Embedder, model_file, pictures
from visage.backends.base import ModelFile, Sizes
from visage.backends.onnx import open_session
from visage.faces import Floats, Pixels
from visage.scheduling import ElasticSession, Load, elastic

PICTURE = np.zeros((1, 2, 2, 3), np.uint8)


class Named:
    """A session that keeps what it ran."""

    sizes = Sizes()
    max_batch = 0
    streams = 0

    def __init__(self, name: str, runs: list[str]) -> None:
        self.name = name
        self.runs = runs

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        self.runs.append(self.name)
        return ()

    def close(self) -> None:
        self.runs.append(f"{self.name} closed")


def session(load: Load) -> tuple[ElasticSession, list[str]]:
    runs: list[str] = []
    return ElasticSession(Named("wide", runs), Named("narrow", runs), load), runs


def test_a_picture_alone_has_all_cores_and_pictures_together_one_each() -> None:
    load = Load(2)
    elastic_session, runs = session(load)
    with load.picture():
        elastic_session.run(PICTURE)
        with load.picture():
            elastic_session.run(PICTURE)
        elastic_session.run(PICTURE)
    elastic_session.run(PICTURE)
    assert runs == ["wide", "narrow", "wide", "wide"]


def test_both_forms_are_closed() -> None:
    elastic_session, runs = session(Load(2))
    elastic_session.close()
    assert sorted(runs) == ["narrow closed", "wide closed"]


@pytest.mark.parametrize(
    ("cores", "others", "spare"), [(1, 0, 0), (2, 0, 1), (2, 1, 0), (4, 0, 3), (4, 2, 1), (4, 9, 0)]
)
def test_cores_that_nobody_wants_are_spare(cores: int, others: int, spare: int) -> None:
    load = Load(cores)
    with load.picture(), load.spare() as take, ExitStack() as busy:
        for _ in range(others):
            busy.enter_context(load.picture())
        assert take() == spare
        assert load.shared == (others + spare > 0)
    assert not load.shared


def test_what_is_spare_is_given_back_when_somebody_comes_and_when_it_is_over() -> None:
    load = Load(2)
    with load.picture():
        with load.spare() as take:
            assert take() == 1 and take() == 1 and load.shared
            with load.picture():
                assert take() == 0
            assert take() == 1
        assert not load.shared


def test_two_that_want_all_cores_never_have_more_than_there_are() -> None:
    load = Load(4)
    with load.picture(), load.picture(), load.spare() as one, load.spare() as two:
        for _ in range(5):
            assert one() + two() <= 2


def test_a_failure_gives_back_what_was_held() -> None:
    load = Load(2)
    with pytest.raises(RuntimeError), load.picture(), load.spare() as take:
        take()
        raise RuntimeError
    with load.picture():
        assert not load.shared


def parts_of(load: Load, length: int) -> list[tuple[int, int, str]]:
    """Start, stop and thread of each part, by start."""
    parts: list[tuple[int, int, str]] = []
    load.spread(lambda start, stop: parts.append((start, stop, threading.current_thread().name)), length)
    return sorted(parts)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 640])
@pytest.mark.parametrize("cores", [1, 2, 3, 64])
def test_work_is_spread_without_gap_or_overlap(cores: int, length: int) -> None:
    load = Load(cores)
    with load.picture(), closing(load):
        parts = parts_of(load, length)
    assert [at for start, stop, _ in parts for at in range(start, stop)] == list(range(length))
    assert len(parts) == min(cores, length, 4)


def test_where_others_want_the_cores_work_stays_on_its_own_thread() -> None:
    load = Load(4)
    with load.picture(), load.picture():
        assert parts_of(load, 100) == [(0, 100, threading.current_thread().name)]


@pytest.mark.parametrize("bad", [0, 50])
def test_a_part_that_fails_fails_the_work_after_all_parts_have_ended(bad: int) -> None:
    done: list[int] = []

    def work(start: int, stop: int) -> None:
        if start == bad:
            raise RuntimeError(str(start))
        time.sleep(0.05)
        done.append(start)

    with closing(Load(2)) as load, pytest.raises(RuntimeError, match=f"^{bad}$"):
        load.spread(work, 100)
    assert done == [50 - bad]


def test_counts_hold_with_many_threads() -> None:
    load = Load(3)

    def work() -> None:
        for _ in range(300):
            with load.picture(), load.spare() as take:
                take()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with load.picture():
        assert not load.shared


@pytest.mark.parametrize(("threads", "cores", "opened"), [(2, 2, [2, 1]), (1, 2, [1]), (1, 1, [1]), (4, 1, [4])])
def test_a_file_is_opened_for_one_core_as_well_where_that_makes_a_difference(
    tmp_path: Path, threads: int, cores: int, opened: list[int]
) -> None:
    file = model_file(Embedder.of(4).save(tmp_path / "a.onnx"))
    seen: list[int] = []

    def opener(model: ModelFile, /) -> Any:
        seen.append(model.threads)
        return Named("any", [])

    elastic(opener, Load(cores))(ModelFile(file.name, file.path, file.sha256, file.preprocess, threads))
    assert seen == opened


def test_both_forms_of_a_real_session_say_the_same(tmp_path: Path) -> None:
    load = Load(2)
    file = model_file(Embedder.of(8).save(tmp_path / "a.onnx"))
    opened = elastic(open_session, load)(ModelFile(file.name, file.path, file.sha256, file.preprocess, 2))
    shown = pictures(3, (112, 112))
    with load.picture():
        (alone,) = opened.run(shown)
        with load.picture():
            (among,) = opened.run(shown)
    np.testing.assert_allclose(alone, among, rtol=1e-5)
    opened.close()
