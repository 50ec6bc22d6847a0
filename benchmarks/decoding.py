"""SCRFD's decode and suppression against vectorised numpy, for pictures with few and with many faces.

The numpy form takes the steps that the insightface package takes (scrfd.py): every anchor is decoded, coordinate by
coordinate, its centres being at hand; then what is above the threshold is taken, sorted and suppressed greedily.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, ratio
from visage.backends.base import Sizes
from visage.faces import Floats, ImageBatch, Pixels
from visage.families.scrfd import FAMILY

SIDE = 640
STRIDES = (8, 16, 32)
ANCHORS = 2
THRESHOLD = 0.5
OVERLAP = 0.4
ROUNDS = 50
# How many proposals a face has in real pictures, about.
PROPOSALS = 6
AIMS = {1: 1 / 20, 278: 1 / 20, 720: 1 / 8}


class Fixed:
    """A session that answers with these arrays."""

    sizes = Sizes()
    max_batch = 0
    streams = 0

    def __init__(self, outputs: tuple[Floats, ...]) -> None:
        self.outputs = outputs

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        return self.outputs

    def close(self) -> None: ...


def rows() -> list[Row]:
    """One row a number of faces: our time in parts of numpy's."""
    return [_row(faces, aim) for faces, aim in AIMS.items()]


def _row(faces: int, aim: float) -> Row:
    outputs = crowd(faces)
    detector = FAMILY.build(Fixed(outputs), {})
    batch = ImageBatch(np.zeros((1, SIDE, SIDE, 3), np.uint8), np.ones(1))
    thresholds = np.full(1, THRESHOLD, np.float32)
    ours, numpys = [], []
    for number in range(ROUNDS + 3):
        took, found = _timed(lambda: len(detector.detect(batch, thresholds)[0]))
        plain, expected = _timed(lambda: len(vectorised(outputs)))
        if found != expected:
            raise SystemExit(f"{found} faces, numpy finds {expected}: nothing is compared")
        if number >= 3:
            ours.append(took)
            numpys.append(plain)
    shown = f"({statistics.median(ours) * 1000:.2f} ms, {statistics.median(numpys) * 1000:.2f} ms)"
    return Row(f"{found} faces: ours ÷ vectorised numpy", ratio(ours, numpys), shown, aim)


def crowd(faces: int) -> tuple[Floats, ...]:
    """Nine outputs of a network of 640×640 that sees so many faces of 16 pixels on a grid, each some cells wide."""
    rng = np.random.default_rng(faces)
    cells = [(SIDE // stride) ** 2 * ANCHORS for stride in STRIDES]
    scores, boxes, points = (
        [rng.uniform(0, 0.1, (1, n, 1)).astype(np.float32) for n in cells],
        [np.full((1, n, 4), 1.0, np.float32) for n in cells],
        [rng.normal(0, 1, (1, n, 10)).astype(np.float32) for n in cells],
    )
    columns = SIDE // 8
    across = columns // 3 + 1
    for face in range(faces):
        row, column = 3 * (face // across), 3 * (face % across)
        for _ in range(PROPOSALS):
            anchor = ANCHORS * (row * columns + column) + rng.integers(ANCHORS)
            scores[0][0, anchor, 0] = rng.uniform(0.6, 0.95)
            boxes[0][0, anchor] = rng.uniform(0.9, 1.1, 4)
    return (*scores, *boxes, *points)


def _centres(stride: int) -> NDArray[np.float32]:
    columns = SIDE // stride
    cells = np.stack(np.mgrid[:columns, :columns][::-1], axis=-1).reshape(-1, 2)
    return np.repeat(cells * stride, ANCHORS, axis=0).astype(np.float32)


CENTRES = {stride: _centres(stride) for stride in STRIDES}


def vectorised(outputs: tuple[Floats, ...]) -> NDArray[np.float32]:
    """The same in plain numpy: boxes, scores and landmarks of the faces, (n, 15)."""
    found = []
    for level, stride in enumerate(STRIDES):
        scores, boxes, points = (outputs[level + 3 * kind][0] for kind in range(3))
        x, y = CENTRES[stride].T
        distances, offsets = boxes * stride, points * stride
        sides = [x - distances[:, 0], y - distances[:, 1], x + distances[:, 2], y + distances[:, 3]]
        corners = np.stack(sides, axis=-1)
        landmarks = np.stack([(x, y)[i % 2] + offsets[:, i] for i in range(10)], axis=-1)
        above = np.where(scores[:, 0] > THRESHOLD)[0]
        found.append(np.concatenate([corners[above], scores[above], landmarks[above]], axis=1))
    proposals = np.concatenate(found)
    proposals = proposals[proposals[:, 4].argsort()[::-1]]
    return proposals[_suppressed(proposals)]


def _suppressed(proposals: NDArray[np.float32]) -> list[int]:
    left, top, right, bottom, scores = proposals[:, :5].T
    areas = (right - left + 1) * (bottom - top + 1)
    order = scores.argsort()[::-1]
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        width = np.maximum(0, np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest]) + 1)
        height = np.maximum(0, np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest]) + 1)
        shared = width * height
        order = rest[shared / (areas[best] + areas[rest] - shared) <= OVERLAP]
    return kept


def _timed(work: Callable[[], int]) -> tuple[float, int]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found
