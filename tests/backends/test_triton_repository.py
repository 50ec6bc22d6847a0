"""What `visage triton-repo` writes of one network; the real server loads it in tests/contract/test_triton.py."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.networks import dense, model_file, scrfd_heads, yunet_heads
from visage.backends.base import Largest, ModelFile
from visage.backends.triton.repository import PLATFORMS, Serving, config, write
from visage.backends.triton.signature import of_file
from visage.errors import GraphRejected

PYTHON = Serving("python", instances=2, threads=1)


@pytest.fixture
def tiny(tmp_path: Path) -> ModelFile:
    file = model_file(dense(tmp_path / "tiny.onnx", yunet_heads()))
    return replace(file, largest=Largest(4, (640, 480), (640, 640)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "repository"
    made.mkdir()
    return made


def parsed(text: str) -> Any:
    pytest.importorskip("tritonclient.grpc", reason="needs the extra visage[triton]")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_the_config_is_the_network_s(tiny: ModelFile) -> None:
    told = parsed(
        config(tiny, of_file(tiny), Serving(instances=3, device="gpu", max_batch=12, delay=500, patience=2000))
    )

    assert (told.name, told.backend, told.default_model_filename) == ("tiny", "onnxruntime", "model.onnx")
    (picture,) = told.input
    assert (picture.name, list(picture.dims)) == ("input", [3, -1, -1])
    assert [output.name for output in told.output] == [head.name for head in yunet_heads()]
    assert [list(output.dims) for output in told.output] == [[-1, head.columns] for head in yunet_heads()]
    assert told.parameters["visage_sha256"].string_value == tiny.sha256
    assert told.max_batch_size == 12 and list(told.dynamic_batching.preferred_batch_size) == [4, 8, 12]
    assert told.dynamic_batching.max_queue_delay_microseconds == 500
    assert told.dynamic_batching.default_queue_policy.default_timeout_microseconds == 2000
    (group,) = told.instance_group
    assert group.count == 3 and group.kind == group.KIND_GPU
    assert [warm.batch_size for warm in told.model_warmup] == [1, 12]
    assert all(list(warm.inputs["input"].dims) == [3, 480, 640] for warm in told.model_warmup)


def test_a_network_of_fixed_batch_is_not_joined(tmp_path: Path) -> None:
    file = model_file(dense(tmp_path / "a.onnx", scrfd_heads(), batch=1, size=(64, 96)))
    told = parsed(config(file, of_file(file), Serving()))
    assert told.max_batch_size == 0 and not told.HasField("dynamic_batching")
    assert list(told.input[0].dims) == [1, 3, 64, 96]
    (warm,) = told.model_warmup
    assert warm.batch_size == 1 and list(warm.inputs["input"].dims) == [1, 3, 64, 96]


def test_outputs_without_a_batch_axis_are_not_joined_either(tmp_path: Path) -> None:
    file = model_file(dense(tmp_path / "a.onnx", scrfd_heads(), batch=1, flat=True))
    told = parsed(config(file, of_file(file), Serving()))
    assert told.max_batch_size == 0 and list(told.output[0].dims) == [-1, 1]


def test_an_output_of_unknown_shape_is_refused(tiny: ModelFile, folder: Path) -> None:
    graph = onnx.load(tiny.path)
    graph.graph.output[3].type.tensor_type.ClearField("shape")
    onnx.save(graph, tiny.path)
    with pytest.raises(GraphRejected, match=r"^tiny: tiny\.onnx does not tell the shape of its output 'obj_8'$"):
        write(tiny, folder, Serving())
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("platform", "files"),
    [
        ("onnxruntime", ["1/model.onnx", "config.pbtxt"]),
        ("python", ["1/model.onnx", "1/model.py", "config.pbtxt"]),
        ("tensorrt", ["model.onnx", "config.pbtxt"]),
    ],
)
def test_a_model_is_written_whole_once(tiny: ModelFile, folder: Path, platform: Any, files: list[str]) -> None:
    first = write(tiny, folder, Serving(platform))
    assert list(first.changed) == files
    found = {str(path.relative_to(folder / "tiny")) for path in (folder / "tiny").rglob("*") if path.is_file()}
    assert found == set(files) and [path.name for path in folder.iterdir()] == ["tiny"]
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = write(tiny, folder, Serving(platform))
    assert again.changed == () and again.remark == first.remark
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == stamps


def test_only_what_differs_is_replaced(tiny: ModelFile, folder: Path) -> None:
    write(tiny, folder, PYTHON)
    assert write(tiny, folder, replace(PYTHON, instances=4)).changed == ("config.pbtxt",)
    assert "count: 4" in (folder / "tiny" / "config.pbtxt").read_text("utf-8")
    dense(tiny.path, scrfd_heads())
    other = model_file(tiny.path)
    assert write(other, folder, replace(PYTHON, instances=4)).changed == ("1/model.onnx", "config.pbtxt")
    assert (folder / "tiny" / "1" / "model.onnx").read_bytes() == tiny.path.read_bytes()


def test_how_an_engine_is_built_is_told_until_it_is_there(tiny: ModelFile, folder: Path) -> None:
    serving = Serving("tensorrt", max_batch=8)
    told = write(tiny, folder, serving).remark
    place = folder / "tiny"
    assert f"trtexec --onnx={place / 'model.onnx'} --saveEngine={place / '1' / 'model.plan'} " in told
    assert re.findall(r"--(\w+)Shapes=input:(\S+)", told) == [
        ("min", "1x3x32x32"),
        ("opt", "4x3x480x640"),
        ("max", "8x3x640x640"),
    ]
    (place / "1" / "model.plan").write_bytes(b"engine")
    assert write(tiny, folder, serving).remark == ""
    dense(tiny.path, scrfd_heads())  # an engine of other weights must not answer under these ones' name
    assert "trtexec" in write(model_file(tiny.path), folder, serving).remark
    assert not (place / "1" / "model.plan").exists() and (place / "model.plan.stale").read_bytes() == b"engine"


def test_a_fixed_network_s_engine_needs_no_shapes(tmp_path: Path, folder: Path) -> None:
    file = model_file(dense(tmp_path / "a.onnx", yunet_heads(), batch=1, size=(64, 96)))
    assert "Shapes" not in write(file, folder, Serving("tensorrt")).remark


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_opens_a_file_of_its_own(tiny: ModelFile, platform: Any) -> None:
    text = config(tiny, of_file(tiny), Serving(platform))
    opened = {"onnxruntime": "model.onnx", "tensorrt": "model.plan", "python": "model.py"}[platform]
    assert f'backend: "{platform}"' in text and f'default_model_filename: "{opened}"' in text
    assert ("KIND_CPU" in text) is (platform == "python")
