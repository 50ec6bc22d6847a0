"""The builder against a TensorRT 10 of recorded calls; the real one of 11 is in test_rtx.py."""

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.backends.tensorrt.fakes import TensorRT10
from tests.networks import Embedder, dense, model_file, save, scrfd_heads, yunet_heads
from visage.backends.base import Largest, ModelFile
from visage.backends.tensorrt import build as building
from visage.backends.tensorrt.build import Recipe, build
from visage.backends.tensorrt.profile import Profile
from visage.backends.tensorrt.source import Source
from visage.errors import GraphRejected


def detector(folder: Path) -> ModelFile:
    path = dense(folder / "det.onnx", scrfd_heads(), batch="?", size=("?", "?"))
    return replace(model_file(path), largest=Largest(4, (640, 480), (640, 640)))


def built(library: Any, model: ModelFile, timings: bytes = b"", **recipe: Any) -> tuple[bytes, bytes]:
    source = Source.read(model)
    return build(library, source, Recipe(Profile.of(source.shape, model), **recipe), timings)


def test_the_engine_is_built_strictly_typed_in_true_single_precision_for_the_profile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library = TensorRT10()
    with caplog.at_level(logging.INFO):
        engine, measured = built(library, detector(tmp_path))
    (config,) = library.configs

    assert library.flags == [1 << 1] and config.cleared == ["TF32"] and config.limits == {}
    assert config.profiles == [["input", (1, 3, 32, 32), (4, 3, 480, 640), (4, 3, 640, 640)]]
    assert isinstance(engine, bytes) and measured == b"timings0"
    said = caplog.messages[-1]
    assert said.startswith("det: TensorRT engine built: single precision, 1×3×32×32 to 4×3×640×640, ")
    assert said.endswith(" s")


def test_the_workspace_has_the_limit_that_is_set(tmp_path: Path) -> None:
    library = TensorRT10()
    built(library, detector(tmp_path), workspace=512)
    assert library.configs[0].limits == {"WORKSPACE": 512 * 2**20}


@pytest.mark.parametrize(("half", "kind"), [(False, TensorProto.FLOAT), (True, TensorProto.FLOAT16)])
def test_half_precision_is_what_is_asked_for_and_nothing_else_fault_11(tmp_path: Path, half: bool, kind: int) -> None:
    engine, _ = built(TensorRT10(), detector(tmp_path), half=half)
    model = onnx.load_model_from_string(engine.partition(b"\n")[2])
    weights = {tensor.data_type for tensor in model.graph.initializer if tensor.name.endswith("_w")}
    ends = {one.type.tensor_type.elem_type for one in (*model.graph.input, *model.graph.output)}
    assert weights == {kind} and ends == {TensorProto.FLOAT}


def test_axes_of_one_name_are_told_apart_since_tensorrt_would_make_them_alike(tmp_path: Path) -> None:
    source = Source.read(detector(tmp_path))
    axes = onnx.load_model_from_string(source.parsed(half=False)).graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", 3, "height", "width"]


@pytest.mark.parametrize("timings", [b"timings of before", b"of another TensorRT"])
def test_what_was_measured_before_is_used_where_it_fits(tmp_path: Path, timings: bytes) -> None:
    library = TensorRT10()
    built(library, detector(tmp_path), timings)
    assert library.configs[0].cache == (timings if timings.startswith(b"timings") else b"")


def test_a_build_that_takes_long_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = iter(range(0, 1000, 7))
    # Its own clock alone: threads of other tests in this process ask the module `time` too.
    monkeypatch.setattr(building, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    with caplog.at_level(logging.INFO):
        built(TensorRT10(), detector(tmp_path))
    told = [line for line in caplog.messages if "building its engine" in line]
    assert told == ["det: building its engine: Building engine, step 2 of 3, 14 s"]


def test_what_tensorrt_refuses_is_rejected_with_its_first_words(tmp_path: Path) -> None:
    library = TensorRT10()
    library.refusal = "Error Code 4: the shapes contradict\neach other. In getBounds at shapeContext.cpp:4433"
    with pytest.raises(
        GraphRejected, match=r"^det: TensorRT cannot build it for .*: Error Code 4: the shapes contr"
    ) as e:
        built(library, detector(tmp_path))
    assert "\n" not in str(e.value) and "shapeContext" not in str(e.value)


@pytest.mark.parametrize("data", [b"<html>", b""])
def test_a_file_that_is_no_network_is_rejected(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(data)
    with pytest.raises(GraphRejected, match=r"^a: "):
        _ = Source.read(model_file(path)).shape


def test_a_network_of_several_inputs_is_rejected_with_their_names(tmp_path: Path) -> None:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 8, 8])
    add = helper.make_node("Add", ["left", "right"], ["y"])
    path = save(tmp_path / "a.onnx", [add], [("left", ["n", 3, 8, 8]), ("right", ["n", 3, 8, 8])], [output])
    with pytest.raises(GraphRejected, match=r"one input expected, a\.onnx wants: left, right"):
        _ = Source.read(model_file(path)).shape


def test_the_source_tells_its_outputs_in_the_file_s_order_and_its_own_hash(tmp_path: Path) -> None:
    model = model_file(dense(tmp_path / "a.onnx", yunet_heads()[::-1]))
    source = Source.read(model)
    assert source.outputs == [head.name for head in yunet_heads()[::-1]] and source.input == "input"
    assert source.digest == model.sha256 and source.shape == (-1, 3, -1, -1)
    fixed = Source.read(model_file(Embedder.of(4).save(tmp_path / "b.onnx", side=8)))
    assert fixed.shape == (-1, 3, 8, 8) and np.prod(fixed.shape) < 0
