"""Reading dense per-cell outputs: only cells above the threshold are ever touched. Compiled."""

import numpy as np

from visage.faces import Floats
from visage.geometry.compiled import compiled

# One proposal is a row of 15: box (4), score (1), landmarks (10).
ROW = 15


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
    for i in range(len(scores)):
        score = scores[i]
        if score > threshold:
            cell = i // anchors
            x = float(cell % columns * stride)
            y = float(cell // columns * stride)
            rows[found, 0] = x - distances[i, 0] * stride
            rows[found, 1] = y - distances[i, 1] * stride
            rows[found, 2] = x + distances[i, 2] * stride
            rows[found, 3] = y + distances[i, 3] * stride
            rows[found, 4] = score
            for k in range(5):
                rows[found, 5 + 2 * k] = x + offsets[i, 2 * k] * stride
                rows[found, 6 + 2 * k] = y + offsets[i, 2 * k + 1] * stride
            found += 1
    return found


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
