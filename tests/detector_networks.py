"""Tiny detectors whose outputs are maps, or rows decoded already, with the same arithmetic in numpy as their oracle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.networks import STRIDES, Axis, save
from visage.faces import Floats

# What a decoded row's sigmoids are multiplied by: centre, size, objectness, landmarks, class.
ROW_SCALE = np.array([96, 64, 30, 30, 1, *[96, 64] * 5, 1], np.float32)


@dataclass(frozen=True, slots=True)
class Map:
    """One output (N, c, h/stride, w/stride): cells are averaged and mixed to `c` numbers."""

    name: str
    stride: int
    sigmoid: bool
    weights: Floats  # (c, 3)
    bias: Floats  # (c,)

    @classmethod
    def of(cls, name: str, stride: int, channels: int, *, sigmoid: bool = False, seed: int = 7) -> "Map":
        """Weights are small, and differ between the colours."""
        rng = np.random.default_rng(seed)
        weights = rng.normal(0, 1, (channels, 3)) * np.array([1.0, 0.3, -0.7]) / 100
        return cls(name, stride, sigmoid, weights.astype(np.float32), rng.normal(0.3, 0.3, channels).astype(np.float32))

    def __call__(self, fed: Floats) -> Floats:
        """float32 (N, 3, h, w) → (N, c, h/stride, w/stride)."""
        n, _, h, w = fed.shape
        s = self.stride
        cells = fed.reshape(n, 3, h // s, s, w // s, s).mean(axis=(3, 5))
        mixed = np.einsum("oc,nchw->nohw", self.weights, cells) + self.bias[:, None, None]
        return (1 / (1 + np.exp(-mixed)) if self.sigmoid else mixed).astype(np.float32)


def retinaface_maps(*, masks: bool = False) -> list[Map]:
    """In the published order: the coarsest stride first, its kinds together."""
    kinds = [("cls", 4, True), ("bbox", 8, False), ("landmark", 20, False), *([("type", 6, True)] if masks else [])]
    return [
        Map.of(f"{name}_{stride}", stride, channels, sigmoid=sigmoid, seed=10 * stride + channels)
        for stride in reversed(STRIDES)
        for name, channels, sigmoid in kinds
    ]


def centerface_maps() -> list[Map]:
    kinds = [("537", 1, True), ("538", 2, False), ("539", 2, False), ("540", 10, False)]
    return [Map.of(name, 4, channels, sigmoid=sigmoid, seed=int(name)) for name, channels, sigmoid in kinds]


def mapped(
    path: Path,
    outputs: Sequence[Map],
    *,
    batch: Axis = "batch",
    size: tuple[Axis, Axis] = ("height", "width"),
    listed: bool = False,
    ir_version: int = 10,
) -> Path:
    """A detector's file; `listed` names its weights among the graph's inputs, as old exporters do."""
    nodes, constants, results = [], [], []
    for out in outputs:
        name, s = out.name, out.stride
        constants += [
            numpy_helper.from_array(out.weights[:, :, None, None], f"{name}_w"),
            numpy_helper.from_array(out.bias, f"{name}_b"),
        ]
        nodes += [
            helper.make_node("AveragePool", ["input"], [f"{name}_p"], kernel_shape=[s, s], strides=[s, s]),
            helper.make_node("Conv", [f"{name}_p", f"{name}_w", f"{name}_b"], [f"{name}_c"]),
            helper.make_node("Sigmoid" if out.sigmoid else "Identity", [f"{name}_c"], [name]),
        ]
        sides = [side // s if isinstance(side, int) else f"{name}_{side}" for side in size]
        results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, len(out.bias), *sides]))
    inputs: list[tuple[str, Sequence[Axis]]] = [("input", [batch, 3, *size])]
    if listed:
        inputs += [(constant.name, list(constant.dims)) for constant in constants]
    save(path, nodes, inputs, results, constants, opset=9)
    if ir_version != 10:
        model = onnx.load(path)
        model.ir_version = ir_version
        onnx.save(model, path)
    return path


def decoded(path: Path, cells: Map, *, batch: Axis = "batch", size: tuple[Axis, Axis] = ("height", "width")) -> Path:
    """A detector of one output (N, n, 16): a row a cell of `cells`, whose sigmoids are multiplied by ROW_SCALE."""
    name, s = cells.name, cells.stride
    constants = [
        numpy_helper.from_array(cells.weights[:, :, None, None], "w"),
        numpy_helper.from_array(cells.bias, "b"),
        numpy_helper.from_array(np.array([0, -1, len(ROW_SCALE)]), "shape"),
        numpy_helper.from_array(ROW_SCALE, "scale"),
    ]
    nodes = [
        helper.make_node("AveragePool", ["input"], ["p"], kernel_shape=[s, s], strides=[s, s]),
        helper.make_node("Conv", ["p", "w", "b"], ["c"]),
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["t", "shape"], ["r"]),
        helper.make_node("Mul", ["r", "scale"], [name]),
    ]
    result = helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, "rows", len(ROW_SCALE)])
    return save(path, nodes, [("input", [batch, 3, *size])], [result], constants)


def plain_nms(rows: Sequence[tuple[float, ...]], overlap: float) -> list[tuple[float, ...]]:
    """Rows (score, left, top, right, bottom, …) that survive, the best first."""
    kept: list[tuple[float, ...]] = []
    for row in sorted(rows, key=lambda row: -row[0]):
        if all(intersection_over_union(row[1:5], other[1:5]) <= overlap for other in kept):
            kept.append(row)
    return kept


def intersection_over_union(a: Sequence[float], b: Sequence[float]) -> float:
    """A box counts its last pixel, as in InsightFace."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)
