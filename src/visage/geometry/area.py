"""Shrinking a picture by area, compiled: OpenCV's INTER_AREA at a third of its time, on one core instead of all.

Detection shrinks nearly every picture it gets, and after the JPEG decoder this was the dearest step outside the
networks (measured: `make bench`). The rows are summed first, where a whole line is one vector operation. Results
equal OpenCV's but for single values where a sum lies on the edge of rounding: one level off, some in a million.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from visage.faces import Floats, Pixels
from visage.geometry.compiled import compiled

# OpenCV leaves out a border weight smaller than this (imgproc, computeResizeAreaTab).
_LEAST_WEIGHT = 1e-3


@compiled()
def _table(source: int, target: int, step: float) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """For each target cell its first source cell, how many it covers, and their weights (target, taps)."""
    first = np.empty(target, np.int64)
    count = np.empty(target, np.int64)
    weights = np.zeros((target, int(step) + 2), np.float32)
    for i in range(target):
        low = i * step
        high = min(low + step, float(source))
        width = min(step, source - low)
        inner = int(np.ceil(low))
        end = min(int(np.floor(high)), source - 1)
        inner = min(inner, end)
        first[i] = inner
        taps = 0
        if inner - low > _LEAST_WEIGHT:
            first[i] = inner - 1
            weights[i, 0] = (inner - low) / width
            taps = 1
        for _ in range(inner, end):
            weights[i, taps] = 1.0 / width
            taps += 1
        if high - end > _LEAST_WEIGHT:
            weights[i, taps] = min(high - end, 1.0, width) / width
            taps += 1
        count[i] = taps
    return first, count, weights


@compiled(fastmath={"contract", "reassoc"})
def _shrink(pixels: Pixels, target: Pixels, rows: int, columns: int, step: float, start: int, stop: int) -> None:
    """The target's rows from `start` to `stop`, of `rows` in all."""
    height, width, _ = pixels.shape
    top, high, down = _table(height, rows, step)
    left, wide, across = _table(width, columns, step)
    lines = pixels.reshape(height, width * 3)
    # Three cells beyond the end: taps of weight 0 may reach there.
    line = np.zeros((width + 3) * 3, np.float32)
    narrow = across.shape[1] == 3  # a step below 2: the usual photograph, written out below
    for y in range(start, stop):
        _sum_rows(line, lines, top[y], high[y], down[y])
        if narrow:
            for x in range(columns):
                at = left[x] * 3
                a, b, c = across[x, 0], across[x, 1], across[x, 2]
                for channel in range(3):
                    i = at + channel
                    target[y, x, channel] = _rounded(line[i] * a + line[i + 3] * b + line[i + 6] * c)
        else:
            for x in range(columns):
                at = left[x] * 3
                blue = green = red = np.float32(0)
                for k in range(wide[x]):
                    weight = across[x, k]
                    blue += line[at] * weight
                    green += line[at + 1] * weight
                    red += line[at + 2] * weight
                    at += 3
                target[y, x, 0] = _rounded(blue)
                target[y, x, 1] = _rounded(green)
                target[y, x, 2] = _rounded(red)


@compiled(fastmath={"contract", "reassoc"}, inline="always")
def _sum_rows(line: Floats, lines: Pixels, first: int, count: int, weights: Floats) -> None:
    """`line` becomes the weighted sum of `count` rows; two and three, the usual case, in one pass."""
    size = lines.shape[1]
    if count == 3:
        a, b, c = weights[0], weights[1], weights[2]
        one, two, three = lines[first], lines[first + 1], lines[first + 2]
        for x in range(size):
            line[x] = one[x] * a + two[x] * b + three[x] * c
    elif count == 2:
        a, b = weights[0], weights[1]
        one, two = lines[first], lines[first + 1]
        for x in range(size):
            line[x] = one[x] * a + two[x] * b
    else:
        for k in range(count):
            weight = weights[k]
            row = lines[first + k]
            if k == 0:
                for x in range(size):
                    line[x] = row[x] * weight
            else:
                for x in range(size):
                    line[x] += row[x] * weight


@compiled(inline="always")
def _rounded(value: np.float32) -> np.uint8:
    return np.uint8(np.rint(value))  # half to even, as OpenCV does


Spread = Callable[[Callable[[int, int], None], int], None]


def at_once(work: Callable[[int, int], None], length: int) -> None:
    """The plainest `Spread`: all of 0…length in one part, on this thread."""
    work(0, length)


def shrink_into(canvas: Pixels, pixels: Pixels, scale: float, spread: Spread = at_once) -> None:
    """Shrink `pixels` uint8 (H, W, 3) by `scale` < 1 into the top left of `canvas` uint8 (h, w, 3).

    H·scale × W·scale, rounded, at least one of each, are written; the sampling step is 1/scale. `spread` shares the
    rows out.
    """
    rows, columns = (max(1, round(side * scale)) for side in pixels.shape[:2])
    # One memory layout only: each other one would be compiled anew, and on a request.
    whole = np.require(pixels, np.uint8, ["C", "W"])
    spread(lambda start, stop: _shrink(whole, canvas, rows, columns, 1.0 / scale, start, stop), rows)
