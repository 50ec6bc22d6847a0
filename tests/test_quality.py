"""Quality: known poses come back, blur is told from edges, limits refuse what is beyond them."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.faces import Face
from visage.geometry.alignment import TEMPLATE
from visage.quality import _MODEL, LIMITS, Mode, Pose, Quality, measured, pose, sharpness, shortcomings

ANGLES = st.floats(-60, 60)


def rotated(yaw: float, pitch: float, roll: float, scale: float = 20.0) -> np.ndarray:
    """The model seen by a camera far away, turned by roll about the line of sight after pitch after yaw: (5, 2).

    x to the right, y down, z away: yaw > 0 turns the nose to the right, pitch > 0 up, roll > 0 clockwise.
    """
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turned = _MODEL @ (about_z @ about_x @ about_y).T
    return np.asarray(turned[:, :2] * scale + [300, 200], np.float32)


@given(ANGLES, st.floats(5, 300))
def test_a_turn_to_the_side_is_found(yaw: float, scale: float) -> None:
    found = pose(rotated(yaw, 0, 0, scale))
    assert found.yaw == pytest.approx(yaw, abs=0.1)
    assert abs(found.pitch) < 0.1 and abs(found.roll) < 0.1


@given(ANGLES)
def test_a_nod_is_found(pitch: float) -> None:
    found = pose(rotated(0, pitch, 0))
    assert found.pitch == pytest.approx(pitch, abs=0.1)
    assert abs(found.yaw) < 0.1 and abs(found.roll) < 0.1


@given(st.floats(-170, 170))
def test_a_tilted_head_is_found(roll: float) -> None:
    assert pose(rotated(0, 0, roll)).roll == pytest.approx(roll, abs=0.1)


def test_the_signs_are_those_of_the_picture() -> None:
    right, up = rotated(30, 0, 0), rotated(0, 30, 0)
    straight = rotated(0, 0, 0)
    assert right[2, 0] > straight[2, 0] and up[2, 1] < straight[2, 1]  # the nose: to the right, upwards


def test_the_template_of_recognisers_looks_nearly_straight_ahead() -> None:
    found = pose(TEMPLATE.astype(np.float32))
    assert abs(found.yaw) < 1 and abs(found.roll) < 1 and abs(found.pitch) < 6


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_landmarks_without_a_shape_look_straight_ahead(points: np.ndarray) -> None:
    assert pose(points.astype(np.float32)) == Pose(0.0, 0.0, 0.0)


def test_blur_takes_sharpness() -> None:
    rng = np.random.default_rng(1)
    crop = rng.integers(0, 256, (112, 112, 3), np.uint8)
    blurred = np.asarray(cv2.GaussianBlur(crop, (0, 0), 3), np.uint8)
    assert sharpness(crop) > 50 * sharpness(blurred) > 0
    assert sharpness(np.full((112, 112, 3), 90, np.uint8)) == 0


def test_a_face_is_measured_on_its_crop_or_on_its_picture() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (400, 600, 3), np.uint8)
    face = Face(0, np.array([240, 140, 360, 290], np.float32), 0.9, rotated(0, 0, 0, 10))
    found = measured(face, picture)
    assert found.size == 120 and found.score == 0.9 and found.sharpness > 100
    with pytest.raises(ValueError, match="ask for crops"):
        measured(face)


def good(**other: float) -> Quality:
    angles = {name: other.get(name, 0.0) for name in ("yaw", "pitch", "roll")}
    return Quality(other.get("score", 0.95), other.get("size", 200), other.get("sharpness", 500), Pose(**angles))


@pytest.mark.parametrize("name", ["score", "size", "sharpness", "yaw", "pitch", "roll"])
@pytest.mark.parametrize("mode", ["standard", "strict"])
def test_each_limit_refuses_what_is_beyond_it(name: str, mode: Mode) -> None:
    limit = getattr(LIMITS[mode], name)
    angle = name in ("yaw", "pitch", "roll")
    assert shortcomings(good(**{name: limit}), mode) == []
    worse = limit + 1 if angle else limit * 0.9
    (cause,) = shortcomings(good(**{name: worse}), mode)
    assert (cause.kind, cause.value, cause.limit) == (name, pytest.approx(worse), limit)
    assert cause.said.startswith(name)
    assert shortcomings(good(**{name: 0 if not angle else 180}), "off") == []


def test_strict_is_stricter() -> None:
    standard, strict = LIMITS["standard"], LIMITS["strict"]
    assert standard is not None and strict is not None
    assert (strict.score, strict.size, strict.sharpness) > (standard.score, standard.size, standard.sharpness)
    assert strict.yaw < standard.yaw and strict.pitch < standard.pitch and strict.roll < standard.roll
