"""`visage models convert` as an operator types it."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.catalogued import real_file
from tests.networks import Embedder, model_file, pictures
from tests.support import ACCEPTED, REPO, by_hand, models_folder
from visage.__main__ import main
from visage.backends.onnx import open_session
from visage.backends.tensorrt.build import Recipe
from visage.backends.tensorrt.source import Source
from visage.cli import convert

MIT = {"licence": {"id": "MIT"}}
SHIPPED = json.loads((REPO / "models" / "models.json").read_text("utf-8"))
ENTRIES = {"tiny": {"family": "arcface", "input": {"size": [112, 112]}, **MIT}, "yunet": SHIPPED["yunet"]}

Scaled = Callable[[float], None]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {"tiny": Embedder.of(8).save(tmp_path / "t.onnx", batch=1)}
    monkeypatch.setenv("MODELS_DIR", str(models_folder(tmp_path / "models", ENTRIES, files)))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def scaled(folder: Path) -> Scaled:
    """Multiplies the embedder's weights."""

    def scale(by: float) -> None:
        placed = folder.parent / "models" / "onnx" / "tiny" / "tiny.onnx"
        model = onnx.load(placed)
        for weights in model.graph.initializer:
            if weights.data_type == onnx.TensorProto.FLOAT:
                weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(by), weights.name))
        onnx.save(model, placed)

    return scale


@pytest.mark.parametrize("name", ["tiny", "yunet"])
@pytest.mark.parametrize("fp16", ["0", "1"])
def test_a_network_is_written_in_half_precision_and_its_likeness_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, fp16: str
) -> None:
    monkeypatch.setenv("FORCE_FP16", fp16)  # the original is computed in single precision all the same
    assert main(["models", "convert", name, "--to", "fp16", "--out", "half.onnx"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: half.onnx, ")
    assert 0.999 < float(said.rpartition(" ")[2]) <= 1
    weights = onnx.load(folder / "half.onnx").graph.initializer
    kinds = {tensor.data_type for tensor in weights if np.prod(tensor.dims) > 8}  # a Resize has its scales in float32
    assert onnx.TensorProto.FLOAT16 in kinds and onnx.TensorProto.FLOAT not in kinds
    assert [path.name for path in folder.iterdir()] == ["half.onnx"]


def test_without_a_place_it_is_written_here_under_its_name(folder: Path) -> None:
    for form, file in (("fp16", "tiny.fp16.onnx"), ("onnx", "tiny.onnx")):
        assert main(["models", "convert", "tiny", "--to", form]) == 0
        assert (folder / file).is_file()


def test_as_onnx_it_is_what_the_service_computes(folder: Path) -> None:
    assert main(["models", "convert", "tiny", "--to", "onnx", "--out", "mine.onnx"]) == 0
    (given, made) = (open_session(model_file(path)) for path in (folder.parent / "t.onnx", folder / "mine.onnx"))
    assert (given.max_batch, made.max_batch) == (1, 0)
    np.testing.assert_allclose(
        made.run(pictures(2, (112, 112)))[0][:1], given.run(pictures(1, (112, 112)))[0], rtol=1e-5
    )


@pytest.mark.parametrize("by", [1e6, 1e-9], ids=["beyond what float16 can say", "rounded to nothing"])
def test_what_half_precision_makes_another_network_is_refused_and_nothing_written(
    folder: Path, scaled: Scaled, capsys: pytest.CaptureFixture[str], by: float
) -> None:
    scaled(by)
    assert main(["models", "convert", "tiny", "--to", "fp16"]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("visage: ") and "tiny in half precision is another network: output 0 is off by" in line
    assert list(folder.iterdir()) == []


def test_what_moves_the_face_is_refused_although_the_outputs_are_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from visage.backends import half

    def turned(model: onnx.ModelProto) -> onnx.ModelProto:
        made = onnx.ModelProto.FromString(model.SerializeToString())
        for weights in made.graph.initializer:
            if weights.data_type == onnx.TensorProto.FLOAT:
                value = numpy_helper.to_array(weights).copy()
                value[:, 0] += 0.01 * np.abs(value).max()
                weights.CopyFrom(numpy_helper.from_array(value, weights.name))
        return made

    monkeypatch.setattr(half, "halved", turned)
    assert main(["models", "convert", "tiny", "--to", "fp16"]) == 1
    assert (
        "tiny in half precision is another network: tiny, computed by onnx in half precision, failed its self-test: number 0 is"
        in capsys.readouterr().err
    )
    assert list(folder.iterdir()) == []


def test_a_converter_that_stumbles_is_told_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stumble(_: onnx.ModelProto) -> None:
        raise KeyError("first line\nsecond line")

    monkeypatch.setattr("visage.backends.half.halved", stumble)
    assert main(["models", "convert", "tiny", "--to", "fp16"]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("visage: Network rejected: this network cannot be converted to float16: 'first line")


@pytest.mark.parametrize("form", ["fp16", "onnx"])
def test_a_place_that_cannot_be_written_is_named(folder: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    place = folder / "none" / "made.onnx"
    assert main(["models", "convert", "tiny", "--to", form, "--out", str(place)]) == 1
    assert f"{place} cannot be written: No such file or directory" in capsys.readouterr().err


def test_an_engine_without_tensorrt_is_one_line_with_the_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert main(["models", "convert", "tiny", "--to", "engine"]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("visage: Backend unavailable: tiny cannot be built: TensorRT is not installed")
    assert "pip install visage[trt]" in line and list(folder.iterdir()) == []


@pytest.mark.rtx
def test_an_engine_is_built_by_tensorrt_for_rtx(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="builds engines without a GPU; make rtx-test has it")
    monkeypatch.setitem(sys.modules, "tensorrt", rtx)
    monkeypatch.setattr(convert, "Recipe", partial(Recipe, target="SM86"))  # no GPU is here to be asked
    assert main(["models", "convert", "tiny", "--to", "engine", "--out", "model.plan"]) == 0
    assert "single precision, " in capsys.readouterr().out and (folder / "model.plan").stat().st_size > 1000


REAL = ("yunet_2023mar", "scrfd_500m_bnkps", "retinaface_mnet025_v1", "centerface", "yolov5n-0.5", "genderage_v1")


@pytest.mark.parametrize("name", REAL)
def test_real_networks_bear_half_precision(
    testdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = real_file(name)
    assert file is not None and file.is_relative_to(testdata)
    monkeypatch.setenv("MODELS_DIR", str(models_folder(tmp_path / "models", {name: by_hand(name)}, {name: file})))
    monkeypatch.setenv("ACCEPT_LICENCES", ACCEPTED["ACCEPT_LICENCES"])
    assert main(["models", "convert", name, "--to", "fp16", "--out", str(tmp_path / "half.onnx")]) == 0
    assert float(capsys.readouterr().out.rpartition(" ")[2]) > 0.9998


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
