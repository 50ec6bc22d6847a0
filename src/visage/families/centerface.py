"""CenterFace (Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019).

Four maps of stride 4, in this order: heat (N, 1, h, w), logarithms of height and width (N, 2, h, w), offsets of the
centre (N, 2, h, w) and landmarks (N, 10, h, w) in parts of the box, y before x in each. Heat is already a sigmoid.
"""

import numpy as np

from visage.backends.base import Preprocess, Session
from visage.errors import GraphRejected
from visage.faces import Floats
from visage.families.base import DENSE_REWRITES, DenseDetector, Family, Params
from visage.geometry.anchors import ROW
from visage.geometry.maps import centre_proposals

_STRIDE = 4
_CHANNELS = [1, 2, 2, 10]


class CenterFace(DenseDetector[list[Floats]]):
    """A detector; `overlap` is 0.3 in effect in the reference."""

    def _split(self, outputs: tuple[Floats, ...]) -> list[list[Floats]]:
        return _images(outputs)

    def _proposed(self, maps: list[Floats], width: int, threshold: float) -> Floats:
        heat, sizes, offsets, points = maps
        rows = np.empty((heat.size, ROW), np.float32)
        return rows[: centre_proposals(rows, heat[0], sizes, offsets, points, _STRIDE, threshold)]


def _images(outputs: tuple[Floats, ...]) -> list[list[Floats]]:
    """The maps (c, h, w) of each image of a batch."""
    if [out.shape[1] for out in outputs if out.ndim == 4] != _CHANNELS or len(outputs) != len(_CHANNELS):
        raise GraphRejected(
            f"a CenterFace has maps of 1, 2, 2 and 10 channels, this network's outputs are "
            f"{[out.shape for out in outputs]}"
        )
    return [[np.ascontiguousarray(out[i]) for out in outputs] for i in range(len(outputs[0]))]


def build(session: Session, params: Params) -> CenterFace:
    return CenterFace(session, float(params.get("overlap", 0.3)))


FAMILY = Family("centerface", "detection", Preprocess(0.0, 1.0, "rgb"), build, DENSE_REWRITES)
