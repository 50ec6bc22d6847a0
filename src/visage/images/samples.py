"""Samples that are no bytes → bytes, black and white where they were."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import UnsupportedFormat
from visage.faces import Pixels

_MOST_OUTSIDE = 0.01  # share of a picture's numbers that may lie outside black and white


def of_whole_numbers(samples: NDArray[Any], white: int) -> Pixels:
    """Unsigned samples of any shape, 0 black and `white` white, rounded to uint8."""
    native = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    return np.asarray(cv2.convertScaleAbs(native, alpha=255 / white), np.uint8).reshape(samples.shape)


def of_fractions(samples: NDArray[Any]) -> Pixels:
    """Floating-point samples, 0 black and 1 white, as uint8.

    Raises UnsupportedFormat where they mean something else: nothing says what is white then.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        native = np.nan_to_num(samples.astype(np.float32, copy=False), nan=-1.0, posinf=2.0, neginf=-1.0)
    outside = np.count_nonzero((native < -1e-3) | (native > 1 + 1e-3)) / max(1, native.size)
    if outside > _MOST_OUTSIDE:
        raise UnsupportedFormat(
            "The image format is not read: floating-point samples outside 0 (black) to 1 (white); "
            "save it with 8 or 16 bits a sample"
        )
    return np.asarray(np.rint(np.clip(native, 0, 1) * 255), np.uint8)


def bgr_of(grey: Pixels) -> Pixels:
    """(H, W) → (H, W, 3)."""
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
