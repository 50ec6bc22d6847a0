"""What is opened is made of what was published, proved, and told where it cannot be."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.detector_networks import Map, centerface_maps, decoded, mapped, retinaface_maps
from tests.networks import Embedder, dense, model_file, pictures, save, scrfd_heads, yunet_heads
from tests.zoo.test_graph import fed, flat_scrfd, run
from visage.backends.base import Sizes
from visage.backends.onnx import OnnxSession, open_session
from visage.errors import GraphRejected
from visage.families import FAMILIES
from visage.zoo import preparing
from visage.zoo.catalogue import Entry, Licence
from visage.zoo.preparing import is_onnx, prepare_graph


def entry(family: str, **fields: Any) -> Entry:
    return Entry(name="tiny", family=family, licence=Licence(id="mit"), **fields)


def made_of(source: Path, wanted: Entry) -> Path:
    """The prepared form; it must be needed."""
    target = source.with_name("made.onnx")
    assert prepare_graph(wanted, source, target)
    onnx.checker.check_model(onnx.load(target), full_check=True)
    assert {path.name for path in source.parent.iterdir()} == {source.name, "made.onnx"}
    return target


def opened(path: Path, wanted: Entry) -> OnnxSession:
    return open_session(model_file(path, wanted.fed()))


# -- nothing to do ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_that_is_well_as_it_is_stays(tmp_path: Path, family: str) -> None:
    path = tmp_path / "a.onnx"
    if family == "mask":
        Embedder.of(2).save(path, layout="nhwc")
    elif family in ("arcface", "genderage"):
        Embedder.of(4).save(path)
    else:
        dense(path, scrfd_heads())

    assert not prepare_graph(entry(family), path, tmp_path / "made.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


# -- what is wished for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("size", [("height", "width"), (64, 96)])
def test_scrfd_without_a_batch_axis_gets_one_and_says_the_same(
    tmp_path: Path, batch: int | str, size: tuple[Any, Any]
) -> None:
    source = flat_scrfd(tmp_path / "a.onnx", batch=batch, size=size)
    made = made_of(source, entry("scrfd"))

    together = run(made, fed(3, (96, 64)))
    for i in range(3):
        alone = run(source, fed(3, (96, 64))[i : i + 1])
        for out, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(out[i], single, rtol=1e-4, atol=1e-5)
    assert opened(made, entry("scrfd")).sizes == Sizes() and opened(made, entry("scrfd")).max_batch == 0


def test_real_det_500m_gets_a_batch_axis(testdata: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.onnx"
    source.write_bytes((testdata / "models" / "det_500m.onnx").read_bytes())
    session = opened(made_of(source, entry("scrfd")), entry("scrfd"))
    known = open_session(model_file(testdata / "models" / "scrfd_500m_bnkps.onnx", entry("scrfd").fed()))

    assert (session.max_batch, session.sizes) == (0, Sizes())
    for out, expected in zip(session.run(pictures(2, (320, 256))), known.run(pictures(2, (320, 256))), strict=True):
        np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)


def maps_of(path: Path, maps: list[Map], size: tuple[int, int], wanted: Entry, **how: Any) -> None:
    """A file of these maps becomes one of any batch and size, and its maps are what they were."""
    made = made_of(mapped(path, maps, size=(size[1], size[0]), **how), wanted)
    session = opened(made, wanted)
    assert (session.max_batch, session.sizes) == (0, Sizes())
    for count, other in ((1, size), (3, size), (2, (96, 160))):
        picture = fed(count, other)[:, ::-1].copy()  # red first
        for out, expected in zip(session.run(pictures(count, other)), maps, strict=True):
            np.testing.assert_allclose(out, expected(picture), rtol=1e-3, atol=1e-4)


def test_centerface_s_ten_pictures_of_32_become_any(tmp_path: Path) -> None:
    maps_of(tmp_path / "a.onnx", centerface_maps(), (32, 32), entry("centerface"), batch=10, listed=True, ir_version=4)


def test_retinaface_of_480_by_640_becomes_one_of_any_size(tmp_path: Path) -> None:
    maps_of(tmp_path / "a.onnx", retinaface_maps(masks=True), (640, 480), entry("retinaface"), batch=1, listed=True)


def test_real_centerface_becomes_one_of_any_batch_and_size(testdata: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.onnx"
    source.write_bytes((testdata / "models" / "centerface.onnx").read_bytes())
    before, made = opened_of_ten(source), opened(made_of(source, entry("centerface")), entry("centerface"))

    assert (made.max_batch, made.sizes) == (0, Sizes())
    for out, expected in zip(made.run(pictures(10, (32, 32))), before, strict=True):
        np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
    assert [out.shape for out in made.run(pictures(2, (96, 64)))] == [(2, c, 16, 24) for c in (1, 2, 2, 10)]


def opened_of_ten(path: Path) -> list[NDArray[np.float32]]:
    """The published file's answer to ten pictures, its initialisers left out of its inputs by ONNX Runtime itself."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: list[NDArray[np.float32]] = session.run(None, {"input.1": fed(10, (32, 32))[:, ::-1].copy()})
    return found


def test_a_recogniser_of_one_picture_takes_any_number(tmp_path: Path) -> None:
    oracle = Embedder.of(8)
    session = opened(made_of(oracle.save(tmp_path / "a.onnx", batch=1), entry("arcface")), entry("arcface"))

    assert (session.max_batch, session.sizes) == (0, Sizes((112, 112)))
    (out,) = session.run(pictures(3, (112, 112)))
    np.testing.assert_allclose(out, oracle(entry("arcface").fed()(pictures(3, (112, 112)))), rtol=1e-3, atol=1e-5)


# -- what a graph does not bear -----------------------------------------------------------------------------------


def head(path: Path, *more: onnx.NodeProto, constants: list[onnx.TensorProto], batch: int = 1) -> Path:
    """A detector of one 64×64 map `m` (N, 2, 8, 8), and `more` that makes `y` of it."""
    nodes = [helper.make_node("AveragePool", ["input"], ["p"], kernel_shape=[8, 8], strides=[8, 8])]
    nodes += [helper.make_node("Conv", ["p", "w"], ["m"]), *more]
    weights = np.random.default_rng(1).normal(0, 1, (2, 3, 1, 1)).astype(np.float32)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2, 8, 8])
    constants = [*constants, numpy_helper.from_array(weights, "w")]
    return save(path, nodes, [("input", [batch, 3, 64, 64])], [output], constants)


def resized(path: Path) -> Path:
    """Down, and up again to a size that is written into the graph, then added: it goes with one size alone."""
    nodes = [
        helper.make_node("AveragePool", ["m"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["small", "", "", "sizes"], ["large"], mode="nearest"),
        helper.make_node("Add", ["m", "large"], ["y"]),
    ]
    return head(path, *nodes, constants=[numpy_helper.from_array(np.array([1, 2, 8, 8]), "sizes")])


def reshaped(path: Path) -> Path:
    """Through rows of a number that is written into the graph, and back: any batch, one size."""
    nodes = [
        helper.make_node("Reshape", ["m", "rows"], ["r"]),
        helper.make_node("Reshape", ["r", "map"], ["y"]),
    ]
    shapes = {"rows": [1, 128], "map": [1, 2, 8, 8]}
    return head(path, *nodes, constants=[numpy_helper.from_array(np.array(v), k) for k, v in shapes.items()])


def mixing(path: Path) -> Path:
    """What it says of a picture depends on its neighbours: no batch, any size."""
    nodes = [
        helper.make_node("ReduceMean", ["m", "first"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["m", "mean"], ["off"]),
        helper.make_node("Add", ["off", "off"], ["y"]),
    ]
    return head(path, *nodes, constants=[numpy_helper.from_array(np.array([0]), "first")])


def test_a_size_written_into_a_reshape_stays_and_the_batch_is_freed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = reshaped(tmp_path / "a.onnx")
    with caplog.at_level(logging.INFO):
        session = opened(made_of(source, entry("retinaface")), entry("retinaface"))

    assert (session.max_batch, session.sizes) == (0, Sizes((64, 64)))
    assert "tiny: its graph does not bear dynamic_size" in caplog.text and "dynamic_batch" not in caplog.text
    np.testing.assert_allclose(
        session.run(pictures(2, (64, 64)))[0][:1],
        opened(source, entry("retinaface")).run(pictures(2, (64, 64))[:1])[0],
        rtol=1e-4,
    )


def test_a_size_written_into_a_resize_is_kept_with_the_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert not prepare_graph(entry("retinaface"), resized(tmp_path / "a.onnx"), tmp_path / "made.onnx")
    assert "does not bear dynamic_size" in caplog.text and "does not bear dynamic_batch" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_a_graph_that_mixes_its_pictures_keeps_its_batch_and_gets_any_size(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        session = opened(made_of(mixing(tmp_path / "a.onnx"), entry("retinaface")), entry("retinaface"))

    assert (session.max_batch, session.sizes) == (1, Sizes())
    assert "does not bear dynamic_batch" in caplog.text and "does not bear dynamic_size" not in caplog.text


def test_what_must_be_done_is_done_where_the_wishes_fail(tmp_path: Path) -> None:
    model = onnx.load(resized(tmp_path / "a.onnx"))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3, 1, 1]))
    onnx.save(model, tmp_path / "a.onnx")
    session = opened(made_of(tmp_path / "a.onnx", entry("retinaface")), entry("retinaface"))

    assert (session.max_batch, session.sizes) == (1, Sizes((64, 64)))


def test_a_rewrite_that_changes_a_number_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(model: onnx.ModelProto, names: Any) -> bool:
        if "dynamic_batch" in names:
            for tensor in model.graph.initializer:
                if tensor.name == "matrix":
                    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1.01, "matrix"))
        return real(model, names)

    real = preparing.apply
    monkeypatch.setattr(preparing, "apply", wrong)
    source = Embedder.of(4).save(tmp_path / "a.onnx", batch=1)
    with caplog.at_level(logging.INFO):
        assert not prepare_graph(entry("arcface"), source, tmp_path / "made.onnx")
    assert "output 0 is off by 0.0" in caplog.text and not (tmp_path / "made.onnx").exists()


# -- what is refused ----------------------------------------------------------------------------------------------


def refused(wanted: Entry, source: Path) -> str:
    target = source.with_name("made.onnx")
    with pytest.raises(GraphRejected) as caught:
        prepare_graph(wanted, source, target)
    said = str(caught.value)
    assert said.startswith("tiny: ") and "\n" not in said
    assert [path.name for path in source.parent.iterdir()] == [source.name]
    return said


@pytest.mark.parametrize(
    "data", [b"", b"no ONNX at all", b"<!DOCTYPE html><html>404 not found</html>", bytes(1000), b"\x08\x0a" * 30]
)
@pytest.mark.parametrize("name", ["a.onnx", "a.json", "a.txt"])
def test_bytes_that_are_no_network_are_told(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)

    assert f"{name} is no ONNX file" in refused(entry("yunet"), tmp_path / name)
    assert not is_onnx(tmp_path / name)


@pytest.mark.parametrize("part", [0.33, 0.5, 0.99, 0.999])
def test_a_network_cut_short_is_told(tmp_path: Path, part: float) -> None:
    whole = dense(tmp_path / "a.onnx", yunet_heads()).read_bytes()
    assert is_onnx(tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_bytes(whole[: int(len(whole) * part)])

    refused(entry("yunet"), tmp_path / "a.onnx")


def test_weights_in_another_file_are_told_with_the_remedy(tmp_path: Path) -> None:
    model = onnx.load(Embedder.of(4000).save(tmp_path / "a.onnx"))
    onnx.save(model, tmp_path / "a.onnx", save_as_external_data=True, location="a.data", size_threshold=0)
    (tmp_path / "a.data").unlink()

    assert "weights in another file; export it as one file" in refused(entry("arcface"), tmp_path / "a.onnx")
    assert is_onnx(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("side", "channels", "expected", "found"),
    [(160, 3, "N×3×112×112", "data batch×3×160×160"), (112, 1, "N×3×112×112", "data batch×1×112×112")],
)
def test_another_input_is_told_with_the_one_expected(
    tmp_path: Path, side: int, channels: int, expected: str, found: str
) -> None:
    model = onnx.load(Embedder.of(4).save(tmp_path / "a.onnx", side=side))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = channels
    onnx.save(model, tmp_path / "a.onnx")
    said = refused(entry("arcface", input={"size": (112, 112)}), tmp_path / "a.onnx")

    assert f"one input {expected} was expected of family arcface" in said and f"found: {found}" in said


def test_a_size_of_width_and_height_is_told_in_the_file_s_order(tmp_path: Path) -> None:
    source = mapped(tmp_path / "a.onnx", retinaface_maps(), batch=1, size=(480, 640))
    assert prepare_graph(entry("retinaface", input={"size": (640, 480)}), source, tmp_path / "made.onnx")
    (tmp_path / "made.onnx").unlink()

    assert "N×3×640×480" in refused(entry("retinaface", input={"size": (480, 640)}), source)


def test_channels_last_is_told_where_they_are_expected_first_and_the_other_way_round(tmp_path: Path) -> None:
    first, last = tmp_path / "first" / "a.onnx", tmp_path / "last" / "a.onnx"
    first.parent.mkdir()
    last.parent.mkdir()
    Embedder.of(2).save(first)
    Embedder.of(2).save(last, layout="nhwc")

    assert "N×H×W×3" in refused(entry("mask"), first) and "N×3×H×W" in refused(entry("arcface"), last)


def test_two_inputs_are_told_by_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["left", "right"], ["y"])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])
    shape = [1, 3, 8, 8]
    source = save(tmp_path / "a.onnx", nodes, [("left", shape), ("right", shape)], [output])

    assert refused(entry("scrfd"), source).endswith("found: left 1×3×8×8; right 1×3×8×8")


@pytest.mark.parametrize("shape", [[], [3], [1, 3, 8], [1, 3, 8, 8, 8]])
def test_an_input_that_is_no_picture_is_told(tmp_path: Path, shape: list[int]) -> None:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    source = save(tmp_path / "a.onnx", [helper.make_node("Relu", ["x"], ["y"])], [("x", shape)], [output])

    assert "found: x" in refused(entry("scrfd"), source)


def test_a_rewrite_that_does_not_exist_is_told_with_those_that_do(tmp_path: Path) -> None:
    source = Embedder.of(4).save(tmp_path / "a.onnx", batch=1)

    said = refused(entry("arcface", rewrites=["dynamic_batch", "dynamic_everything"]), source)
    assert "'dynamic_everything' is not one of: first_input_only, " in said


def test_a_network_that_onnx_runtime_cannot_run_is_kept_for_the_one_that_opens_it(tmp_path: Path) -> None:
    """What a newer operator means is not known here; the file stays as it is, and opening it tells."""
    model = onnx.load(decoded(tmp_path / "a.onnx", Map.of("output", 8, 16), batch=1, size=(64, 96)))
    model.graph.node[-1].domain = "nobody.knows"
    model.opset_import.append(helper.make_opsetid("nobody.knows", 1))
    onnx.save(model, tmp_path / "a.onnx")

    assert not prepare_graph(entry("yolov5_face"), tmp_path / "a.onnx", tmp_path / "made.onnx")
