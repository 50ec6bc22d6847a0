import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from visage.geometry.squares import square_matrices
from visage.geometry.warping import carried_back, warp

Doubles = NDArray[np.float64]


def reference(box: tuple[float, ...], size: int, margin: float) -> Doubles:
    """insightface's `transform(img, center, size, scale, 0)`: scaled, moved by the scaled centre, moved to the middle."""
    left, top, right, bottom = (float(edge) for edge in box)
    scale = size / (max(right - left, bottom - top) * margin)
    x, y = (left + right) / 2 * scale, (top + bottom) / 2 * scale
    steps = (
        np.diag([scale, scale, 1]),
        np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]]),
        np.eye(3),  # no rotation
        np.array([[1, 0, size / 2], [0, 1, size / 2], [0, 0, 1]]),
    )
    whole = np.eye(3)
    for step in steps:
        whole = step @ whole
    return whole[:2]


def textured(width: int, height: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(7).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(np.kron(noise, np.ones((8, 8, 1), np.uint8))[:height, :width])


edges = st.floats(-3000, 3000, width=32)
sides = st.floats(0.125, 4000, width=32)
boxes = st.builds(
    lambda x, y, w, h: (x, y, float(np.float32(x + w)), float(np.float32(y + h))), edges, edges, sides, sides
)


@settings(deadline=None)
@given(st.lists(boxes, min_size=1, max_size=4), st.sampled_from([96, 192]), st.sampled_from([1.0, 1.5, 2.7]))
def test_the_matrices_are_insightfaces(given_boxes: list[tuple[float, ...]], size: int, margin: float) -> None:
    found = square_matrices(np.array(given_boxes, np.float32), size, margin)
    assert found.shape == (len(given_boxes), 2, 3) and found.dtype == np.float64
    for matrix, box in zip(found, given_boxes, strict=True):
        assert matrix == pytest.approx(reference(box, size, margin), rel=1e-9, abs=1e-6)


@settings(deadline=None)
@given(boxes)
def test_a_box_lies_in_the_middle_two_thirds_of_its_square(box: tuple[float, ...]) -> None:
    (matrix,) = square_matrices(np.array([box], np.float32), 192, 1.5)
    corners = np.array([box[:2], box[2:]], np.float64) @ matrix[:, :2].T + matrix[:, 2]
    assert corners.mean(axis=0) == pytest.approx([96, 96], abs=1e-4)
    assert np.ptp(corners, axis=0).max() == pytest.approx(128, rel=1e-6)


@settings(deadline=None)
@given(boxes, st.lists(st.tuples(st.floats(0, 192), st.floats(0, 192)), min_size=1, max_size=5))
def test_points_of_a_crop_are_carried_back_to_where_they_came_from(
    box: tuple[float, ...], points: list[tuple[float, float]]
) -> None:
    (matrix,) = square_matrices(np.array([box], np.float32), 192, 1.5)
    places = carried_back(np.array(points, np.float32), matrix)
    assert places.dtype == np.float32
    again = places.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    # Far away places are kept in single precision: half of their last digit, seen in the crop.
    slack = 1e-3 + np.abs(places).max() * 2**-23 * matrix[0, 0]
    assert again == pytest.approx(np.array(points, np.float64), abs=slack)


@pytest.mark.parametrize("box", [(100, 80, 180, 190), (-40, -10, 60, 200), (250, 150, 330, 260), (3.3, 4.7, 9.1, 8.2)])
@pytest.mark.parametrize("size", [96, 192])
def test_a_crop_is_what_opencv_cuts_by_the_reference_s_formula(box: tuple[float, ...], size: int) -> None:
    pixels = textured(300, 240)
    (crop,) = warp(pixels, square_matrices(np.array([box], np.float32), size, 1.5), size)
    oracle = cv2.warpAffine(pixels, reference(tuple(np.float32(box)), size, 1.5), (size, size), borderValue=0)
    assert crop.any()
    assert (crop == oracle).mean() > 0.999  # the last bits of a matrix may move a sampling step


def test_outside_the_picture_is_black() -> None:
    white = np.full((50, 50, 3), 255, np.uint8)
    corner, far = warp(
        white, square_matrices(np.array([[-20, -20, 20, 20], [400, 90, 440, 130]], np.float32), 96, 1.5), 96
    )
    assert not corner[:47].any() and not corner[:, :47].any() and (corner[49:, 49:] == 255).all()
    assert not far.any()


@pytest.mark.parametrize("place", [5, 20_000, 39_800])
def test_a_box_in_a_picture_too_long_for_opencv_is_cut_as_from_a_window(place: int) -> None:
    pixels = cv2.GaussianBlur(textured(40_000, 240), (0, 0), 3)
    start = max(0, place - 300)
    window = np.ascontiguousarray(pixels[:, start : start + 900])
    box, beside = ([[x, 40, x + 90, 160]] for x in (place, place - start))
    long, short = (
        warp(picture, square_matrices(np.array(where, np.float32), 192, 1.5), 192)[0].astype(int)
        for picture, where in ((pixels, box), (window, beside))
    )
    assert long.any()
    assert np.abs(long - short).mean() < 1


def test_no_box_has_no_square_and_a_flat_one_has_one() -> None:
    assert square_matrices(np.empty((0, 4), np.float32), 96, 1.5).shape == (0, 2, 3)
    assert np.isfinite(square_matrices(np.array([[5, 5, 5, 5]], np.float32), 96, 1.5)).all()
