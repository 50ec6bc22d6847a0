"""SCRFD (Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021).

Nine outputs: for strides 8, 16, 32 scores (n, 1), distances (n, 4) and landmark offsets (n, 10), with a
leading batch axis or, in the first exports, without one. Files name and order them differently; their shapes
tell them apart. Scores are already sigmoids.
"""

import numpy as np

from visage.backends.base import Preprocess, Session
from visage.errors import GraphRejected
from visage.faces import Floats
from visage.families.base import DenseDetector, Family, Params
from visage.geometry.anchors import ROW, distance_proposals

_STRIDES = (8, 16, 32)
_ANCHORS = 2

# A stride's outputs for one image: scores (n,), distances (n, 4), offsets (n, 10).
_Level = tuple[Floats, Floats, Floats]


class Scrfd(DenseDetector[list[_Level]]):
    """A detector; `overlap` is 0.4 in effect in the reference (fault 17)."""

    def _split(self, outputs: tuple[Floats, ...]) -> list[list[_Level]]:
        return _images(outputs)

    def _proposed(self, levels: list[_Level], width: int, threshold: float) -> Floats:
        rows: Floats = np.concatenate(
            [_proposals(level, stride, width, threshold) for level, stride in zip(levels, _STRIDES, strict=True)]
        )
        return rows


def _proposals(level: _Level, stride: int, width: int, threshold: float) -> Floats:
    scores, distances, offsets = level
    rows = np.empty((len(scores), ROW), np.float32)
    found = distance_proposals(rows, scores, distances, offsets, stride, width // stride, _ANCHORS, threshold)
    return rows[:found]


def _images(outputs: tuple[Floats, ...]) -> list[list[_Level]]:
    """The levels of each image of a batch, finest stride first."""
    if len(outputs) != 9:
        raise GraphRejected(f"an SCRFD with landmarks has 9 outputs, this one {len(outputs)}")
    batched = [out if out.ndim == 3 else out[None] for out in outputs]  # (N, n, 1|4|10)
    scores, distances, offsets = (_by_stride(batched, columns) for columns in (1, 4, 10))
    return [
        [
            (np.ascontiguousarray(s[i, :, 0]), np.ascontiguousarray(d[i]), np.ascontiguousarray(o[i]))
            for s, d, o in zip(scores, distances, offsets, strict=True)
        ]
        for i in range(len(batched[0]))
    ]


def _by_stride(outputs: list[Floats], columns: int) -> list[Floats]:
    found = sorted((out for out in outputs if out.shape[-1] == columns), key=lambda out: -out.shape[1])
    if len(found) != len(_STRIDES):
        raise GraphRejected(f"an SCRFD has 3 outputs of {columns} columns, this one {len(found)}")
    return found


def build(session: Session, params: Params) -> Scrfd:
    return Scrfd(session, float(params.get("overlap", 0.4)))


FAMILY = Family(
    "scrfd",
    "detection",
    Preprocess(127.5, 128.0, "rgb"),
    build,
    ("first_input_only", "fold_dequantize", "scrfd_batch", "dynamic_batch", "dynamic_size", "prelu_as_relu"),
)
