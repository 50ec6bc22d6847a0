import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from visage.geometry.alignment import CROP_SIZE, TEMPLATE, align, alignment_matrices, template

Doubles = NDArray[np.float64]


def umeyama(source: Doubles, target: Doubles) -> Doubles:
    """Eq. 34-43 of IEEE PAMI 13(4), 1991, by singular value decomposition."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - source_mean
    covariance = (target - target_mean).T @ centred / len(source)
    u, d, vt = np.linalg.svd(covariance)
    signs = np.ones(2)
    if np.linalg.det(u) * np.linalg.det(vt) < 0:
        signs[1] = -1
    rotation = u @ np.diag(signs) @ vt
    factor = (d * signs).sum() / centred.var(axis=0).sum()
    return np.column_stack([factor * rotation, target_mean - factor * rotation @ source_mean])


def similarity(factor: float, angle: float, x: float, y: float) -> Doubles:
    c, s = factor * math.cos(angle), factor * math.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def moved(points: Doubles, matrix: Doubles) -> Doubles:
    return points @ matrix[:, :2].T + matrix[:, 2]


def textured(width: int, height: int) -> NDArray[np.uint8]:
    """A picture whose every neighbourhood looks different."""
    noise = np.random.default_rng(7).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(np.kron(noise, np.ones((8, 8, 1), np.uint8))[:height, :width])


def test_a_face_on_the_template_is_left_where_it_is() -> None:
    matrix = alignment_matrices(TEMPLATE[None])[0]
    assert matrix == pytest.approx(np.array([[1, 0, 0], [0, 1, 0]]), abs=1e-9)
    pixels = textured(CROP_SIZE, CROP_SIZE)
    assert (align(pixels, TEMPLATE[None].astype(np.float32))[0] == pixels).mean() > 0.99


def test_the_template_is_the_one_of_the_wire_contract() -> None:
    points = "38.2946,51.6963 73.5318,51.5014 56.0252,71.7366 41.5493,92.3655 70.7299,92.2041"
    assert TEMPLATE.tolist() == [[float(x) for x in point.split(",")] for point in points.split()]


similarities = st.builds(
    similarity,
    st.floats(0.02, 50),
    st.floats(-math.pi, math.pi),
    st.floats(-5000, 5000),
    st.floats(-5000, 5000),
)


@settings(deadline=None)
@given(similarities)
def test_any_similarity_is_recovered_from_the_points_it_moved(wanted: Doubles) -> None:
    inverse = cv2.invertAffineTransform(wanted)
    landmarks = moved(TEMPLATE, inverse)[None]
    found = alignment_matrices(landmarks)[0]
    assert found[:, :2] == pytest.approx(wanted[:, :2], rel=1e-6, abs=1e-9)
    assert moved(landmarks[0], found) == pytest.approx(TEMPLATE, abs=1e-6)


coordinates = st.floats(-2000, 2000, width=32)
five_points = st.lists(st.tuples(coordinates, coordinates), min_size=5, max_size=5).map(
    lambda points: np.array(points, np.float32)
)


@settings(deadline=None)
@given(st.lists(five_points.filter(lambda points: np.ptp(points, axis=0).max() > 1), min_size=1, max_size=4))
def test_the_matrices_are_umeyamas(faces: list[NDArray[np.float32]]) -> None:
    found = alignment_matrices(np.stack(faces))
    assert found.shape == (len(faces), 2, 3)
    for matrix, points in zip(found, faces, strict=True):
        oracle = umeyama(points.astype(np.float64), TEMPLATE)
        assert moved(points.astype(np.float64), matrix) == pytest.approx(
            moved(points.astype(np.float64), oracle), abs=1e-6
        )


def test_mirrored_landmarks_are_turned_not_mirrored() -> None:
    mirrored = (TEMPLATE * (-1, 1) + (CROP_SIZE, 0))[None]
    assert np.linalg.det(alignment_matrices(mirrored)[0][:, :2]) > 0


@pytest.mark.parametrize("place", [(0, 0), (50, 50), (-300, 900)])
def test_landmarks_that_coincide_give_the_crop_around_them(place: tuple[int, int]) -> None:
    pixels = textured(200, 200)
    landmarks = np.broadcast_to(np.array(place, np.float32), (1, 5, 2))
    matrix = alignment_matrices(landmarks)[0]
    assert matrix[:, :2].tolist() == [[1, 0], [0, 1]]
    assert moved(np.array([place], np.float64), matrix)[0] == pytest.approx(TEMPLATE.mean(axis=0))
    assert align(pixels, landmarks).shape == (1, CROP_SIZE, CROP_SIZE, 3)


def test_no_landmarks_give_no_crops() -> None:
    assert alignment_matrices(np.empty((0, 5, 2), np.float32)).shape == (0, 2, 3)
    assert align(textured(20, 20), np.empty((0, 5, 2), np.float32)).shape == (0, CROP_SIZE, CROP_SIZE, 3)


def test_outside_the_picture_is_black() -> None:
    white = np.full((50, 50, 3), 255, np.uint8)
    shifted = (TEMPLATE - 56).astype(np.float32)[None]  # the template's middle on the picture's corner
    crop = align(white, shifted)[0]
    assert not crop[:55].any() and not crop[:, :55].any()
    assert (crop[57:105, 57:105] == 255).all()


def test_each_face_has_its_own_crop_in_order() -> None:
    pixels = textured(600, 400)
    faces = np.stack([np.add(TEMPLATE, (10, 20)), TEMPLATE * 2 + (200, 100)]).astype(np.float32)
    both = align(pixels, faces)
    assert (both[0] == align(pixels, faces[:1])[0]).all()
    assert (both[1] == align(pixels, faces[1:])[0]).all()
    assert (both[0] != both[1]).any()


def similar(crop: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Equal but for the rounding of sub-pixel positions at far coordinates."""
    difference = np.abs(crop.astype(int) - other.astype(int))
    return bool(np.quantile(difference, 0.99) <= 6 and difference.mean() < 1)


@pytest.mark.parametrize("long_side", ["width", "height"])
@pytest.mark.parametrize("place", [5, 20_000, 39_800])
def test_a_face_in_a_picture_too_long_for_opencv_is_cropped_as_from_a_window(long_side: str, place: int) -> None:
    pixels = cv2.GaussianBlur(textured(40_000, 240), (0, 0), 3)
    face = (TEMPLATE * 1.5 + (place, 20)).astype(np.float32)
    start = max(0, place - 300)
    window = np.ascontiguousarray(pixels[:, start : start + 900])
    in_window = face - np.array([start, 0], np.float32)
    if long_side == "height":
        pixels = np.ascontiguousarray(pixels.transpose(1, 0, 2))
        window = np.ascontiguousarray(window.transpose(1, 0, 2))
        face, in_window = face[:, ::-1], in_window[:, ::-1]
    long, short = align(pixels, face[None])[0], align(window, in_window[None])[0]
    assert long.any()
    assert similar(long, short)


def test_a_face_beyond_the_end_of_a_long_picture_is_black() -> None:
    pixels = np.full((20, 40_000, 3), 255, np.uint8)
    far = np.add(TEMPLATE, (60_000, 0)).astype(np.float32)[None]
    assert not align(pixels, far).any()


@pytest.mark.parametrize("width", [32_765, 32_766, 32_767, 32_768])
def test_no_width_is_refused_around_opencvs_limit(width: int) -> None:
    pixels = np.zeros((130, width, 3), np.uint8)
    pixels[:, -120:] = textured(120, 130)
    face = np.add(TEMPLATE, (width - 115, 5)).astype(np.float32)
    beside = np.add(TEMPLATE, (5, 5)).astype(np.float32)
    assert similar(align(pixels, face[None])[0], align(pixels[:, -120:].copy(), beside[None])[0])


def test_the_template_of_another_size_is_the_same_face_in_more_pixels() -> None:
    pixels = cv2.GaussianBlur(textured(CROP_SIZE * 2, CROP_SIZE * 2), (0, 0), 3)
    double = (TEMPLATE * 2)[None].astype(np.float32)
    assert similar(align(pixels, double, 2 * CROP_SIZE)[0], pixels)
    assert (template(CROP_SIZE) == TEMPLATE).all() and (template(224) == TEMPLATE * 2).all()
