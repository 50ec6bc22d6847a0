"""InsightFace's RetinaFace (Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019).

Maps for strides 8, 16, 32 with two square anchors a cell: class probabilities (N, 4, h, w), background before face;
box deltas (N, 8, h, w); landmark deltas (N, 20, h, w); and from mnet_cov2 a fourth kind, (N, 6, h, w), whose last two
channels are the probabilities of a worn mask. The number of channels tells them apart. Landmarks of later networks
were trained on deltas divided by 0.2 (`landmark_std`).
"""

import numpy as np

from visage.backends.base import Preprocess, Session
from visage.errors import GraphRejected
from visage.faces import Floats
from visage.families.base import DENSE_REWRITES, DenseDetector, Family, Params
from visage.geometry.anchors import ROW
from visage.geometry.maps import MASKED_ROW, anchor_proposals

# Sides of a cell's anchors by stride, in the order of their channels: 16 pixels times the published scales.
_SIDES = {8: (32, 16), 16: (128, 64), 32: (512, 256)}
_ANCHORS = 2
_CLASSES, _BOXES, _LANDMARKS, _TYPES = 4, 8, 20, 6  # channels

# A stride's outputs for one image: scores (2, h, w), deltas (8, h, w), offsets (20, h, w), masks (2 or 0, h, w).
_Level = tuple[Floats, Floats, Floats, Floats]


class RetinaFace(DenseDetector[list[_Level]]):
    """A detector, of masks too where the network has them; `overlap` is 0.4 in effect in the reference (fault 17)."""

    def __init__(self, session: Session, overlap: float, landmark_std: float) -> None:
        super().__init__(session, overlap)
        self._landmark_std = landmark_std

    def _split(self, outputs: tuple[Floats, ...]) -> list[list[_Level]]:
        return _images(outputs)

    def _proposed(self, levels: list[_Level], width: int, threshold: float) -> Floats:
        rows: Floats = np.concatenate(
            [self._proposals(level, stride, threshold) for level, stride in zip(levels, _SIDES, strict=True)]
        )
        masked = len(levels[0][3]) > 0
        return rows if masked else rows[:, :ROW]

    def _proposals(self, level: _Level, stride: int, threshold: float) -> Floats:
        rows = np.empty((level[0].size, MASKED_ROW), np.float32)
        sides = np.array(_SIDES[stride], np.float32)
        return rows[: anchor_proposals(rows, *level, sides, stride, self._landmark_std, threshold)]


def _images(outputs: tuple[Floats, ...]) -> list[list[_Level]]:
    """The levels of each image of a batch, finest stride first."""
    classes, boxes, landmarks = (_by_stride(outputs, channels) for channels in (_CLASSES, _BOXES, _LANDMARKS))
    # Without the fourth kind: maps of no channel.
    types = _by_stride(outputs, _TYPES) if len(outputs) > 9 else [out[:, :0] for out in classes]
    whole = np.ascontiguousarray
    return [
        [
            (whole(c[i, _ANCHORS:]), whole(b[i]), whole(p[i]), whole(t[i, 2 * _ANCHORS :]))
            for c, b, p, t in zip(classes, boxes, landmarks, types, strict=True)
        ]
        for i in range(len(classes[0]))
    ]


def _by_stride(outputs: tuple[Floats, ...], channels: int) -> list[Floats]:
    found = [out for out in outputs if out.ndim == 4 and out.shape[1] == channels]
    if len(found) != len(_SIDES):
        raise GraphRejected(
            f"a RetinaFace has 3 maps of {channels} channels, this network {len(found)}: its outputs are "
            f"{[out.shape for out in outputs]}"
        )
    return sorted(found, key=lambda out: -out.shape[2])


def build(session: Session, params: Params) -> RetinaFace:
    return RetinaFace(session, float(params.get("overlap", 0.4)), float(params.get("landmark_std", 1.0)))


FAMILY = Family("retinaface", "detection", Preprocess(0.0, 1.0, "rgb"), build, DENSE_REWRITES)
