"""Fitting a picture into a network's input: scaled as the reference service does (wire contract, part 7), and padded to
all of that input as it does, or no further than the network needs.
"""

import cv2
import numpy as np

from visage.faces import Pixels
from visage.geometry.area import Spread, at_once, shrink_into

# Past this enlargement a small picture is all face, which detectors trained on whole scenes miss;
# the reference then leaves a margin (0.9: s > 2, factor 0.7).
_MOST_ENLARGED = 2.0
_MARGIN = 0.7


def fit_scale(width: int, height: int, into: tuple[int, int]) -> float:
    """The factor that fits `width` × `height` into `into` = (width, height)."""
    scale = min(into[0] / width, into[1] / height)
    return scale * _MARGIN if scale > _MOST_ENLARGED else scale


def letterbox(
    pixels: Pixels, into: tuple[int, int], stride: int | None = None, spread: Spread = at_once
) -> tuple[Pixels, float]:
    """Fit a picture into `into` = (width, height): scaled, padded right and below with black.

    `pixels` uint8 (H, W, 3) → (uint8 (h, w, 3), scale). Without a `stride` w and h are those of `into`; with one they
    are the next multiples of it that hold the picture, which is the same pixels at the same scale with less black.
    The picture is resized *by the factor*, not to a rounded size: the sampling step is exactly 1/scale, which moves
    small faces by 2-5 % of their width against the other way. `spread` shares the work out.
    """
    height, width = pixels.shape[:2]
    scale = fit_scale(width, height, into)
    # OpenCV would refuse a side that rounds to nothing (10000×1 pixels); it is one pixel then.
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    size = into if stride is None else (_padded(columns, stride), _padded(rows, stride))
    if scale == 1.0 and (width, height) == size:
        return pixels, scale
    canvas = np.empty((size[1], size[0], 3), np.uint8)
    canvas[rows:] = 0
    canvas[:rows, columns:] = 0
    if scale < 1.0 and min(width, height) * scale > 0.5 and not (1.0 / scale).is_integer():
        shrink_into(canvas, pixels, scale, spread)
    else:
        canvas[:rows, :columns] = _resized(pixels, (columns, rows), scale)
    return canvas, scale


def _padded(side: int, stride: int) -> int:
    """The least multiple of `stride` from `side` on."""
    return -(-side // stride) * stride


def _resized(pixels: Pixels, size: tuple[int, int], scale: float) -> Pixels:
    """By OpenCV: enlarged, or shrunk in whole steps, or thinner than a pixel, which no factor fits."""
    if scale == 1.0:
        return pixels
    if min(pixels.shape[:2]) * scale <= 0.5:
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (0, 0), fx=scale, fy=scale, interpolation=method), np.uint8)
