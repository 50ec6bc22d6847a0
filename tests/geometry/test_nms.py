from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from visage.geometry.nms import nms

Box = tuple[float, float, float, float]


def overlap_of(a: Box, b: Box, pixel: float) -> tuple[float, float]:
    """Intersection and union."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + pixel)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + pixel)
    areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (a, b)]
    return width * height, sum(areas) - width * height


def plain_nms(boxes: list[Box], scores: list[float], overlap: float, pixel: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):  # stable
        shared = (overlap_of(boxes[i], boxes[k], pixel) for k in kept)
        if all(inner <= overlap * union for inner, union in shared):
            kept.append(i)
    return kept


def arrays(boxes: list[Box], scores: list[float]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)


def survivors(boxes: list[Box], scores: list[float], overlap: float = 0.4, **how: Any) -> list[int]:
    return nms(*arrays(boxes, scores), overlap, **how).tolist()


# Quarters of pixels and halves of overlaps are exact in binary: the oracle and the compiled code agree on every tie.
quarters = st.integers(-400, 2000).map(lambda n: n / 4)
lengths = st.integers(0, 400).map(lambda n: n / 4)
boxes_of = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), quarters, quarters, lengths, lengths)
near = st.builds(
    lambda x, y, w, h: (x, y, x + w, y + h),
    *(st.integers(0, 8).map(float),) * 2,
    *(st.integers(1, 8).map(float),) * 2,
)
scored = st.lists(st.tuples(boxes_of | near, st.sampled_from([0.125, 0.25, 0.5, 0.75, 0.9375])), max_size=30)


@settings(deadline=None, max_examples=300)
@given(scored, st.sampled_from([0.0, 0.25, 0.375, 0.5, 0.75, 1.0]), st.sampled_from([0.0, 1.0]))
def test_the_compiled_loop_keeps_what_a_plain_one_keeps(
    found: list[tuple[Box, float]], overlap: float, pixel: float
) -> None:
    boxes, scores = [box for box, _ in found], [score for _, score in found]
    assert survivors(boxes, scores, overlap, pixel=pixel) == plain_nms(boxes, scores, overlap, pixel)


whole_boxes = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 1)),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=200)
@given(whole_boxes, st.sampled_from([0.1, 0.3, 0.4, 0.5, 0.7]))
def test_without_the_extra_pixel_whole_boxes_survive_as_in_opencv(
    rows: list[tuple[int, int, int, int, float]], overlap: float
) -> None:
    boxes: list[Box] = [(x, y, x + w, y + h) for x, y, w, h, _ in rows]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            inner, union = overlap_of(a, b, 0)
            assume(abs(inner / union - overlap) > 1e-5)  # OpenCV judges ties in single precision
    scores = [float(np.float32(row[4])) for row in rows]
    theirs = cv2.dnn.NMSBoxes([row[:4] for row in rows], scores, 0.0, overlap)
    assert survivors(boxes, scores, overlap, pixel=0.0) == np.asarray(theirs).tolist()


def test_the_best_score_comes_first() -> None:
    apart: list[Box] = [(0, 0, 10, 10), (100, 0, 110, 10), (200, 0, 210, 10)]
    assert survivors(apart, [0.3, 0.9, 0.6]) == [1, 2, 0]


def test_equal_scores_keep_their_order_and_the_first_of_two_that_cover_each_other_stays() -> None:
    apart: list[Box] = [(0, 0, 10, 10), (100, 0, 110, 10), (200, 0, 210, 10)]
    assert survivors(apart, [0.5] * 3) == [0, 1, 2]
    assert survivors([(0, 0, 10, 10), (0, 0, 10, 10)], [0.5, 0.5]) == [0]


def test_an_overlap_that_equals_the_limit_is_kept() -> None:
    # Half of each: 5×10 shared of 150.
    half: list[Box] = [(0, 0, 10, 10), (5, 0, 15, 10)]
    assert survivors(half, [0.9, 0.8], 1 / 3 + 1e-9, pixel=0.0) == [0, 1]
    assert survivors(half, [0.9, 0.8], 1 / 3 - 1e-6, pixel=0.0) == [0]
    assert survivors([(0, 0, 3, 3), (0, 0, 3, 3)], [0.9, 0.8], 1.0) == [0, 1]


def test_the_extra_pixel_counts_a_boxs_last_one() -> None:
    # 3×3 and 3×2 pixels in InsightFace's convention share 6 of 9; by edges they are 4 and 2 large.
    boxes: list[Box] = [(0, 0, 2, 2), (0, 0, 2, 1)]
    assert survivors(boxes, [0.9, 0.8], 0.6, pixel=1.0) == [0]
    assert survivors(boxes, [0.9, 0.8], 0.6, pixel=0.0) == [0, 1]


def test_the_extra_pixel_is_the_default() -> None:
    boxes: list[Box] = [(0, 0, 2, 2), (0, 0, 2, 1)]
    assert survivors(boxes, [0.9, 0.8], 0.6) == [0]


def test_a_box_that_was_suppressed_suppresses_none() -> None:
    chain: list[Box] = [(0, 0, 10, 10), (4, 0, 14, 10), (8, 0, 18, 10)]
    assert survivors(chain, [0.9, 0.8, 0.7], 0.4, pixel=0.0) == [0, 2]


def test_a_score_that_is_no_number_comes_last_and_suppresses_no_face() -> None:
    boxes: list[Box] = [(0, 0, 10, 10), (1, 0, 11, 10), (50, 50, 60, 60)]
    assert survivors(boxes, [float("nan"), 0.7, 0.8]) == [2, 1]


def test_a_box_that_is_no_number_suppresses_none() -> None:
    boxes: list[Box] = [(float("nan"), 0, 10, 10), (0, 0, 10, 10)]
    assert 1 in survivors(boxes, [0.9, 0.8])


@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_nothing_in_nothing_out(pixel: float) -> None:
    assert survivors([], [], pixel=pixel) == []


def test_columns_of_a_wider_array_are_taken_as_they_stand() -> None:
    rows = np.array([[0, 0, 10, 10, 0.5, 9], [100, 0, 110, 10, 0.6, 9], [1, 0, 11, 10, 0.4, 9]], np.float32)
    assert nms(rows[:, :4], rows[:, 4], 0.4).tolist() == [1, 0]
