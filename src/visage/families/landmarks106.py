"""A hundred and six landmarks a face: InsightFace's coordinateReg networks, as 2d106det of the buffalo packs.

One output (N, 212), x before y in parts of half the crop from its middle: place = (p + 1)·side/2. The crop is the
upright square of 1.5 times the box, 192×192 pixels (insightface, model_zoo/landmark.py and alignment/coordinateReg).
"""

import numpy as np

from visage.backends.base import Preprocess, Session, run_in_batches
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats, Pixels
from visage.families.base import Crop, Family, Params

POINTS = 106


class Landmarks106:
    """Reads 106 places (106, 2) in pixels of crops of `side`×`side`."""

    def __init__(self, session: Session, side: int) -> None:
        self._session = session
        self.crop = Crop(side, 1.5)
        self.max_batch: int = session.max_batch
        self.streams: int = session.streams

    def predict(self, crops: Pixels, /) -> list[Floats]:
        return [face for outputs in run_in_batches(self._session, crops) for face in self._places(outputs)]

    def _places(self, outputs: tuple[Floats, ...]) -> list[Floats]:
        if len(outputs) != 1 or outputs[0].shape[1:] != (2 * POINTS,):
            raise GraphRejected(
                f"a network of {POINTS} landmarks has one output (N, {2 * POINTS}), this one "
                f"{[out.shape for out in outputs]}"
            )
        parts = outputs[0].astype(np.float32, copy=False).reshape(-1, POINTS, 2)
        if not np.isfinite(parts).all():
            raise InferenceFailed(f"the network of {POINTS} landmarks returned numbers that are not finite")
        return list((parts + np.float32(1)) * np.float32(self.crop.size // 2))


def build(session: Session, params: Params) -> Landmarks106:
    """Where the file takes any size, the parameter `side` says it."""
    side = int(params.get("side", 192))
    width, height = session.sizes.fixed or (side, side)
    if width != height:
        raise GraphRejected(f"a network of {POINTS} landmarks takes square crops, this one of {width}×{height}")
    return Landmarks106(session, width)


FAMILY = Family("landmarks106", "landmarks-106", Preprocess(0.0, 1.0, "rgb"), build)
