"""YOLOv5-face (Qi et al., "YOLO5Face: Why Reinventing a Face Detector", 2021), exported with its decoding.

One output (N, n, 16), a row a proposal in network pixels: centre x and y, width, height, objectness, five landmarks
x and y, probability of the class "face". The reference scores by objectness alone, upstream by objectness·class:
`class_score`.
"""

import numpy as np

from visage.backends.base import Preprocess, Session
from visage.errors import GraphRejected
from visage.faces import Floats
from visage.families.base import DenseDetector, Family, Params

_COLUMNS = 16


class YoloV5Face(DenseDetector[Floats]):
    """A detector; `overlap` is 0.4 in effect in the reference (fault 17)."""

    def __init__(self, session: Session, overlap: float, class_score: bool) -> None:
        super().__init__(session, overlap)
        self._class_score = class_score

    def _split(self, outputs: tuple[Floats, ...]) -> Floats:
        return _images(outputs)

    def _proposed(self, answer: Floats, width: int, threshold: float) -> Floats:
        scores = answer[:, 4] * answer[:, 15] if self._class_score else answer[:, 4]
        above = scores >= np.float32(threshold)
        found = answer[above]  # (m, 16)
        half = found[:, 2:4] / 2
        rows: Floats = np.column_stack([found[:, :2] - half, found[:, :2] + half, scores[above], found[:, 5:15]])
        return rows


def _images(outputs: tuple[Floats, ...]) -> Floats:
    """(N, n, 16)"""
    if len(outputs) != 1 or outputs[0].ndim != 3 or outputs[0].shape[2] != _COLUMNS:
        raise GraphRejected(
            f"a YOLOv5-face exported with its decoding has one output (N, n, {_COLUMNS}), this network's outputs are "
            f"{[out.shape for out in outputs]}"
        )
    return outputs[0]


def build(session: Session, params: Params) -> YoloV5Face:
    return YoloV5Face(session, float(params.get("overlap", 0.4)), bool(params.get("class_score", False)))


FAMILY = Family("yolov5_face", "detection", Preprocess(0.0, 255.0, "rgb"), build)
