"""Warping faces to the template that recognition networks are trained on."""

import numpy as np
from numpy.typing import NDArray

from visage.faces import Floats, Pixels
from visage.geometry.warping import warp

CROP_SIZE = 112

# ArcFace's five target points in a 112×112 crop (insightface, face_align.py): eyes, nose, mouth corners,
# the viewer's left first.
TEMPLATE: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


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


def template(size: int) -> NDArray[np.float64]:
    """The five target points in a crop of `size`×`size`, (5, 2)."""
    return TEMPLATE if size == CROP_SIZE else TEMPLATE * (size / CROP_SIZE)


def align(pixels: Pixels, landmarks: Floats, size: int = CROP_SIZE) -> Pixels:
    """Crops of a picture, each face warped onto the template.

    `pixels` uint8 (H, W, 3), `landmarks` (n, 5, 2) in its pixels → uint8 (n, size, size, 3); black outside
    the picture.
    """
    return warp(pixels, alignment_matrices(landmarks, template(size)), size)
