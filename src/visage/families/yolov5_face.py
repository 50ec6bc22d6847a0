"""YOLOv5-face (Qi et al., "YOLO5Face: Why Reinventing a Face Detector", 2021), exported with its decoding.

One output (N, n, 16), a row a proposal in network pixels: centre x and y, width, height, objectness, five landmarks
x and y, probability of the class "face". The reference scores by objectness alone, upstream by objectness·class:
`class_score`.
"""

import numpy as np

from visage.backends.base import Preprocess, Session
from visage.errors import GraphRejected
from visage.faces import Detections, Floats
from visage.families.base import DenseDetector, Family, Params
from visage.geometry.nms import nms

_COLUMNS = 16


class YoloV5Face(DenseDetector[Floats]):
    """A detector; `overlap` is 0.4 in effect in the reference (fault 17)."""

    def __init__(self, session: Session, overlap: float, class_score: bool) -> None:
        super().__init__(session)
        self._overlap = overlap
        self._class_score = class_score

    def _split(self, outputs: tuple[Floats, ...]) -> Floats:
        return _images(outputs)

    def _read(self, rows: Floats, width: int, threshold: float, scale: float) -> Detections:
        scores = rows[:, 4] * rows[:, 15] if self._class_score else rows[:, 4]
        above = scores >= np.float32(threshold)
        rows, scores = rows[above], scores[above]  # (m, 16), (m,)
        half = rows[:, 2:4] / 2
        corners: Floats = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)  # (m, 4)
        kept = nms(corners, scores, self._overlap)
        boxes: Floats = np.divide(corners[kept], np.float32(scale), dtype=np.float32)
        landmarks: Floats = rows[kept, 5:15].reshape(-1, 5, 2) / np.float32(scale)
        return Detections(boxes, scores[kept], landmarks)


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
