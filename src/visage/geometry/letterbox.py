"""Fitting a picture into a network's input, as the reference service does (wire contract, part 7)."""

import cv2
import numpy as np

from visage.faces import Pixels

# Past this enlargement a small picture is all face, which detectors trained on whole scenes miss;
# the reference then leaves a margin (0.9: s > 2, factor 0.7).
_MOST_ENLARGED = 2.0
_MARGIN = 0.7


def fit_scale(width: int, height: int, into: tuple[int, int]) -> float:
    """The factor that fits `width` × `height` into `into` = (width, height)."""
    scale = min(into[0] / width, into[1] / height)
    return scale * _MARGIN if scale > _MOST_ENLARGED else scale


def letterbox(pixels: Pixels, into: tuple[int, int]) -> tuple[Pixels, float]:
    """Fit a picture into `into` = (width, height): scaled, padded right and below with black.

    `pixels` uint8 (H, W, 3) → (uint8 (height, width, 3), scale). The picture is resized *by the factor*, not
    to a rounded size: the sampling step is exactly 1/scale, which moves small faces by 2-5 % of their width
    against the other way.
    """
    height, width = pixels.shape[:2]
    scale = fit_scale(width, height, into)
    fitted = _resize(pixels, scale)
    if fitted.shape[:2] == (into[1], into[0]):
        return fitted, scale
    canvas = np.zeros((into[1], into[0], 3), np.uint8)
    canvas[: fitted.shape[0], : fitted.shape[1]] = fitted
    return canvas, scale


def _resize(pixels: Pixels, scale: float) -> Pixels:
    if scale == 1.0:
        return pixels
    height, width = pixels.shape[:2]
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    # OpenCV refuses a side that rounds to nothing (10000×1 pixels); it is one pixel then.
    if min(round(width * scale), round(height * scale)) < 1:
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        return np.asarray(cv2.resize(pixels, target, interpolation=method), np.uint8)
    return np.asarray(cv2.resize(pixels, (0, 0), fx=scale, fy=scale, interpolation=method), np.uint8)


def floor_to(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """`size` rounded down to multiples of `stride`, at least one of each."""
    return max(stride, size[0] // stride * stride), max(stride, size[1] // stride * stride)
