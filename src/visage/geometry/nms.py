"""Greedy non-maximum suppression, compiled."""

import numpy as np
from numpy.typing import NDArray

from visage.faces import Floats
from visage.geometry.compiled import compiled

# So many of the boxes kept so far are compared at a time, without a branch: the compiler makes vectors of that. The
# others are spared once one suppresses.
_BLOCK = 16


@compiled()
def _hits(
    lefts: Floats,
    tops: Floats,
    rights: Floats,
    bottoms: Floats,
    areas: Floats,
    left: np.float32,
    top: np.float32,
    right: np.float32,
    bottom: np.float32,
    area: np.float32,
    overlap: np.float32,
    pixel: np.float32,
) -> np.int32:
    """How many of a block of boxes share more than `overlap` of the union with one box."""
    hits = np.int32(0)
    zero = np.float32(0)
    for j in range(_BLOCK):
        width = (right if right < rights[j] else rights[j]) - (left if left > lefts[j] else lefts[j]) + pixel
        height = (bottom if bottom < bottoms[j] else bottoms[j]) - (top if top > tops[j] else tops[j]) + pixel
        width = width if width > zero else zero
        height = height if height > zero else zero
        shared = width * height
        hits += np.int32((shared > zero) & (shared > overlap * (area + areas[j] - shared)))
    return hits


@compiled()
def _suppress(rows: Floats, order: NDArray[np.int64], overlap: np.float32, pixel: np.float32) -> NDArray[np.int64]:
    count = len(order)
    kept = np.empty(count, np.int64)
    n_kept = 0
    # The boxes that are kept, column by column. The places behind them hold boxes that share nothing with any.
    lefts = np.full(count + _BLOCK, np.inf, np.float32)
    tops, rights = np.zeros(count + _BLOCK, np.float32), np.zeros(count + _BLOCK, np.float32)
    bottoms, areas = np.zeros(count + _BLOCK, np.float32), np.zeros(count + _BLOCK, np.float32)
    for i in range(count):
        at = order[i]
        left, top, right, bottom = rows[at, 0], rows[at, 1], rows[at, 2], rows[at, 3]
        area = (right - left + pixel) * (bottom - top + pixel)
        suppressed = False
        for a in range(0, n_kept, _BLOCK):
            b = a + _BLOCK
            block = lefts[a:b], tops[a:b], rights[a:b], bottoms[a:b], areas[a:b]
            if _hits(*block, left, top, right, bottom, area, overlap, pixel):
                suppressed = True
                break
        if not suppressed:
            kept[n_kept] = at
            lefts[n_kept], tops[n_kept], rights[n_kept], bottoms[n_kept] = left, top, right, bottom
            areas[n_kept] = area
            n_kept += 1
    return kept[:n_kept]


def nms(rows: Floats, scores: Floats, overlap: float, *, pixel: float = 1.0) -> NDArray[np.int64]:
    """Indices of the boxes that survive, best score first.

    `rows` float32 (n, 4 or more), whose first columns are left, top, right, bottom; `scores` float32 (n,). A box goes
    when its intersection over union with a better one exceeds `overlap`. `pixel` is added to widths and heights: 1 in
    InsightFace's convention (a box counts its last pixel), 0 in OpenCV's. Equal scores keep their order. All is judged
    in single precision, as there.
    """
    order = np.argsort(-scores, kind="stable")
    whole = np.ascontiguousarray(rows, np.float32)
    survivors: NDArray[np.int64] = _suppress(whole, order, np.float32(overlap), np.float32(pixel))
    return survivors
