"""Cutting crops out of a picture by affine maps, and carrying points back."""

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.faces import Floats, Pixels

Doubles = NDArray[np.float64]

# cv2.warpAffine takes pictures whose sides fit a signed 16-bit number.
_WARP_LIMIT = 32766


def warp(pixels: Pixels, matrices: Doubles, size: int) -> Pixels:
    """One crop a matrix: uint8 (H, W, 3), float64 (n, 2, 3) picture → crop, gives uint8 (n, size, size, 3).

    Linear; black outside the picture.
    """
    crops = np.empty((len(matrices), size, size, 3), np.uint8)
    for crop, matrix in zip(crops, matrices, strict=True):
        source, local = _within_warp_limit(pixels, matrix, size)
        cv2.warpAffine(source, local, (size, size), dst=crop, flags=cv2.INTER_LINEAR, borderValue=0)
    return crops


def carried_back(points: Floats, matrix: Doubles) -> Floats:
    """Points (m, 2) of a crop in the pixels of the picture that `matrix` (2, 3) cut it from; float32 (m, 2)."""
    backward = cv2.invertAffineTransform(matrix)
    return np.asarray(points @ backward[:, :2].T + backward[:, 2], np.float32)


def _within_warp_limit(pixels: Pixels, matrix: Doubles, size: int) -> tuple[Pixels, Doubles]:
    """The picture and matrix, or for a side too long for OpenCV a window around the face and its matrix."""
    height, width = pixels.shape[:2]
    if max(height, width) <= _WARP_LIMIT:
        return pixels, matrix
    backward = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]], np.float64) @ backward.T
    low = np.floor(corners.min(axis=0)).astype(int) - 2
    high = np.ceil(corners.max(axis=0)).astype(int) + 2
    left, top = int(np.clip(low[0], 0, width - 1)), int(np.clip(low[1], 0, height - 1))
    right = int(np.clip(high[0], left + 1, min(width, left + _WARP_LIMIT)))
    bottom = int(np.clip(high[1], top + 1, min(height, top + _WARP_LIMIT)))
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (left, top)
    return pixels[top:bottom, left:right], shifted
