"""Fault 28 of the reference: every session of every worker spun a pool as wide as the machine."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest

from tests.support import settings_of
from visage.backends.base import ModelFile, Preprocess
from visage.backends.onnx import open_session
from visage.cgroup import Limits
from visage.runtime import cores


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("visage.cores.limits", lambda _: Limits())


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("workers", "threads", "expected"),
    [(1, 0, 8), (2, 0, 4), (3, 0, 2), (8, 0, 1), (16, 0, 1), (2, 6, 6), (1, 1, 1)],
)
def test_fault_28_workers_share_the_machines_cores(workers: int, threads: int, expected: int) -> None:
    assert cores(settings_of(NUM_WORKERS=str(workers), INFERENCE_THREADS=str(threads))) == expected


@pytest.mark.parametrize("threads", [1, 3])
def test_fault_28_a_session_has_its_own_number_of_threads_and_they_sleep_while_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    # By what is opened: the first of a process opens the one that shares its memory besides.
    opened: list[tuple[Any, ort.InferenceSession]] = []
    real = ort.InferenceSession

    def remember(source: Any, *args: Any, **kwargs: Any) -> ort.InferenceSession:
        opened.append((source, real(source, *args, **kwargs)))
        return opened[-1][1]

    monkeypatch.setattr(ort, "InferenceSession", remember)
    path = relu(tmp_path)
    open_session(ModelFile("relu", path, "0" * 64, Preprocess(), threads))
    (session,) = [session for source, session in opened if source == str(path)]
    options = session.get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"


def relu(folder: Path) -> Path:
    """The smallest network that takes pictures."""
    shape = [None, 3, 8, 8]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    path = folder / "relu.onnx"
    onnx.save(model, path)
    return path
