"""Tiny ONNX networks shaped like those of the families, each with the same arithmetic in numpy as its oracle."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from visage.backends.base import ModelFile, Preprocess, Sizes
from visage.faces import Floats, Pixels
from visage.zoo.graph import apply
from visage.zoo.transfer import digest

Axis = int | str
Layout = Literal["nchw", "nhwc"]

STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Head:
    """One dense output: cells of `stride` pixels are averaged, mixed to `anchors` × `columns` numbers, one row an anchor."""

    name: str
    stride: int
    columns: int
    anchors: int
    sigmoid: bool
    weights: Floats  # (anchors·columns, 3)
    bias: Floats  # (anchors·columns,)

    def __call__(self, fed: Floats) -> Floats:
        """float32 (N, 3, h, w) → (N, h/stride · w/stride · anchors, columns)."""
        n, _, h, w = fed.shape
        s = self.stride
        cells = fed.reshape(n, 3, h // s, s, w // s, s).mean(axis=(3, 5))
        mixed = np.einsum("oc,nchw->nhwo", self.weights, cells) + self.bias
        rows = mixed.reshape(n, -1, self.columns)
        return (1 / (1 + np.exp(-rows)) if self.sigmoid else rows).astype(np.float32)


def heads(columns: Mapping[str, int], *, anchors: int, sigmoid: Sequence[str], seed: int = 7) -> list[Head]:
    """A head a name and stride, named `<name>_<stride>`; weights are small, and differ between the colours."""
    rng = np.random.default_rng(seed)
    return [
        Head(
            f"{name}_{stride}",
            stride,
            width,
            anchors,
            name in sigmoid,
            (rng.normal(0, 1, (anchors * width, 3)) * np.array([1.0, 0.3, -0.7]) / 100).astype(np.float32),
            rng.normal(0.5, 0.3, anchors * width).astype(np.float32),
        )
        for name, width in columns.items()
        for stride in STRIDES
    ]


def scrfd_heads() -> list[Head]:
    return heads({"score": 1, "bbox": 4, "kps": 10}, anchors=2, sigmoid=["score"])


def yunet_heads() -> list[Head]:
    return heads({"cls": 1, "obj": 1, "bbox": 4, "kps": 10}, anchors=1, sigmoid=["cls", "obj"])


def dense(
    path: Path,
    outputs: Sequence[Head],
    *,
    batch: Axis = "batch",
    size: tuple[Axis, Axis] = ("height", "width"),
    flat: bool = False,
) -> Path:
    """A detector's file; `flat` leaves the batch axis out of the outputs, as the first SCRFD exports do."""
    nodes, constants, results = [], [], []
    for head in outputs:
        name, s = head.name, head.stride
        constants += [
            numpy_helper.from_array(head.weights[:, :, None, None], f"{name}_w"),
            numpy_helper.from_array(head.bias, f"{name}_b"),
            numpy_helper.from_array(np.array([-1, head.columns] if flat else [0, -1, head.columns]), f"{name}_shape"),
        ]
        nodes += [
            helper.make_node("AveragePool", ["input"], [f"{name}_p"], kernel_shape=[s, s], strides=[s, s]),
            helper.make_node("Conv", [f"{name}_p", f"{name}_w", f"{name}_b"], [f"{name}_c"]),
            helper.make_node("Transpose", [f"{name}_c"], [f"{name}_t"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"{name}_t", f"{name}_shape"], [f"{name}_r"]),
            helper.make_node("Sigmoid" if head.sigmoid else "Identity", [f"{name}_r"], [name]),
        ]
        shape: list[Axis] = ["rows", head.columns] if flat else [batch, f"rows_{s}", head.columns]
        results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return save(path, nodes, [("input", [batch, 3, *size])], results, constants)


@dataclass(frozen=True, slots=True)
class Embedder:
    """Channel means times a matrix."""

    matrix: Floats  # (3, D)

    @classmethod
    def of(cls, dimensions: int, seed: int = 3) -> "Embedder":
        return cls(np.random.default_rng(seed).normal(0, 1, (3, dimensions)).astype(np.float32))

    def __call__(self, fed: Floats, layout: Layout = "nchw") -> Floats:
        """float32 (N, 3, h, w), or (N, h, w, 3) → (N, D)."""
        means = fed.mean(axis=(2, 3) if layout == "nchw" else (1, 2), dtype=np.float64)
        return (means @ self.matrix).astype(np.float32)

    def save(self, path: Path, *, batch: Axis = "batch", layout: Layout = "nchw", side: Axis = 112) -> Path:
        axes, shape = ([2, 3], [batch, 3, side, side]) if layout == "nchw" else ([1, 2], [batch, side, side, 3])
        nodes = [
            helper.make_node("ReduceMean", ["data", "axes"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "matrix"], ["fc1"]),
        ]
        constants = [numpy_helper.from_array(np.array(axes), "axes"), numpy_helper.from_array(self.matrix, "matrix")]
        result = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [batch, self.matrix.shape[1]])
        return save(path, nodes, [("data", shape)], [result], constants)


def prelus(path: Path, slopes: tuple[int, ...], *, shared: bool = False) -> Path:
    """Two convolutions, each with a PReLU of slopes of this shape behind it: (N, 3, h, w) → (N, 5, h, w)."""
    rng = np.random.default_rng(11)
    nodes, constants, last = [], [], "data"
    for i, channels in enumerate((3, 5)):
        slope = "slope_0" if shared else f"slope_{i}"
        constants.append(numpy_helper.from_array(rng.normal(0, 0.5, (5, channels, 1, 1)).astype(np.float32), f"w_{i}"))
        if i == 0 or not shared:
            constants.append(numpy_helper.from_array(rng.uniform(-0.2, 0.9, slopes).astype(np.float32), slope))
        nodes += [
            helper.make_node("Conv", [last, f"w_{i}"], [f"c_{i}"]),
            helper.make_node("PRelu", [f"c_{i}", slope], [f"p_{i}"]),
        ]
        last = f"p_{i}"
    result = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 5, "h", "w"])
    return save(path, nodes, [("data", ["n", 3, "h", "w"])], [result], constants)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, Sequence[Axis]]],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    opset: int = 21,
) -> Path:
    """Write a checked model of these nodes."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs]
    graph = helper.make_graph(list(nodes), "tiny", values, list(outputs), list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def rewritten(source: Path, target: Path, names: Iterable[str]) -> bool:
    """Write `source`, changed by the rewrites `names`, to `target`; whether there was anything to change."""
    model = onnx.load(source)
    changed = apply(model, names)
    onnx.checker.check_model(model)
    onnx.save(model, target)
    return changed


def model_file(path: Path, preprocess: Preprocess | None = None) -> ModelFile:
    return ModelFile(path.stem, path, digest(path), preprocess or Preprocess(), threads=1)


def pictures(count: int, size: tuple[int, int], seed: int = 1) -> Pixels:
    """(N, h, w, 3) of noise whose three channels have different means: a mix-up of colours shows."""
    noise = np.random.default_rng(seed).integers(0, 60, (count, size[1], size[0], 3))
    levels = np.arange(count)[:, None] * 7 + np.array([20, 90, 170])
    return (noise + levels[:, None, None, :]).clip(0, 255).astype(np.uint8)


class FixedSession:
    """A session that answers with these arrays, whatever it is shown; it keeps the sizes of its runs."""

    def __init__(self, *outputs: NDArray[Any], sizes: Sizes | None = None, max_batch: int = 0) -> None:
        self.outputs = tuple(outputs)
        self.sizes = sizes or Sizes()
        self.max_batch = max_batch
        self.streams = 0
        self.runs: list[int] = []

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        first = sum(self.runs)
        self.runs.append(len(pixels))
        whole = self.max_batch == 0 or any(len(out) < first + len(pixels) for out in self.outputs)
        return self.outputs if whole else tuple(out[first : first + len(pixels)] for out in self.outputs)

    def close(self) -> None:
        pass
