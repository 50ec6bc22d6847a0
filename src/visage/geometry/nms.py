"""Greedy non-maximum suppression, compiled."""

import numpy as np
from numpy.typing import NDArray

from visage.faces import Floats
from visage.geometry.compiled import compiled


@compiled()
def _suppress(boxes: Floats, order: NDArray[np.int64], overlap: float, pixel: float) -> NDArray[np.int64]:
    count = len(order)
    kept = np.empty(count, np.int64)
    n_kept = 0
    for i in range(count):
        a = order[i]
        left, top, right, bottom = boxes[a, 0], boxes[a, 1], boxes[a, 2], boxes[a, 3]
        area = (right - left + pixel) * (bottom - top + pixel)
        suppressed = False
        for j in range(n_kept):
            b = kept[j]
            width = min(right, boxes[b, 2]) - max(left, boxes[b, 0]) + pixel
            if width <= 0:
                continue
            height = min(bottom, boxes[b, 3]) - max(top, boxes[b, 1]) + pixel
            if height <= 0:
                continue
            other = (boxes[b, 2] - boxes[b, 0] + pixel) * (boxes[b, 3] - boxes[b, 1] + pixel)
            shared = width * height
            if shared > overlap * (area + other - shared):
                suppressed = True
                break
        if not suppressed:
            kept[n_kept] = a
            n_kept += 1
    return kept[:n_kept]


def nms(boxes: Floats, scores: Floats, overlap: float, *, pixel: float = 1.0) -> NDArray[np.int64]:
    """Indices of the boxes that survive, best score first.

    `boxes` float32 (n, 4), `scores` float32 (n,). A box goes when its intersection over union with a better
    one exceeds `overlap`. `pixel` is added to widths and heights: 1 in InsightFace's convention (a box counts
    its last pixel), 0 in OpenCV's. Equal scores keep their order.
    """
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    survivors: NDArray[np.int64] = _suppress(np.ascontiguousarray(boxes, np.float32), order, overlap, pixel)
    return survivors
