"""Tiny gender/age and mask networks, and their answers."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.networks import Embedder, save
from visage.faces import Floats

MATRIX: Floats = np.array([[1.0, -0.5], [0.2, 0.4], [-0.6, 0.3]], np.float32)  # red, green, blue → mask, none


def softmaxed(path: Path, side: int | str, bias: tuple[float, float] = (0.0, 0.0)) -> Path:
    """A mask network: the softmax of channel means times MATRIX, plus `bias`, over crops (N, side, side, 3)."""
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["mixed"]),
        helper.make_node("Add", ["mixed", "bias"], ["biased"]),
        helper.make_node("Softmax", ["biased"], ["dense_1"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2]), "axes"),
        numpy_helper.from_array(MATRIX, "matrix"),
        numpy_helper.from_array(np.array(bias, np.float32), "bias"),
    ]
    result = helper.make_tensor_value_info("dense_1", TensorProto.FLOAT, ["batch", 2])
    return save(path, nodes, [("input", ["batch", side, side, 3])], [result], constants)


def aged(path: Path, gender: int, age: int) -> Path:
    """A network that gives every picture that is not black this gender and age."""
    matrix = np.zeros((3, 202), np.float32)
    matrix[:, gender] = 1
    for year in range(100):
        matrix[:, 2 + 2 * year + (year < age)] = 1
    return Embedder(matrix).save(path)


def toned(path: Path) -> Path:
    """A network of 96×96 squares: more red or more green is the gender, the brighter the older."""
    matrix = np.array([[1, 0, 0.003], [0, 1, 0.003], [0, 0, 0.003]], np.float32)
    return Embedder(matrix).save(path, side=96)
