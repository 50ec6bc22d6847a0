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
from visage.geometry.anchors import Levels, distance_rows

_STRIDES = (8, 16, 32)
_ANCHORS = 2

# One image's scores (n,), distances (n, 4) and offsets (n, 10), each by stride.
_Answer = tuple[Levels, Levels, Levels]
# Where among the outputs each of the three is, finest stride first.
_Places = tuple[list[int], list[int], list[int]]


class Scrfd(DenseDetector[_Answer]):
    """A detector; `overlap` is 0.4 in effect in the reference (fault 17)."""

    def __init__(self, session: Session, overlap: float) -> None:
        super().__init__(session, overlap)
        self._places: _Places | None = None

    def _split(self, outputs: tuple[Floats, ...]) -> list[_Answer]:
        batched = [np.ascontiguousarray(out if out.ndim == 3 else out[None]) for out in outputs]  # (N, n, 1|4|10)
        if self._places is None:
            self._places = _places(batched)
        scores, distances, offsets = self._places
        return [
            (
                tuple([batched[at][i, :, 0] for at in scores]),
                tuple([batched[at][i] for at in distances]),
                tuple([batched[at][i] for at in offsets]),
            )
            for i in range(len(batched[0]))
        ]

    def _proposed(self, answer: _Answer, width: int, threshold: float) -> Floats:
        rows: Floats = distance_rows(*answer, _STRIDES, width, _ANCHORS, threshold)
        return rows


def _places(outputs: list[Floats]) -> _Places:
    """Which of a file's outputs are what; they are the same for every picture."""
    if len(outputs) != 9:
        raise GraphRejected(f"an SCRFD with landmarks has 9 outputs, this one {len(outputs)}")
    scores, distances, offsets = (_by_stride(outputs, columns) for columns in (1, 4, 10))
    return scores, distances, offsets


def _by_stride(outputs: list[Floats], columns: int) -> list[int]:
    """The places of those with so many columns, finest stride first."""
    found = [at for at, out in enumerate(outputs) if out.shape[-1] == columns]
    if len(found) != len(_STRIDES):
        raise GraphRejected(f"an SCRFD has 3 outputs of {columns} columns, this one {len(found)}")
    return sorted(found, key=lambda at: -outputs[at].shape[1])


def build(session: Session, params: Params) -> Scrfd:
    return Scrfd(session, float(params.get("overlap", 0.4)))


FAMILY = Family(
    "scrfd",
    "detection",
    Preprocess(127.5, 128.0, "rgb"),
    build,
    ("first_input_only", "fold_dequantize", "scrfd_batch", "dynamic_batch", "dynamic_size", "prelu_as_relu"),
)
