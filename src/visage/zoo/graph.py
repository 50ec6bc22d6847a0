"""Rewrites of ONNX graphs at prepare time; exact with respect to the weights.

Files are published with one picture a run, one size, initialisers listed as inputs, weights still quantised, and with
operators that an engine computes slowly. Every rewrite takes a model, changes it in place and says whether there was
anything to change.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Rewrite = Callable[[onnx.ModelProto], bool]


def fold_dequantize(model: onnx.ModelProto) -> bool:
    """Turn every DequantizeLinear of constants, and the Reshape that follows it, into a float32 initialiser.

    ONNX Runtime refuses a `block_size` beside scalar scales, as some quantisers write it; and the float graph
    is the faster one.
    """
    graph = model.graph
    constants = {i.name: i for i in graph.initializer}
    folded: dict[str, NDArray[np.float32]] = {}
    remaining = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and all(name in constants for name in node.input):
            value = _dequantized(node, [numpy_helper.to_array(constants[name]) for name in node.input])
        elif node.op_type == "Reshape" and node.input[0] in folded and node.input[1] in constants:
            value = folded[node.input[0]].reshape(numpy_helper.to_array(constants[node.input[1]]))
        else:
            remaining.append(node)
            continue
        folded[node.output[0]] = value
    if not folded:
        return False
    used = {name for node in remaining for name in node.input}
    _replace(graph.node, remaining)
    kept = [i for i in graph.initializer if i.name in used]
    kept += [numpy_helper.from_array(value, name) for name, value in folded.items() if name in used]
    _replace(graph.initializer, kept)
    return True


def first_input_only(model: onnx.ModelProto) -> bool:
    """Drop graph inputs that are initialisers, as old exporters list them, and those that nothing uses.

    ONNX asks for that list up to version 3 of its format; from 4 on it is left out.
    """
    graph = model.graph
    constants = {i.name for i in graph.initializer}
    used = {name for node in graph.node for name in node.input}
    kept = [i for i in graph.input if i.name in used and i.name not in constants]
    if len(kept) == len(graph.input):
        return False
    _replace(graph.input, kept)
    model.ir_version = max(model.ir_version, 4)
    return True


def scrfd_batch(model: onnx.ModelProto) -> bool:
    """Give the outputs of InsightFace's SCRFD exports, (n, c), a batch axis: (N, n, c).

    They end in Transpose (h, w, N, c), or (N, h, w, c), → Reshape (-1, c), maybe with a Sigmoid behind, which mixes the
    pictures of a batch; Transpose (N, h, w, c) → Reshape (0, -1, c) gives the same rows, a picture after the other.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    changed = False
    for output in graph.output:
        axes = output.type.tensor_type.shape.dim
        reshape = _made_by("Reshape", output.name, makers)
        transpose = _made_by("Transpose", reshape.input[0], makers) if reshape is not None else None
        order = list(transpose.attribute[0].ints) if transpose is not None else []
        if len(axes) != 2 or reshape is None or transpose is None or order not in ([2, 3, 0, 1], [0, 2, 3, 1]):
            continue
        columns = axes[1].dim_value
        transpose.attribute[0].ints[:] = [0, 2, 3, 1]
        target = f"{output.name}_rows_of_a_picture"
        graph.initializer.append(numpy_helper.from_array(np.array([0, -1, columns], np.int64), target))
        reshape.input[1] = target
        del axes[:]
        axes.add().dim_param = "batch"
        axes.add().dim_param = f"{output.name}_cells"
        axes.add().dim_value = columns
        changed = True
    return changed


def dynamic_batch(model: onnx.ModelProto) -> bool:
    """Let the batch axis have any length: of the input, the outputs, and of Reshapes to the batch that was fixed."""
    graph = model.graph
    first = graph.input[0].type.tensor_type.shape.dim[0]
    if not first.dim_value:
        return False
    fixed = first.dim_value
    for value in (graph.input[0], *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    # 0: the length that comes in
    _reshape_to(model, lambda shape: [0, *shape[1:]] if len(shape) > 1 and shape[0] == fixed else shape)
    return True


def dynamic_size(model: onnx.ModelProto) -> bool:
    """Let height and width be any: of the input, of outputs that are maps (N, c, h, w) or a row a cell (N, h·w, c),
    and of Reshapes of (N, h, w, c) to (N, h·w, c).
    """
    graph = model.graph
    axes = graph.input[0].type.tensor_type.shape.dim
    if len(axes) != 4 or not (axes[2].dim_value or axes[3].dim_value):
        return False
    axes[2].dim_param, axes[3].dim_param = "height", "width"
    for output in graph.output:
        axes = output.type.tensor_type.shape.dim
        if len(axes) == 4:
            axes[2].dim_param, axes[3].dim_param = f"{output.name}_rows", f"{output.name}_columns"
        elif len(axes) > 1:
            axes[len(axes) - 2].dim_param = f"{output.name}_cells"
    _reshape_to(model, lambda shape: [shape[0], -1, shape[2]] if len(shape) == 3 and -1 not in shape else shape)
    return True


def prelu_as_relu(model: onnx.ModelProto) -> bool:
    """Write PRelu with a constant slope a as a·x + (1 - a)·relu(x); exact but for rounding (some 1e-6 of the largest).

    ONNX Runtime's PRelu is a plain loop that no thread shares, and its convolutions' blocked layout ends there; the
    three others it computes fast (docs/decisions/0009). Up to version 6 of the operators broadcasting was another.
    """
    graph = model.graph
    if any(opset.domain in ("", "ai.onnx") and opset.version < _BROADCASTING for opset in model.opset_import):
        return False
    constants = {i.name: i for i in graph.initializer}
    rest: dict[str, onnx.TensorProto] = {}  # 1 - a, by the name of a
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "PRelu" or node.input[1] not in constants:
            nodes.append(node)
            continue
        (x, slope), y = node.input, node.output[0]
        if slope not in rest:
            a = numpy_helper.to_array(constants[slope])
            rest[slope] = numpy_helper.from_array((1 - a).astype(a.dtype), f"{slope}_from_one")
        nodes += [
            helper.make_node("Relu", [x], [f"{y}_relu"]),
            helper.make_node("Mul", [x, slope], [f"{y}_sloped"]),
            helper.make_node("Mul", [f"{y}_relu", rest[slope].name], [f"{y}_above"]),
            helper.make_node("Add", [f"{y}_sloped", f"{y}_above"], [y]),
        ]
    if not rest:
        return False
    _replace(graph.node, nodes)
    graph.initializer.extend(rest.values())
    return True


REWRITES: dict[str, Rewrite] = {
    rewrite.__name__: rewrite
    for rewrite in (first_input_only, fold_dequantize, scrfd_batch, dynamic_batch, dynamic_size, prelu_as_relu)
}

# From this version of the operators on shapes broadcast as numpy's do.
_BROADCASTING = 7

# What the service would like and can do without: where a graph does not bear one of these, it is left out.
WISHES = ("scrfd_batch", "dynamic_batch", "dynamic_size", "prelu_as_relu")


def apply(model: onnx.ModelProto, names: Iterable[str]) -> bool:
    """Change `model` by the rewrites `names`, in order; False where none found anything to do.

    Raises ValueError for a name that is none of REWRITES.
    """
    asked = list(names)
    for name in asked:
        if name not in REWRITES:
            raise ValueError(f"rewrite {name!r} is not one of: {', '.join(REWRITES)}")
    changed = [name for name in asked if REWRITES[name](model)]
    if changed:
        del model.graph.value_info[:]  # stale shapes would contradict the new ones
    return bool(changed)


def _dequantized(node: onnx.NodeProto, inputs: list[NDArray[np.generic]]) -> NDArray[np.float32]:
    """y = (x - zero point) · scale (ONNX operator DequantizeLinear), per tensor, axis or block."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    x = inputs[0].astype(np.float32)
    axis = int(attributes.get("axis", 1))
    scale, zero = (_spread(v, x, axis, int(attributes.get("block_size", 0))) for v in _scale_and_zero(inputs))
    return ((x - zero) * scale).astype(np.float32)


def _scale_and_zero(inputs: list[NDArray[np.generic]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scale = inputs[1].astype(np.float32)
    zero = inputs[2].astype(np.float32) if len(inputs) > 2 else np.zeros_like(scale)
    return scale, zero


def _spread(value: NDArray[np.float32], like: NDArray[np.float32], axis: int, block: int) -> NDArray[np.float32]:
    """`value` in a shape that broadcasts against `like`."""
    if value.size == 1:
        return value.reshape(())
    if block and value.ndim == like.ndim:
        return np.repeat(value, block, axis=axis)[tuple(slice(n) for n in like.shape)]
    return value.reshape([-1 if i == axis % like.ndim else 1 for i in range(like.ndim)])


def _made_by(op_type: str, name: str, makers: dict[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """The node of `op_type` that makes `name`, perhaps with a Sigmoid between."""
    node = makers.get(name)
    if node is not None and node.op_type in ("Sigmoid", "Identity"):
        node = makers.get(node.input[0])
    return node if node is not None and node.op_type == op_type else None


def _reshape_to(model: onnx.ModelProto, change: Callable[[list[int]], list[int]]) -> None:
    """Change the constant target shapes of Reshapes of what is computed."""
    graph = model.graph
    constants = {i.name for i in graph.initializer}
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape" and node.input[0] not in constants}
    tensors = [i for i in graph.initializer if i.name in targets]
    tensors += [n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.output[0] in targets]
    for tensor in tensors:
        shape = [int(side) for side in numpy_helper.to_array(tensor)]
        changed = change(shape)
        if changed != shape:
            tensor.CopyFrom(numpy_helper.from_array(np.array(changed, np.int64), tensor.name))


def _replace(field: object, values: Sequence[object]) -> None:
    """Set a repeated protobuf field to `values`."""
    copies = list(values)
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]
