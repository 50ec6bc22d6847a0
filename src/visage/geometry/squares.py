"""Upright squares around boxes: the crops of InsightFace's networks of gender and age and of dense landmarks."""

import numpy as np
from numpy.typing import NDArray

from visage.faces import Floats

# A box thinner than this (pixels) has no square that could be enlarged; a detector's never is.
_LEAST_SIDE = 1e-3


def square_matrices(boxes: Floats, size: int, margin: float) -> NDArray[np.float64]:
    """The maps picture → crop that fit a square around each box into `size`×`size` pixels.

    `boxes` (n, 4) → float64 (n, 2, 3). The square has the box's centre, and its side is the longer one of the box
    times `margin`: factor = size / (max(w, h)·margin), no rotation (insightface, model_zoo/landmark.py `get` and
    utils/face_align.py `transform`).
    """
    edges = boxes.astype(np.float64)
    low, high = edges[:, :2], edges[:, 2:]
    centre = (low + high) / 2  # (n, 2)
    factor = size / (np.maximum((high - low).max(axis=1), _LEAST_SIDE) * margin)  # (n,)
    matrices = np.zeros((len(edges), 2, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = factor
    matrices[:, :, 2] = size / 2 - centre * factor[:, None]
    return matrices
