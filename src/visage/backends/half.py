"""Networks in half precision: weights and arithmetic float16, input and outputs float32.

TensorRT 11 has no switch for it: an engine computes in the types that its ONNX file says.
"""

import logging
import os
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from visage.errors import GraphRejected

# Running variances go beyond float16: 130,243 in retinaface_mnet025_v1, where clipping them costs 3 % of the cosine.
# Those that follow a convolution are folded into it first.
_SINGLE = ["BatchNormalization"]


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` that computes in half precision.

    The conversion is ONNX Runtime's (`onnxruntime.transformers.float16`), with casts around what float16 cannot do.
    """
    convert, never = _converter()
    made = onnx.ModelProto()
    made.CopyFrom(model)
    constants = {tensor.name for tensor in made.graph.initializer}
    for listed in [one for one in made.graph.input if one.name in constants]:  # their types would be the old ones
        made.graph.input.remove(listed)
    _fold_normalisation(made.graph)
    _drop_unread(made.graph)
    del made.graph.value_info[:]  # inferred anew by the conversion; some files' are wrong
    half: onnx.ModelProto = convert(made, keep_io_types=True, op_block_list=[*never, *_SINGLE])
    _sort(half.graph)
    return half


@cache
def _converter() -> tuple[Any, list[str]]:
    before = list(sys.path)
    try:
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    finally:
        sys.path[:] = before  # that package puts itself there when it is imported
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)  # it prints whole nodes
    return convert_float_to_float16, list(DEFAULT_OP_BLOCK_LIST)


def _fold_normalisation(graph: onnx.GraphProto) -> None:
    """Every BatchNormalization of what one Conv alone gives it becomes part of that Conv's weights."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, int] = defaultdict(int)
    for name in [name for node in graph.node for name in node.input] + [output.name for output in graph.output]:
        readers[name] += 1
    makers = {name: node for node in graph.node for name in node.output}
    for node in [node for node in graph.node if node.op_type == "BatchNormalization" and len(node.output) == 1]:
        conv = makers.get(node.input[0])
        alone = conv is not None and conv.op_type == "Conv" and readers[node.input[0]] == 1
        if conv is None or not alone or not {*conv.input[1:], *node.input[1:]} <= constants.keys():
            continue
        scale, shift = _as_scale(node, constants)
        weights = numpy_helper.to_array(constants[conv.input[1]]).astype(np.float64)
        bias = numpy_helper.to_array(constants[conv.input[2]]) if len(conv.input) > 2 else 0.0
        # Under names of their own: others may share the weights.
        told = {"weights": weights * scale.reshape(-1, 1, 1, 1), "bias": bias * scale + shift}
        for kind, value in told.items():
            graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), f"{node.output[0]}.{kind}"))
        conv.input[:] = [conv.input[0], *(f"{node.output[0]}.{kind}" for kind in told)]
        conv.output[0] = node.output[0]
        graph.node.remove(node)


def _as_scale(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> tuple[Any, Any]:
    """What the normalisation multiplies by, and adds after it."""
    gamma, beta, mean, variance = (numpy_helper.to_array(constants[n]).astype(np.float64) for n in node.input[1:5])
    epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _drop_unread(graph: onnx.GraphProto) -> None:
    """What was folded."""
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _sort(graph: onnx.GraphProto) -> None:
    """The nodes in an order in which each follows what it reads; the conversion adds its casts at the end.

    Some versions of it cast the same constant twice, under one name: the first will do.
    """
    waiting = list({tuple(node.output): node for node in reversed(graph.node)}.values())[::-1]
    made_here = {name for node in waiting for name in node.output}
    known: set[str] = set()
    ordered: list[onnx.NodeProto] = []
    while waiting:
        later = []
        for node in waiting:
            if all(name in known or name not in made_here for name in node.input):
                ordered.append(node)
                known.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ValueError("the graph has a circle")
        waiting = later
    copies = [onnx.NodeProto() for _ in ordered]
    for number, (copy, node) in enumerate(zip(copies, ordered, strict=True)):
        copy.CopyFrom(node)
        copy.name = f"{number} {node.name}".rstrip()  # the conversion names some of its casts alike
    del graph.node[:]
    graph.node.extend(copies)


def write_half(source: Path, target: Path) -> None:
    """`halved` of a file into another, whole or not at all. Raises GraphRejected and OSError."""
    try:
        made = halved(onnx.load(str(source)))
    except Exception as exc:  # the tool raises what its passes stumble over
        said = str(exc).strip().partition("\n")[0] or type(exc).__name__
        raise GraphRejected(f"this network cannot be converted to float16: {said}") from exc
    draft = target.with_name(f".work-{target.name}")
    try:
        with draft.open("wb") as out:
            out.write(made.SerializeToString())
            out.flush()
            os.fsync(out.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
