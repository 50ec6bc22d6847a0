"""YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023), as OpenCV's FaceDetectorYN reads it.

Twelve outputs: `cls`, `obj` (N, n, 1), `bbox` (N, n, 4) and `kps` (N, n, 10) for strides 8, 16, 32, one row
a cell. score = √(cls·obj); cx = (column + b0)·stride, w = exp(b2)·stride; landmark x = (column + k)·stride.
NMS is OpenCV's: boxes truncated to whole pixels, no +1, the best 5000.
"""

import numpy as np

from visage.backends.base import Preprocess, Session
from visage.errors import GraphRejected
from visage.faces import Floats
from visage.families.base import DENSE_REWRITES, DenseDetector, Family, Params
from visage.geometry.anchors import ROW, cell_proposals
from visage.geometry.nms import nms

_STRIDES = (8, 16, 32)
_TOP = 5000

# A stride's outputs for one image: cls (n,), obj (n,), boxes (n, 4), landmarks (n, 10).
_Level = tuple[Floats, Floats, Floats, Floats]


class YuNet(DenseDetector[list[_Level]]):
    """A detector; `overlap` 0.3 is OpenCV's default."""

    def _split(self, outputs: tuple[Floats, ...]) -> list[list[_Level]]:
        return _images(outputs)

    def _proposed(self, levels: list[_Level], width: int, threshold: float) -> Floats:
        """Boxes as left, top, *width, height*: OpenCV cuts these to whole pixels for its NMS."""
        rows: Floats = np.concatenate(
            [_proposals(level, stride, width, threshold) for level, stride in zip(levels, _STRIDES, strict=True)]
        )
        return rows

    def _survivors(self, rows: Floats) -> Floats:
        if len(rows) > _TOP:
            rows = rows[np.argsort(-rows[:, 4], kind="stable")[:_TOP]]
        kept = rows[nms(_corners(np.trunc(rows[:, :4])), rows[:, 4], self._overlap, pixel=0.0)]
        kept[:, :4] = _corners(kept[:, :4])
        return kept


def _proposals(level: _Level, stride: int, width: int, threshold: float) -> Floats:
    """Rows (m, 15), boxes as left, top, width, height; network pixels."""
    rows = np.empty((len(level[0]), ROW), np.float32)
    return rows[: cell_proposals(rows, *level, stride, width // stride, threshold)]


def _corners(boxes: Floats) -> Floats:
    """Left, top, width, height → left, top, right, bottom; (m, 4) both."""
    corners: Floats = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return corners


def _images(outputs: tuple[Floats, ...]) -> list[list[_Level]]:
    if len(outputs) != 12:
        raise GraphRejected(f"a YuNet has 12 outputs, this one {len(outputs)}")
    if any(out.ndim != 3 for out in outputs):
        raise GraphRejected(f"a YuNet's outputs are (N, n, c), those of this one {[out.shape for out in outputs]}")
    cls, obj, boxes, landmarks = (sorted(outputs[i : i + 3], key=lambda out: -out.shape[1]) for i in (0, 3, 6, 9))
    whole = np.ascontiguousarray
    return [
        [
            # Contiguous, each of them: another memory layout would be compiled anew, and on a request.
            (whole(c[i, :, 0]), whole(o[i, :, 0]), whole(b[i]), whole(k[i]))
            for c, o, b, k in zip(cls, obj, boxes, landmarks, strict=True)
        ]
        for i in range(len(cls[0]))
    ]


def build(session: Session, params: Params) -> YuNet:
    return YuNet(session, float(params.get("overlap", 0.3)))


FAMILY = Family("yunet", "detection", Preprocess(0.0, 1.0, "bgr"), build, DENSE_REWRITES)
