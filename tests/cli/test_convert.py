"""`visage models convert` as an operator types it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.networks import Embedder
from tests.support import models_folder
from visage.__main__ import main

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
