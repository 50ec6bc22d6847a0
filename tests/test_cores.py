"""How many cores there are to compute on, and that all who compute ask the same."""

import asyncio
import logging
from pathlib import Path

import cv2
import pytest

from tests.support import settings_of
from visage import cores
from visage.backends.openvino import _share
from visage.cgroup import Limits
from visage.cores import Cores, available
from visage.engines.record import this_machine
from visage.runtime import Unwatched, open_runtime, share_of_cores
from visage.runtime import cores as threads_of
from visage.search.embedded.ranking import Ranker


@pytest.mark.parametrize(
    ("usable", "quota", "count"),
    [
        (2, None, 2),
        (2, 0.5, 1),
        (2, 0.01, 1),
        (8, 1.0, 1),
        (8, 1.5, 1),
        (8, 1.96, 2),  # 1960m is two but for a rounding
        (8, 2.0, 2),
        (8, 3.9, 3),
        (2, 2.0, 2),
        (2, 64.0, 2),
        (1, 4.0, 1),
    ],
)
def test_a_quota_is_rounded_down_to_one_at_least(usable: int, quota: float | None, count: int) -> None:
    assert Cores(usable, quota).count == count


def test_it_tells_how_it_comes_about() -> None:
    assert str(Cores(2, 0.5)) == "2 cores, quota 0.5"
    assert str(Cores(1)) == "1 core" and str(Cores(4, 4.0)) == "4 cores"


def test_it_is_read_of_the_groups_and_of_the_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    assert available(tmp_path) == Cores(6)
    for name, text in {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    assert available(tmp_path) == Cores(6, 2.5)


@pytest.fixture
def quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores, of which the control group leaves the time of two and a half."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(cores, "limits", lambda _: Limits(None, 2.5))


@pytest.mark.usefixtures("quota")
def test_all_who_compute_keep_to_the_quota() -> None:
    assert share_of_cores(settings_of()) == threads_of(settings_of()) == 2
    assert share_of_cores(settings_of(NUM_WORKERS="2")) == 1
    assert threads_of(settings_of(INFERENCE_THREADS="5")) == 5  # what is set is set
    assert _share(1)["NUM_STREAMS"] == 2
    assert this_machine().endswith(", 2 cores")
    ranker = Ranker()
    assert ranker._threads == 2
    ranker.close()


@pytest.mark.usefixtures("quota")
def test_a_service_keeps_to_it_and_says_so(models_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = cv2.getNumThreads()
    try:
        with caplog.at_level(logging.INFO):
            runtime = open_runtime(settings_of(MODELS_DIR=str(models_dir), INFERENCE_BACKEND="onnx"), Unwatched())
        assert cv2.getNumThreads() == 2
        assert runtime.service._pool._max_workers == 3  # pictures at once: one more than the cores
        assert "8 cores, quota 2.5: 2 threads" in caplog.messages
        asyncio.run(runtime.aclose())
    finally:
        cv2.setNumThreads(before)
