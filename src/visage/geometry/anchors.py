"""Reading dense per-cell outputs: only cells above the threshold are ever touched. Compiled."""

import numpy as np

from visage.faces import Floats
from visage.geometry.compiled import compiled

# One array for each stride.
Levels = tuple[Floats, ...]

# One proposal is a row of 15: box (4), score (1), landmarks (10).
ROW = 15


# So many scores are looked at as vectors before any of them is looked at alone: nearly all are far below.
_BLOCK = 256


@compiled()
def _above(scores: Floats, limit: np.float32) -> np.int32:
    """How many exceed the limit."""
    count = np.int32(0)
    for i in range(len(scores)):
        count += np.int32(scores[i] > limit)
    return count


@compiled()
def distance_proposals(
    rows: Floats,
    scores: Floats,
    distances: Floats,
    offsets: Floats,
    stride: int,
    columns: int,
    anchors: int,
    threshold: float,
) -> int:
    """SCRFD's decode of one stride: box = centre ∓ distance·stride, landmark = centre + offset·stride.

    `scores` (n,), `distances` (n, 4) left, top, right, bottom, `offsets` (n, 10); n = rows·columns·anchors,
    cell-major, the centre of a cell is its top left corner (insightface, scrfd.py). Writes the proposals with
    score > threshold into `rows` (≥ n, 15) and returns their number.
    """
    found = 0
    limit = np.float32(threshold)
    for start in range(0, len(scores), _BLOCK):
        block = scores[start : start + _BLOCK]
        if _above(block, limit) == 0:
            continue
        for i in range(start, start + len(block)):
            if not scores[i] > limit:
                continue
            cell = i // anchors
            x = float(cell % columns * stride)
            y = float(cell // columns * stride)
            rows[found, 0] = x - distances[i, 0] * stride
            rows[found, 1] = y - distances[i, 1] * stride
            rows[found, 2] = x + distances[i, 2] * stride
            rows[found, 3] = y + distances[i, 3] * stride
            rows[found, 4] = scores[i]
            for k in range(5):
                rows[found, 5 + 2 * k] = x + offsets[i, 2 * k] * stride
                rows[found, 6 + 2 * k] = y + offsets[i, 2 * k + 1] * stride
            found += 1
    return found


@compiled()
def distance_rows(
    scores: Levels,
    distances: Levels,
    offsets: Levels,
    strides: tuple[int, ...],
    width: int,
    anchors: int,
    threshold: float,
) -> Floats:
    """`distance_proposals` of all strides of a picture `width` wide: rows (m, 15), level after level."""
    above = 0
    for level in range(len(scores)):
        above += int(_above(scores[level], np.float32(threshold)))
    rows = np.empty((above, ROW), np.float32)
    found = 0
    for level in range(len(scores)):
        stride = strides[level]
        found += distance_proposals(
            rows[found:], scores[level], distances[level], offsets[level], stride, width // stride, anchors, threshold
        )
    return rows


@compiled()
def cell_proposals(
    rows: Floats,
    classes: Floats,
    objects: Floats,
    deltas: Floats,
    offsets: Floats,
    stride: int,
    columns: int,
    threshold: float,
) -> int:
    """YuNet's decode of one stride: score = √(cls·obj), cx = (column + d0)·stride, width = exp(d2)·stride.

    `classes`, `objects` (n,), `deltas` (n, 4), `offsets` (n, 10), one row a cell (OpenCV, face_detect.cpp). Writes
    the proposals with score ≥ threshold into `rows` (≥ n, 15), their boxes as left, top, *width, height*, and
    returns their number.
    """
    found = 0
    zero, one = np.float32(0), np.float32(1)
    for i in range(len(classes)):
        score = np.sqrt(min(max(classes[i], zero), one) * min(max(objects[i], zero), one))
        if score >= threshold:
            column = np.float32(i % columns)
            row = np.float32(i // columns)
            width = np.exp(deltas[i, 2]) * stride
            height = np.exp(deltas[i, 3]) * stride
            rows[found, 0] = (column + deltas[i, 0]) * stride - width / 2
            rows[found, 1] = (row + deltas[i, 1]) * stride - height / 2
            rows[found, 2] = width
            rows[found, 3] = height
            rows[found, 4] = score
            for k in range(5):
                rows[found, 5 + 2 * k] = (column + offsets[i, 2 * k]) * stride
                rows[found, 6 + 2 * k] = (row + offsets[i, 2 * k + 1]) * stride
            found += 1
    return found


@compiled()
def cell_rows(
    classes: Levels,
    objects: Levels,
    deltas: Levels,
    offsets: Levels,
    strides: tuple[int, ...],
    width: int,
    threshold: float,
) -> Floats:
    """`cell_proposals` of all strides of a picture `width` wide: rows (m, 15), level after level."""
    # Not less than there will be: a root that is rounded up to the threshold counts.
    least = threshold * threshold * 0.999
    near = 0
    for level in range(len(classes)):
        for i in range(len(classes[level])):
            near += classes[level][i] * objects[level][i] >= least
    rows = np.empty((near, ROW), np.float32)
    found = 0
    for level in range(len(classes)):
        stride = strides[level]
        found += cell_proposals(
            rows[found:],
            classes[level],
            objects[level],
            deltas[level],
            offsets[level],
            stride,
            width // stride,
            threshold,
        )
    return rows[:found]
