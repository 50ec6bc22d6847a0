"""`Preprocess` on the host, plane by plane."""

import cv2
import numpy as np

from visage.backends.base import Preprocess
from visage.faces import Floats, Pixels


def fed_shape(preprocess: Preprocess, pixels: Pixels) -> tuple[int, ...]:
    """The shape that `preprocess` gives to uint8 (N, h, w, 3)."""
    count, height, width, _ = pixels.shape
    return (count, 3, height, width) if preprocess.layout == "nchw" else (count, height, width, 3)


def filled(preprocess: Preprocess, pixels: Pixels, out: Floats | None = None) -> Floats:
    """What `preprocess` makes of uint8 (N, h, w, 3), several times faster than by one pass over it.

    `out`: where to, float32 as `fed_shape` says.
    """
    planes = np.empty(fed_shape(preprocess, pixels), np.float32) if out is None else out
    if preprocess.layout == "nhwc":
        planes[...] = preprocess(pixels)
        return planes
    order = (2, 1, 0) if preprocess.colours == "rgb" else (0, 1, 2)
    for picture, target in zip(pixels, planes, strict=True):
        for channel, plane in zip(cv2.split(picture), (target[i] for i in order), strict=True):
            np.subtract(channel, np.float32(preprocess.mean), out=plane, dtype=np.float32)
    if preprocess.std != 1.0:
        planes /= np.float32(preprocess.std)
    return planes
