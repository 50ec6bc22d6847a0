"""Rewrites of ONNX graphs at prepare time, named by the catalogue; exact with respect to the weights.

Every rewrite takes a model and changes it in place. `rewrite` applies the named ones in order and checks the
result with `onnx.checker`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from visage.errors import GraphRejected


def rewrite(source: Path, target: Path, names: Sequence[str]) -> None:
    """Read `source`, apply the rewrites `names`, write `target`. Raises GraphRejected."""
    for name in names:
        if name not in REWRITES:
            raise GraphRejected(f"rewrite {name!r} is not one of: {', '.join(REWRITES)}")
    try:
        model = onnx.load(source)
        for name in names:
            REWRITES[name](model)
        del model.graph.value_info[:]  # stale shapes would contradict the new ones
        onnx.checker.check_model(model)
        onnx.save(model, target)
    except DecodeError as exc:
        raise GraphRejected(f"{source.name} is no ONNX file") from exc
    except (onnx.checker.ValidationError, ValueError, TypeError, AttributeError, LookupError) as exc:
        reason = str(exc).strip().partition("\n")[0]
        raise GraphRejected(f"{source.name} cannot be rewritten: {reason}") from exc


def fold_dequantize(model: onnx.ModelProto) -> None:
    """Turn every DequantizeLinear of constants, and the Reshape that follows it, into a float32 initialiser.

    ONNX Runtime refuses a `block_size` beside scalar scales, as some quantisers write it; and the float graph
    is the faster one.
    """
    graph = model.graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    folded: dict[str, NDArray[np.float32]] = {}
    remaining = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and all(name in constants for name in node.input):
            value = _dequantized(node, [constants[name] for name in node.input])
        elif node.op_type == "Reshape" and node.input[0] in folded and node.input[1] in constants:
            value = folded[node.input[0]].reshape(constants[node.input[1]])
        else:
            remaining.append(node)
            continue
        folded[node.output[0]] = value
    used = {name for node in remaining for name in node.input}
    _replace(graph.node, remaining)
    kept = [i for i in graph.initializer if i.name in used]
    kept += [numpy_helper.from_array(value, name) for name, value in folded.items() if name in used]
    _replace(graph.initializer, kept)


def first_input_only(model: onnx.ModelProto) -> None:
    """Drop all graph inputs but the first: old exporters list initialisers there, and names nothing uses.

    ONNX asks for that list up to version 3 of its format; from 4 on it is left out.
    """
    del model.graph.input[1:]
    model.ir_version = max(model.ir_version, 4)


def dynamic_batch(model: onnx.ModelProto) -> None:
    """Let the batch axis have any length: of the input, the outputs, and of Reshapes to a fixed batch of 1."""
    graph = model.graph
    for value in (graph.input[0], *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    _reshape_to(graph, lambda shape: [0, *shape[1:]])  # 0: the length that comes in


def dynamic_size(model: onnx.ModelProto) -> None:
    """Let height and width be any: of the input, of outputs that are maps (N, c, h, w) or a row a cell (N, h·w, c),
    and of Reshapes of (N, h, w, c) to (N, h·w, c).
    """
    graph = model.graph
    for axis, name in ((2, "height"), (3, "width")):
        graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    for output in graph.output:
        axes = output.type.tensor_type.shape.dim
        if len(axes) == 4:
            axes[2].dim_param, axes[3].dim_param = f"{output.name}_rows", f"{output.name}_columns"
        else:
            axes[1].dim_param = "cells"
    _reshape_to(graph, lambda shape: [shape[0], -1, *shape[2:]])


REWRITES: dict[str, Callable[[onnx.ModelProto], None]] = {
    "fold_dequantize": fold_dequantize,
    "first_input_only": first_input_only,
    "dynamic_batch": dynamic_batch,
    "dynamic_size": dynamic_size,
}


def _dequantized(node: onnx.NodeProto, inputs: list[NDArray[np.generic]]) -> NDArray[np.float32]:
    """y = (x - zero point) · scale (ONNX operator DequantizeLinear), per tensor, axis or block."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
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


def _reshape_to(graph: onnx.GraphProto, change: Callable[[list[int]], list[int]]) -> None:
    """Change the constant target shapes of the Reshapes whose target is three-dimensional."""
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for i, initialiser in enumerate(graph.initializer):
        if initialiser.name in shapes:
            shape = numpy_helper.to_array(initialiser).tolist()
            if len(shape) == 3:
                changed = np.array(change(shape), np.int64)
                graph.initializer[i].CopyFrom(numpy_helper.from_array(changed, initialiser.name))


def _replace(field: object, values: list[object]) -> None:
    """Set a repeated protobuf field to `values`."""
    copies = list(values)
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]
