"""Half precision is single precision's answer, nearly; ONNX Runtime computes both here."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.networks import Embedder, save, scrfd_heads
from tests.networks import dense as dense_network
from tests.support import TESTDATA
from visage.backends.half import halved, write_half
from visage.errors import GraphRejected

REAL = sorted((TESTDATA / "models").glob("*.onnx")) if TESTDATA.is_dir() else []
# What the networks are fed with, where it is not pixels.
SCALED = {"scrfd": (127.5, 128.0), "det_500m": (127.5, 128.0), "torchstyle": (127.5, 127.5), "mask": (127.5, 127.5),
          "yolov5": (0.0, 255.0)}  # fmt: skip


def run(model: onnx.ModelProto, fed: Any) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: fed}))


def noise(shape: Any) -> Any:
    return np.random.default_rng(5).integers(0, 256, shape).astype(np.float32)


def cosine(a: Any, b: Any) -> float:
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def kinds(model: onnx.ModelProto) -> set[int]:
    return {one.type.tensor_type.elem_type for one in (model.graph.input[0], *model.graph.output)}


@pytest.mark.parametrize("file", REAL, ids=lambda path: path.stem)
def test_real_networks_answer_alike_in_half_precision(file: Path) -> None:
    model = onnx.load(file)
    half = halved(model)
    onnx.checker.check_model(half)
    axes = model.graph.input[0].type.tensor_type.shape.dim
    shape = [axis.dim_value or (1 if i == 0 else 320) for i, axis in enumerate(axes)]
    mean, std = next((feed for name, feed in SCALED.items() if name in file.stem), (0.0, 1.0))
    fed = (noise(shape) - np.float32(mean)) / np.float32(std)

    assert kinds(half) == {TensorProto.FLOAT} and any(
        t.data_type == TensorProto.FLOAT16 for t in half.graph.initializer
    )
    for known, got in zip(run(model, fed), run(half, fed), strict=True):
        assert got.dtype == known.dtype and cosine(known, got) >= 0.999


@pytest.mark.parametrize("real", [False, True])
def test_tiny_networks_answer_alike_and_the_original_is_left_as_it_was(tmp_path: Path, real: bool) -> None:
    path = dense_network(tmp_path / "a.onnx", scrfd_heads()) if real else Embedder.of(8).save(tmp_path / "a.onnx")
    model = onnx.load(path)
    before = model.SerializeToString()
    half, fed = halved(model), noise((2, 3, 112, 112) if not real else (2, 3, 64, 96)) / 128
    assert model.SerializeToString() == before
    for known, got in zip(run(model, fed), run(half, fed), strict=True):
        assert cosine(known, got) >= 0.9999 and np.abs(known - got).max() > 0


def normalised(path: Path, *, shared: bool, watched: bool) -> onnx.ModelProto:
    """Convolution and normalisation, twice; variances beyond float16. `shared` weights; a `watched` convolution."""
    rng = np.random.default_rng(2)
    nodes, constants, last = [], [], "x"
    for i in range(2):
        weights = "w" if shared else f"w{i}"
        if i == 0 or not shared:
            constants.append(numpy_helper.from_array(rng.normal(0, 9, (3, 3, 3, 3)).astype(np.float32), weights))
        statistics = {"g": 1.0, "b": 0.3, "m": 90.0, "v": 2e5}
        for name, level in statistics.items():
            values = (level * rng.uniform(0.7, 1.4, 3)).astype(np.float32)
            constants.append(numpy_helper.from_array(values, f"{name}{i}"))
        nodes += [
            helper.make_node("Conv", [last, weights], [f"c{i}"], pads=[1, 1, 1, 1]),
            helper.make_node(
                "BatchNormalization", [f"c{i}", *(f"{n}{i}" for n in statistics)], [f"n{i}"], epsilon=1e-3
            ),
        ]
        last = f"n{i}"
    outputs = [last, "c0"] if watched else [last]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in outputs]
    return onnx.load(save(path, nodes, [("x", ["n", 3, "h", "w"])], results, constants))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("watched", [False, True])
def test_variances_beyond_half_precision_are_folded_or_kept_single(tmp_path: Path, shared: bool, watched: bool) -> None:
    model = normalised(tmp_path / "a.onnx", shared=shared, watched=watched)
    half, fed = halved(model), noise((1, 3, 16, 24))
    left = [node for node in half.graph.node if node.op_type == "BatchNormalization"]
    assert len(left) == (1 if watched else 0)  # what others read too is not folded
    for known, got in zip(run(model, fed), run(half, fed), strict=True):
        assert cosine(known, got) >= 0.99999 and np.isfinite(got).all()


def test_nothing_is_left_in_the_search_path_of_modules(tmp_path: Path) -> None:
    halved(onnx.load(Embedder.of(8).save(tmp_path / "a.onnx")))
    assert not [place for place in sys.path if place.endswith("transformers")]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dense_network(tmp_path / "a.onnx", scrfd_heads())
    write_half(whole, tmp_path / "b.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"a.onnx", "b.onnx"}
    made = onnx.load(str(tmp_path / "b.onnx"))
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in made.graph.initializer}

    def stumble(_: object) -> None:
        raise KeyError("first line\nsecond line")

    monkeypatch.setattr("visage.backends.half.halved", stumble)
    with pytest.raises(GraphRejected, match=r"^this network cannot be converted to float16: .*first line") as caught:
        write_half(whole, tmp_path / "c.onnx")
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"a.onnx", "b.onnx"}
