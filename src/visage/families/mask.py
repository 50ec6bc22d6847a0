"""Is a mask worn? MobileNetV2 of chandrikadeb7's Face-Mask-Detection, and its retrained sister for 112×112.

One output (N, 2), probabilities of a mask and of none. The file says how large a crop it wants (224 or 112); where
it takes any size, the parameter `side` says it.
"""

import cv2
import numpy as np

from visage.backends.base import Preprocess, Session, run_in_batches
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats, MaskScores, Pixels
from visage.families.base import ALIGNED, Family, Params

# Half-precision weights still add up to 1 within this; scores that are no probabilities do not.
_TOLERANCE = 0.01


class MaskModel:
    """Reads a mask off aligned 112×112 crops, resized to `size` (width, height)."""

    crop = ALIGNED

    def __init__(self, session: Session, size: tuple[int, int]) -> None:
        self._session = session
        self._size = size
        self.max_batch: int = session.max_batch
        self.streams: int = session.streams

    def predict(self, crops: Pixels, /) -> list[MaskScores]:
        fitted = _resized(crops, self._size)
        return [face for outputs in run_in_batches(self._session, fitted) for face in _answers(outputs)]


def _resized(crops: Pixels, size: tuple[int, int]) -> Pixels:
    """uint8 (F, h, w, 3) → (F, height, width, 3), linear as in the reference."""
    if crops.shape[2:0:-1] == size:
        return crops
    width, height = size
    fitted = np.empty((len(crops), height, width, 3), np.uint8)
    for crop, target in zip(crops, fitted, strict=True):
        cv2.resize(crop, size, dst=target, interpolation=cv2.INTER_LINEAR)
    return fitted


def _answers(outputs: tuple[Floats, ...]) -> list[MaskScores]:
    if len(outputs) != 1 or outputs[0].shape[1:] != (2,):
        raise GraphRejected(f"a mask network has one output (N, 2), this one {[out.shape for out in outputs]}")
    scores = outputs[0].astype(np.float32, copy=False)
    if not np.isfinite(scores).all():
        raise InferenceFailed("the mask network returned numbers that are not finite")
    if (scores < 0).any() or (np.abs(scores.sum(axis=1) - 1) > _TOLERANCE).any():
        raise GraphRejected("a mask network returns two probabilities, this one numbers that do not add up to 1")
    return [MaskScores(float(mask), float(no_mask)) for mask, no_mask in scores]


def build(session: Session, params: Params) -> MaskModel:
    side = int(params.get("side", 224))
    return MaskModel(session, session.sizes.fixed or (side, side))


FAMILY = Family("mask", "attributes-mask", Preprocess(127.5, 127.5, "rgb", "nhwc"), build)
