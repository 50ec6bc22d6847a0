"""`visage models convert` as an operator types it."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.networks import Embedder
from tests.support import models_folder
from visage.__main__ import main
from visage.backends.tensorrt.build import Recipe
from visage.backends.tensorrt.source import Source
from visage.cli import convert

ENTRY = {"tiny": {"family": "arcface", "licence": {"id": "MIT"}, "input": {"size": [112, 112]}}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = Embedder.of(8).save(tmp_path / "tiny.onnx")
    monkeypatch.setenv("MODELS_DIR", str(models_folder(tmp_path / "models", ENTRY, {"tiny": file})))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_network_is_written_in_half_precision_and_its_likeness_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "convert", "tiny", "--out", str(folder / "half.onnx")]) == 0
    assert (folder / "half.onnx").is_file()
    said = capsys.readouterr().out
    assert said.startswith("tiny: ") and "cosine of the outputs with the original's: 1.0000" in said.replace(
        "0.9999", "1.0000"
    )


def test_without_a_place_it_is_written_here(folder: Path) -> None:
    assert main(["models", "convert", "tiny", "--to", "fp16"]) == 0
    assert (folder / "tiny.fp16.onnx").is_file()


def test_a_network_that_half_precision_makes_another_is_refused_and_nothing_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    placed = folder / "models" / "onnx" / "tiny" / "tiny.onnx"
    model = onnx.load(str(placed))
    for weights in model.graph.initializer:  # beyond what float16 can say
        if weights.data_type == onnx.TensorProto.FLOAT:
            large = numpy_helper.to_array(weights) * np.float32(1e6)
            weights.CopyFrom(numpy_helper.from_array(large, weights.name))
    onnx.save(model, str(placed))
    assert main(["models", "convert", "tiny", "--out", str(folder / "half.onnx")]) == 1
    assert "in half precision is another network" in capsys.readouterr().err
    assert not list(folder.glob("*half*"))


def test_a_place_that_cannot_be_written_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "convert", "tiny", "--out", str(folder / "none" / "half.onnx")]) == 1
    assert "half.onnx cannot be written: No such file or directory" in capsys.readouterr().err


def test_an_engine_needs_tensorrt_which_is_told_with_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert main(["models", "convert", "tiny", "--to", "engine"]) == 1
    assert "pip install visage[trt]" in capsys.readouterr().err and not (folder / "tiny.engine").exists()


def test_an_engine_is_built_as_the_settings_say(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {}

    def build(library: object, source: Source, recipe: Recipe) -> tuple[bytes, bytes]:
        asked.update(library=library, name=source.model.name, recipe=recipe)
        return b"engine", b""

    monkeypatch.setitem(sys.modules, "tensorrt", sys)  # any module: nothing of it is asked here
    monkeypatch.setattr(convert, "build", build)
    for name, value in {"FORCE_FP16": "1", "REC_BATCH_SIZE": "16", "TRT_WORKSPACE_MB": "512"}.items():
        monkeypatch.setenv(name, value)
    assert main(["models", "convert", "tiny", "--to", "engine"]) == 0
    assert (folder / "tiny.engine").read_bytes() == b"engine" and asked["library"] is sys
    assert (asked["recipe"].half, asked["recipe"].workspace, asked["recipe"].profile.most[0]) == (True, 512, 16)
    assert capsys.readouterr().out.startswith("tiny: tiny.engine, ")
