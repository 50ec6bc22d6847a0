"""What is OpenVINO's own; what every backend does stands in tests/contract/test_backends.py."""

import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.networks import Embedder, dense, model_file, pictures, prelus, rewritten, yunet_heads
from tests.support import REPO
from visage.backends.base import ModelFile, Preprocess
from visage.backends.onnx import open_session as open_oracle
from visage.backends.openvino import open_session, with_fused_prelu
from visage.backends.openvino_library import ov
from visage.cores import available
from visage.errors import GraphRejected, InferenceFailed


@pytest.mark.parametrize("data", [b"", b"<html>", bytes(100)])
def test_a_file_that_is_no_network_is_rejected_in_one_line_without_its_folder(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(data)
    with pytest.raises(GraphRejected, match=r"^a: OpenVINO cannot load a\.onnx: \S") as caught:
        open_session(model_file(path))
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_are_honoured_and_one_thread_runs_as_many_callers_as_there_are_cores(
    tmp_path: Path, threads: int
) -> None:
    path = dense(tmp_path / "a.onnx", yunet_heads())
    compiled = open_session(ModelFile("a", path, "0" * 64, Preprocess(), threads))._compiled
    cores = available().count
    streams = cores if threads == 1 else 1
    assert compiled.get_property("NUM_STREAMS") == streams
    assert compiled.get_property("INFERENCE_NUM_THREADS") == min(streams * threads, cores)  # no more than there are
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32


def test_a_closed_session_holds_nothing_and_answers_nothing(tmp_path: Path) -> None:
    session = open_session(model_file(Embedder.of(4).save(tmp_path / "a.onnx", side=8)))
    session.run(pictures(1, (8, 8)))
    native = weakref.ref(session._compiled)
    session.close()
    assert native() is None
    with pytest.raises(InferenceFailed, match=r"^a failed on"):
        session.run(pictures(1, (8, 8)))


@pytest.mark.parametrize("written_out", [False, True])
@pytest.mark.parametrize("slopes", [(5, 1, 1), (1, 5, 1, 1)], ids=str)
def test_a_prelu_of_either_form_is_one_operator_and_computes_what_it_did(
    tmp_path: Path, slopes: tuple[int, ...], written_out: bool
) -> None:
    path = prelus(tmp_path / "a.onnx", slopes)
    if written_out:
        assert rewritten(path, tmp_path / "b.onnx", ["prelu_as_relu"])
        path = tmp_path / "b.onnx"
    graph = ov.Core().read_model(path)
    assert with_fused_prelu(graph) == (2 if written_out or len(slopes) == 3 else 0)
    kinds = Counter(node.get_type_name() for node in graph.get_ops())
    assert kinds["PRelu"] == 2 and not kinds["Relu"] and not kinds["Multiply"]
    for node in graph.get_ops():
        if node.get_type_name() == "PRelu":
            assert list(node.input(1).get_shape()) == [1, 5, 1, 1]

    feed = Preprocess(127.5, 64.0)
    (expected,), (got,) = (
        opener(model_file(path, feed)).run(pictures(2, (8, 6))) for opener in (open_oracle, open_session)
    )
    assert expected.min() < -0.1
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("change", ["rest", "relu"])
def test_what_only_looks_like_a_prelu_is_left_alone(tmp_path: Path, change: str) -> None:
    rewritten(prelus(tmp_path / "a.onnx", (5, 1, 1)), tmp_path / "b.onnx", ["prelu_as_relu"])
    model = onnx.load(tmp_path / "b.onnx")
    for node in model.graph.node:
        if change == "rest" and node.name == "" and node.op_type == "Mul" and "_from_one" in node.input[1]:
            node.input[1] = node.input[1].removesuffix("_from_one")
        elif change == "relu" and node.op_type == "Relu":
            node.op_type = "Sigmoid"
    onnx.save(model, tmp_path / "b.onnx")
    assert with_fused_prelu(ov.Core().read_model(tmp_path / "b.onnx")) == 0


_IMPORTS = """
import socket, sys
def refuse(*_): raise AssertionError("somebody was called")
socket.socket.connect = socket.getaddrinfo = refuse
import visage.backends.openvino
from openvino.tools.ovc import telemetry_utils
assert telemetry_utils.tm.__name__.endswith("telemetry_stub"), telemetry_utils.tm
assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
"""


def test_that_openvino_is_used_is_told_to_nobody() -> None:
    env = {"PYTHONPATH": str(REPO / "src"), "HOME": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS], check=False, capture_output=True, env=env, text=True, timeout=110
    )
    assert (done.returncode, done.stderr) == (0, "")
