"""Warping faces to the template that recognition networks are trained on."""

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.faces import Floats, Pixels

CROP_SIZE = 112

# ArcFace's five target points in a 112×112 crop (insightface, face_align.py): eyes, nose, mouth corners,
# the viewer's left first.
TEMPLATE: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

# cv2.warpAffine takes pictures whose sides fit a signed 16-bit number.
_WARP_LIMIT = 32766


def alignment_matrices(landmarks: Floats, template: NDArray[np.float64] = TEMPLATE) -> NDArray[np.float64]:
    """The similarity transforms that carry landmarks onto a template, least squares.

    `landmarks` (n, 5, 2) → float64 (n, 2, 3). Equals Umeyama's estimate (IEEE PAMI 13(4), 1991, without
    reflection); in the plane it is closed: with centred points p and targets q read as complex numbers the
    factor is Σ conj(p)·q / Σ |p|². Landmarks that all coincide give the identity around their centre.
    """
    points = landmarks.astype(np.float64)
    source_mean = points.mean(axis=1, keepdims=True)  # (n, 1, 2)
    target_mean = template.mean(axis=0)  # (2,)
    p = points - source_mean
    q = template - target_mean
    spread = np.maximum((p**2).sum(axis=(1, 2)), 0.0)  # (n,)
    flat = spread < 1e-12
    spread = np.where(flat, 1.0, spread)
    cos = np.where(flat, 1.0, (p * q).sum(axis=(1, 2)) / spread)
    sin = np.where(flat, 0.0, (p[..., 0] * q[:, 1] - p[..., 1] * q[:, 0]).sum(axis=1) / spread)
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], axis=1)  # (n, 2, 2)
    shift = target_mean - (linear @ source_mean.transpose(0, 2, 1))[..., 0]  # (n, 2)
    return np.concatenate([linear, shift[..., None]], axis=2)


def align(pixels: Pixels, landmarks: Floats, size: int = CROP_SIZE) -> Pixels:
    """Crops of a picture, each face warped onto the template.

    `pixels` uint8 (H, W, 3), `landmarks` (n, 5, 2) in its pixels → uint8 (n, size, size, 3); black outside
    the picture.
    """
    crops = np.empty((len(landmarks), size, size, 3), np.uint8)
    for crop, matrix in zip(crops, alignment_matrices(landmarks), strict=True):
        source, local = _within_warp_limit(pixels, matrix, size)
        cv2.warpAffine(source, local, (size, size), dst=crop, flags=cv2.INTER_LINEAR, borderValue=0)
    return crops


def _within_warp_limit(pixels: Pixels, matrix: NDArray[np.float64], size: int) -> tuple[Pixels, NDArray[np.float64]]:
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
