"""YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023), as OpenCV's FaceDetectorYN reads it.

Twelve outputs: `cls`, `obj` (N, n, 1), `bbox` (N, n, 4) and `kps` (N, n, 10) for strides 8, 16, 32, one row
a cell. score = √(cls·obj); cx = (column + b0)·stride, w = exp(b2)·stride; landmark x = (column + k)·stride.
NMS is OpenCV's: boxes truncated to whole pixels, no +1, the best 5000.
"""

import numpy as np

from visage.backends.base import Preprocess, Session, Sizes, run_in_batches
from visage.errors import GraphRejected
from visage.faces import Detections, Floats, ImageBatch
from visage.families.base import Family, Params
from visage.geometry.nms import nms

_STRIDES = (8, 16, 32)
_TOP = 5000

# A stride's outputs for one image: cls (n,), obj (n,), boxes (n, 4), landmarks (n, 10).
_Level = tuple[Floats, Floats, Floats, Floats]


class YuNet:
    """A detector; `overlap` 0.3 is OpenCV's default."""

    def __init__(self, session: Session, overlap: float) -> None:
        self._session = session
        self._overlap = overlap
        self.sizes: Sizes = session.sizes
        self.max_batch: int = session.max_batch

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        width = images.pixels.shape[2]
        answers = (image for batch in run_in_batches(self._session, images.pixels) for image in _images(batch))
        return [
            self._read(levels, width, float(threshold), float(scale))
            for levels, threshold, scale in zip(answers, thresholds, images.scales, strict=True)
        ]

    def _read(self, levels: list[_Level], width: int, threshold: float, scale: float) -> Detections:
        found = [_proposals(level, s, width // s, threshold) for level, s in zip(levels, _STRIDES, strict=True)]
        boxes, scores, landmarks = (np.concatenate(parts) for parts in zip(*found, strict=True))
        best = np.argsort(-scores, kind="stable")[:_TOP]
        boxes, scores, landmarks = boxes[best], scores[best], landmarks[best]  # (n, 4), (n,), (n, 5, 2)
        kept = nms(_truncated(boxes), scores, self._overlap, pixel=0.0)
        in_picture: Floats = np.divide(_corners(boxes[kept]), np.float32(scale), dtype=np.float32)
        points: Floats = np.divide(landmarks[kept], np.float32(scale), dtype=np.float32)
        return Detections(in_picture, scores[kept], points)


def _proposals(level: _Level, stride: int, columns: int, threshold: float) -> tuple[Floats, Floats, Floats]:
    """Boxes (m, 4) as left, top, width, height; scores (m,); landmarks (m, 5, 2); network pixels."""
    cls, obj, deltas, offsets = level
    scores = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
    cells = np.flatnonzero(scores >= threshold)
    corner = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)  # (m, 2)
    deltas = deltas[cells]
    centre = (corner + deltas[:, :2]) * stride
    size = np.exp(deltas[:, 2:]) * stride
    landmarks = (offsets[cells].reshape(-1, 5, 2) + corner[:, None]) * stride
    boxes = np.concatenate([centre - size / 2, size], axis=1)
    return boxes.astype(np.float32), scores[cells], landmarks.astype(np.float32)


def _corners(boxes: Floats) -> Floats:
    """Left, top, width, height → left, top, right, bottom; (m, 4) both."""
    corners: Floats = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return corners


def _truncated(boxes: Floats) -> Floats:
    """Corners of the boxes as OpenCV's integer rectangles."""
    return _corners(np.trunc(boxes))


def _images(outputs: tuple[Floats, ...]) -> list[list[_Level]]:
    if len(outputs) != 12:
        raise GraphRejected(f"a YuNet has 12 outputs, this one {len(outputs)}")
    if any(out.ndim != 3 for out in outputs):
        raise GraphRejected(f"a YuNet's outputs are (N, n, c), those of this one {[out.shape for out in outputs]}")
    cls, obj, boxes, landmarks = (sorted(outputs[i : i + 3], key=lambda out: -out.shape[1]) for i in (0, 3, 6, 9))
    return [
        [(c[i, :, 0], o[i, :, 0], b[i], k[i]) for c, o, b, k in zip(cls, obj, boxes, landmarks, strict=True)]
        for i in range(len(cls[0]))
    ]


def build(session: Session, params: Params) -> YuNet:
    return YuNet(session, float(params.get("overlap", 0.3)))


FAMILY = Family("yunet", "detection", Preprocess(0.0, 1.0, "bgr"), build)
