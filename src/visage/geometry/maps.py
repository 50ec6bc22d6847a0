"""Reading dense outputs that are maps (channels, rows, columns): only cells above the threshold are read. Compiled.

Every map is C-contiguous float32: another memory layout would be compiled anew, and on a request.
"""

import numpy as np

from visage.faces import Floats
from visage.geometry.compiled import compiled

# One proposal is a row of 16: box (4), score (1), landmarks (10), probability of a mask (1).
MASKED_ROW = 16


@compiled()
def anchor_proposals(
    rows: Floats,
    scores: Floats,
    deltas: Floats,
    offsets: Floats,
    masks: Floats,
    sides: Floats,
    stride: int,
    landmark_std: float,
    threshold: float,
) -> int:
    """RetinaFace's decode of one stride: centre = anchor + delta·side, width = exp(delta)·side.

    `scores` (A, h, w), `deltas` (4A, h, w), `offsets` (10A, h, w), `masks` (A, h, w), or (0, h, w) where the network
    knows none; `sides` (A,) of the square anchors, which lie around pixel 7.5 of their cell, whatever the stride: the
    middle of 0…15 (insightface, generate_anchors.py). A box counts its last pixel. Writes the proposals with
    score ≥ threshold into `rows` (≥ A·h·w, 16) and returns their number.
    """
    anchors, height, width = scores.shape
    found = 0
    for i in range(height):
        for j in range(width):
            for a in range(anchors):
                score = scores[a, i, j]
                if score >= threshold:
                    side = sides[a]
                    x = 7.5 + j * stride
                    y = 7.5 + i * stride
                    centre_x = x + deltas[4 * a, i, j] * side
                    centre_y = y + deltas[4 * a + 1, i, j] * side
                    half_width = (np.exp(deltas[4 * a + 2, i, j]) * side - 1) / 2
                    half_height = (np.exp(deltas[4 * a + 3, i, j]) * side - 1) / 2
                    rows[found, 0] = centre_x - half_width
                    rows[found, 1] = centre_y - half_height
                    rows[found, 2] = centre_x + half_width
                    rows[found, 3] = centre_y + half_height
                    rows[found, 4] = score
                    for k in range(5):
                        rows[found, 5 + 2 * k] = x + offsets[10 * a + 2 * k, i, j] * landmark_std * side
                        rows[found, 6 + 2 * k] = y + offsets[10 * a + 2 * k + 1, i, j] * landmark_std * side
                    rows[found, 15] = masks[a, i, j] if len(masks) else np.float32(0)
                    found += 1
    return found


@compiled()
def centre_proposals(
    rows: Floats, heat: Floats, sizes: Floats, offsets: Floats, points: Floats, stride: int, threshold: float
) -> int:
    """CenterFace's decode: the centre is that of the cell and its offset, the size exp(size)·stride.

    `heat` (h, w), `sizes` (2, h, w) height before width, `offsets` (2, h, w) and `points` (10, h, w) y before x. A box
    that begins outside the picture is moved to its edge, and what ends outside is cut (CenterFace, centerface.py).
    Writes the proposals with heat > threshold into `rows` (≥ h·w, 15) and returns their number.
    """
    height, width = heat.shape
    right, bottom = float(width * stride), float(height * stride)
    found = 0
    for i in range(height):
        for j in range(width):
            score = heat[i, j]
            if score > threshold:
                tall = np.exp(sizes[0, i, j]) * stride
                wide = np.exp(sizes[1, i, j]) * stride
                x = min(max((j + offsets[1, i, j] + 0.5) * stride - wide / 2, 0.0), right)
                y = min(max((i + offsets[0, i, j] + 0.5) * stride - tall / 2, 0.0), bottom)
                rows[found, 0] = x
                rows[found, 1] = y
                rows[found, 2] = min(x + wide, right)
                rows[found, 3] = min(y + tall, bottom)
                rows[found, 4] = score
                for k in range(5):
                    rows[found, 5 + 2 * k] = x + points[2 * k + 1, i, j] * wide
                    rows[found, 6 + 2 * k] = y + points[2 * k, i, j] * tall
                found += 1
    return found
