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
from tests.networks import Embedder, dense, pictures, prelus, rewritten, save, scrfd_heads
from tests.support import REPO
from visage.zoo.catalogue import PackageFile
from visage.zoo.graph import REWRITES, WISHES, apply, first_input_only, fold_dequantize
from visage.zoo.reading import read_catalogue
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
    rewritten(source, tmp_path / "b.onnx", ["fold_dequantize"])

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
    rewritten(source, tmp_path / "b.onnx", ["fold_dequantize"])

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
    rewritten(source, tmp_path / "b.onnx", ["first_input_only"])

    assert [i.name for i in onnx.load(tmp_path / "b.onnx").graph.input] == ["input"]
    np.testing.assert_array_equal(run(tmp_path / "b.onnx", np.zeros(2, np.float32))[0], [1, 1])


@pytest.mark.parametrize(("before", "after"), [(3, 4), (4, 4), (10, 10)])
def test_without_its_list_of_initialisers_a_file_is_of_version_4_at_least(
    tmp_path: Path, before: int, after: int
) -> None:
    source = mapped(tmp_path / "a.onnx", centerface_maps(), listed=True, ir_version=before)
    rewritten(source, tmp_path / "b.onnx", ["first_input_only"])

    assert onnx.load(tmp_path / "b.onnx").ir_version == after


def test_maps_of_a_fixed_batch_and_size_become_those_of_any(tmp_path: Path) -> None:
    maps = centerface_maps()
    source = mapped(tmp_path / "a.onnx", maps, batch=10, size=(32, 32), listed=True, ir_version=4)
    rewritten(source, tmp_path / "b.onnx", read_catalogue(REPO / "models")["centerface"].graph_rewrites())

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
        published = PackageSource(source).located()
        rewritten(published, folder / f"{name}.onnx", entry.graph_rewrites())
        files |= {name: folder / f"{name}.onnx", f"{name}-published": published}
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


# -- what there is nothing to do for, and what cannot be ------------------------------------------------------------


@pytest.mark.parametrize("name", REWRITES)
def test_a_rewrite_that_finds_nothing_says_so_and_changes_nothing(tmp_path: Path, name: str) -> None:
    for path in (
        dense(tmp_path / "a.onnx", scrfd_heads()),
        mapped(tmp_path / "b.onnx", centerface_maps()),
        Embedder.of(4).save(tmp_path / "c.onnx", side="side"),
    ):
        model = onnx.load(path)
        assert not apply(model, [name])
        assert model == onnx.load(path)


def test_done_once_there_is_nothing_left_to_do(tmp_path: Path) -> None:
    listed = onnx.load(mapped(tmp_path / "a.onnx", centerface_maps(), batch=10, size=(32, 32), listed=True))
    scrfd = onnx.load(flat_scrfd(tmp_path / "b.onnx"))
    for model in (listed, scrfd):
        assert apply(model, REWRITES)
        assert not apply(model, REWRITES)


def test_an_unknown_rewrite_is_refused_with_those_there_are(tmp_path: Path) -> None:
    model = onnx.load(Embedder.of(4).save(tmp_path / "a.onnx", batch=1))
    with pytest.raises(ValueError, match=r"'dynamic_everything' is not one of: first_input_only, fold_dequantize"):
        apply(model, ["dynamic_batch", "dynamic_everything"])
    assert model == onnx.load(tmp_path / "a.onnx")


def test_stale_shapes_go_with_a_change_alone(tmp_path: Path) -> None:
    source = onnx.shape_inference.infer_shapes(onnx.load(Embedder.of(4).save(tmp_path / "a.onnx", batch=1)))
    kept, gone = onnx.ModelProto(), onnx.ModelProto()
    kept.CopyFrom(source)
    gone.CopyFrom(source)

    assert not apply(kept, ["first_input_only"]) and len(kept.graph.value_info)
    assert apply(gone, ["dynamic_batch"]) and not len(gone.graph.value_info)


def test_initialisers_among_the_inputs_that_nothing_uses_go_too(tmp_path: Path) -> None:
    model = onnx.load(mapped(tmp_path / "a.onnx", centerface_maps(), listed=True))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "dangling"))
    model.graph.input.append(helper.make_tensor_value_info("dangling", TensorProto.FLOAT, [3]))

    assert first_input_only(model)
    assert [i.name for i in model.graph.input] == ["input"]


# -- SCRFD without a batch axis -----------------------------------------------------------------------------------


def flat_scrfd(path: Path, *, batch: int | str = 1, size: tuple[int | str, int | str] = ("height", "width")) -> Path:
    """As InsightFace exports them: Transpose (h, w, N, c), Reshape (-1, c), here and there a Sigmoid between."""
    model = onnx.load(dense(path, scrfd_heads(), batch=batch, size=size, flat=True))
    for node in model.graph.node:
        if node.op_type == "Transpose":
            node.attribute[0].ints[:] = [2, 3, 0, 1]
    for node in [node for node in model.graph.node if node.op_type == "Identity"]:
        maker = next(other for other in model.graph.node if node.input[0] in other.output)
        maker.output[0] = node.output[0]
        model.graph.node.remove(node)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def test_scrfd_s_rows_are_given_back_to_their_pictures(tmp_path: Path) -> None:
    source = flat_scrfd(tmp_path / "a.onnx", batch="batch")
    rewritten(source, tmp_path / "b.onnx", ["scrfd_batch"])

    batch = fed(3, (96, 64))
    mixed, apart = run(source, batch), run(tmp_path / "b.onnx", batch)
    for head, together, single in zip(scrfd_heads(), apart, mixed, strict=True):
        np.testing.assert_allclose(together, head(batch), rtol=1e-4, atol=1e-5)
        assert together.shape == (3, len(single) // 3, head.columns)
    onnx.checker.check_model(onnx.load(tmp_path / "b.onnx"), full_check=True)


def test_real_scrfd_without_a_batch_axis_equals_the_one_that_has_it(testdata: Path, tmp_path: Path) -> None:
    """det_500m and scrfd_500m_bnkps have the same weights."""
    flat, whole = testdata / "models" / "det_500m.onnx", testdata / "models" / "scrfd_500m_bnkps.onnx"
    rewritten(flat, tmp_path / "b.onnx", ["scrfd_batch", "dynamic_batch"])

    batch = (fed(2, (320, 256)) - 127.5) / 128
    found, expected = run(tmp_path / "b.onnx", batch), run(whole, batch)
    for out, known in zip(found, expected, strict=True):
        assert out.shape == known.shape and len(out) == 2
        np.testing.assert_allclose(out, known, rtol=1e-3, atol=1e-3)
    for i in range(2):
        for out, single in zip(found, run(flat, batch[i : i + 1]), strict=True):
            np.testing.assert_allclose(out[i], single, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("slopes", [(5, 1, 1), (1, 5, 1, 1), (1,), ()], ids=str)
def test_a_prelu_written_out_computes_the_same(tmp_path: Path, slopes: tuple[int, ...]) -> None:
    source, target = prelus(tmp_path / "a.onnx", slopes), tmp_path / "b.onnx"
    assert rewritten(source, target, ["prelu_as_relu"])

    assert not {"PRelu"} & {node.op_type for node in onnx.load(target).graph.node}
    x = np.random.default_rng(5).normal(0, 3, (2, 3, 6, 4)).astype(np.float32)
    (before,), (after,) = run(source, x), run(target, x)
    assert before.min() < -0.1 < 0.1 < before.max()
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


def test_two_prelus_of_one_slope_share_its_rest_and_a_second_time_nothing_is_left_to_do(tmp_path: Path) -> None:
    source, target = prelus(tmp_path / "a.onnx", (5, 1, 1), shared=True), tmp_path / "b.onnx"
    assert rewritten(source, target, ["prelu_as_relu"])
    names = [constant.name for constant in onnx.load(target).graph.initializer]

    assert names.count("slope_0_from_one") == 1
    assert not rewritten(target, tmp_path / "c.onnx", ["prelu_as_relu"])


def test_a_prelu_whose_slope_is_computed_or_whose_shapes_broadcast_otherwise_stays(tmp_path: Path) -> None:
    old = onnx.load(prelus(tmp_path / "a.onnx", (5, 1, 1)))
    old.opset_import[0].version = 6
    assert not apply(old, ["prelu_as_relu"])

    computed = onnx.load(prelus(tmp_path / "b.onnx", (5, 1, 1)))
    for node in computed.graph.node:
        if node.op_type == "PRelu":
            node.input[1] = node.input[0]
    assert not apply(computed, ["prelu_as_relu"])


def test_whether_a_prelu_is_written_out_is_a_wish() -> None:
    assert "prelu_as_relu" in WISHES
    for name, entry in read_catalogue(REPO / "models").entries.items():
        assert entry.rewrites is not None or "prelu_as_relu" in entry.graph_rewrites(), name
