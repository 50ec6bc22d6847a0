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
from visage.geometry.anchors import Levels, cell_rows
from visage.geometry.nms import nms

_STRIDES = (8, 16, 32)
_TOP = 5000

# One image's cls (n,), obj (n,), boxes (n, 4) and landmarks (n, 10), each by stride.
_Answer = tuple[Levels, Levels, Levels, Levels]


class YuNet(DenseDetector[_Answer]):
    """A detector; `overlap` 0.3 is OpenCV's default."""

    def _split(self, outputs: tuple[Floats, ...]) -> list[_Answer]:
        return _images(outputs)

    def _proposed(self, answer: _Answer, width: int, threshold: float) -> Floats:
        """Boxes as left, top, *width, height*: OpenCV cuts these to whole pixels for its NMS."""
        rows: Floats = cell_rows(*answer, _STRIDES, width, threshold)
        return rows

    def _survivors(self, rows: Floats) -> Floats:
        if len(rows) > _TOP:
            rows = rows[np.argsort(-rows[:, 4], kind="stable")[:_TOP]]
        kept = rows[nms(_corners(np.trunc(rows[:, :4])), rows[:, 4], self._overlap, pixel=0.0)]
        kept[:, :4] = _corners(kept[:, :4])
        return kept


def _corners(boxes: Floats) -> Floats:
    """Left, top, width, height → left, top, right, bottom; (m, 4) both."""
    corners: Floats = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return corners


def _images(outputs: tuple[Floats, ...]) -> list[_Answer]:
    if len(outputs) != 12:
        raise GraphRejected(f"a YuNet has 12 outputs, this one {len(outputs)}")
    if any(out.ndim != 3 for out in outputs):
        raise GraphRejected(f"a YuNet's outputs are (N, n, c), those of this one {[out.shape for out in outputs]}")
    # Contiguous, each of them: another memory layout would be compiled anew, and on a request.
    whole = [np.ascontiguousarray(out) for out in outputs]
    cls, obj, boxes, landmarks = (sorted(whole[i : i + 3], key=lambda out: -out.shape[1]) for i in (0, 3, 6, 9))
    return [
        (
            tuple([out[i, :, 0] for out in cls]),
            tuple([out[i, :, 0] for out in obj]),
            tuple([out[i] for out in boxes]),
            tuple([out[i] for out in landmarks]),
        )
        for i in range(len(cls[0]))
    ]


def build(session: Session, params: Params) -> YuNet:
    return YuNet(session, float(params.get("overlap", 0.3)))


FAMILY = Family("yunet", "detection", Preprocess(0.0, 1.0, "bgr"), build, DENSE_REWRITES)
