from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from visage.faces import Pixels
from visage.geometry.area import shrink_into
from visage.geometry.letterbox import fit_scale, letterbox

INTO = (640, 640)


def white(width: int, height: int) -> Pixels:
    return np.full((height, width, 3), 255, np.uint8)


def covered(fitted: Pixels) -> tuple[int, int]:
    """Width and height of what is not black padding."""
    lit = fitted.any(axis=2)
    return int(lit.any(axis=0).sum()), int(lit.any(axis=1).sum())


@pytest.mark.parametrize(
    ("width", "height", "scale"),
    [
        (640, 640, 1.0),
        (640, 480, 1.0),
        (1280, 960, 0.5),
        (960, 1280, 0.5),
        (320, 320, 2.0),  # two is not past two
        (319, 100, 640 / 319 * 0.7),
        (100, 50, 6.4 * 0.7),
        (1, 1, 640 * 0.7),
    ],
)
def test_the_scale_fits_the_longer_side_and_leaves_a_margin_past_two(width: int, height: int, scale: float) -> None:
    assert fit_scale(width, height, INTO) == pytest.approx(scale, rel=1e-12)


def test_width_and_height_of_the_input_are_not_confused() -> None:
    fitted, scale = letterbox(white(1000, 100), (640, 320))
    assert fitted.shape == (320, 640, 3)
    assert scale == 0.64
    assert covered(fitted) == (640, 64)


def test_padding_is_black_and_on_the_right_and_below() -> None:
    tall, _ = letterbox(white(320, 640), INTO)
    wide, _ = letterbox(white(640, 320), INTO)
    assert (tall[:, :320] == 255).all() and not tall[:, 320:].any()
    assert (wide[:320] == 255).all() and not wide[320:].any()


def test_a_picture_that_fits_is_not_resampled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    fitted, scale = letterbox(pixels, INTO)
    assert scale == 1.0
    assert (fitted[:480] == pixels).all()


def test_the_picture_itself_is_not_changed() -> None:
    pixels = white(1000, 700)
    letterbox(pixels, INTO)
    assert (pixels == 255).all()


def test_shrinking_averages_areas() -> None:
    stripes = np.zeros((640, 2560, 3), np.uint8)
    stripes[:, ::4] = 240  # bilinear sampling in the middle of four columns would see none of them
    fitted, scale = letterbox(stripes, INTO)
    assert scale == 0.25
    assert (fitted[:160] == 60).all()


def test_enlarging_interpolates_between_neighbours() -> None:
    pixels = np.zeros((1, 4, 3), np.uint8)
    pixels[:, 2:] = 100
    fitted, scale = letterbox(pixels, (8, 8))
    assert scale == 2.0
    assert fitted[0, :, 0].tolist() == [0, 0, 0, 25, 75, 100, 100, 100]


@pytest.mark.parametrize(("height", "rows"), [(5, 2), (7, 4), (9, 4), (11, 6)])
def test_half_a_pixel_rounds_to_the_even_side(height: int, rows: int) -> None:
    fitted, scale = letterbox(white(4, height), (2, 100))
    assert scale == 0.5
    assert covered(fitted) == (2, rows)


def test_the_sampling_step_is_the_inverse_scale_whatever_the_size_rounds_to() -> None:
    # 39 rows at 70/64 are 42.66, so 43: stretching to 43 rows would step by 39/43 = 0.907, not by 64/70 = 0.914.
    rows = np.repeat(6 * np.arange(39, dtype=np.uint8)[:, None], 64, axis=1)
    fitted, scale = letterbox(np.repeat(rows[..., None], 3, axis=2), (70, 70))
    assert scale == 70 / 64
    at = np.clip((np.arange(43) + 0.5) / scale - 0.5, 0, 38)
    stretched = np.clip((np.arange(43) + 0.5) * 39 / 43 - 0.5, 0, 38)
    found = fitted[:43, 5, 0].astype(float)
    assert np.abs(found - 6 * at).max() <= 1
    assert np.abs(found - 6 * stretched).max() > 1.5


@pytest.mark.parametrize(("width", "height"), [(10_000, 1), (1, 10_000), (5000, 1), (1, 1), (2, 40_000)])
def test_a_side_that_rounds_to_nothing_is_one_pixel(width: int, height: int) -> None:
    fitted, scale = letterbox(white(width, height), INTO)
    assert fitted.shape == (640, 640, 3)
    assert covered(fitted) == (max(1, round(width * scale)), max(1, round(height * scale)))


sides = st.integers(1, 3000)
inputs = st.tuples(st.integers(1, 20), st.integers(1, 20)).map(lambda n: (32 * n[0], 32 * n[1]))


@settings(deadline=None, max_examples=60)
@given(sides, sides, inputs)
def test_the_result_has_the_asked_size_and_the_whole_picture_is_in_it(
    width: int, height: int, into: tuple[int, int]
) -> None:
    fitted, scale = letterbox(white(width, height), into)
    assert fitted.shape == (into[1], into[0], 3)
    assert fitted.dtype == np.uint8
    assert covered(fitted) == (max(1, round(width * scale)), max(1, round(height * scale)))


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(60, 900), st.integers(60, 900), inputs.filter(lambda into: min(into) >= 160))
def test_a_mark_is_found_again_where_the_scale_says(
    data: st.DataObject, width: int, height: int, into: tuple[int, int]
) -> None:
    side = 24
    left = data.draw(st.integers(8, width - side - 8))
    top = data.draw(st.integers(8, height - side - 8))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top : top + side, left : left + side] = 255
    fitted, scale = letterbox(pixels, into)
    weights = fitted[..., 0].astype(float)
    ys, xs = np.indices(weights.shape)
    # Pixel centres stand half a pixel from the corner that coordinates count from.
    found = np.array([(weights * (axis + 0.5)).sum() / weights.sum() for axis in (xs, ys)]) / scale
    assert np.abs(found - (left + side / 2, top + side / 2)).max() < 0.5 / min(scale, 1)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(33, 700), st.integers(33, 700), st.integers(1, 6), st.integers(1, 6))
def test_shrinking_by_any_factor_gives_opencvs_areas(seed: int, width: int, height: int, x: int, y: int) -> None:
    into = (32 * x, 32 * y)
    scale = fit_scale(width, height, into)
    assume(scale < 1 and min(width, height) * scale > 0.5)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    expected = cv2.resize(pixels, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    fitted = letterbox(pixels, into)[0][: expected.shape[0], : expected.shape[1]]
    assert np.abs(fitted.astype(int) - expected).max() <= 1


def test_a_view_into_a_larger_picture_is_fitted_like_a_copy_of_it() -> None:
    whole = np.random.default_rng(1).integers(0, 256, (1000, 1400, 3), np.uint8)
    for view in (whole[13:960, 7:1300], whole[::-1], whole[:, ::2], whole.transpose(1, 0, 2)):
        assert (letterbox(view, INTO)[0] == letterbox(view.copy(), INTO)[0]).all()


# padded no further than the network needs


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (640, 640, (640, 640)),
        (1280, 720, (640, 384)),  # 360 rows
        (1024, 768, (640, 480)),
        (768, 1024, (480, 640)),
        (880, 1076, (544, 640)),  # 523 columns
        (640, 33, (640, 64)),
        (640, 32, (640, 32)),
        (112, 112, (448, 448)),  # enlarged past two, so by the margin's factor
        (1, 5000, (32, 640)),
        (5000, 1, (640, 32)),
        (1, 1, (448, 448)),
    ],
)
def test_with_a_stride_the_canvas_ends_at_its_next_multiple(width: int, height: int, size: tuple[int, int]) -> None:
    fitted, scale = letterbox(white(width, height), INTO, 32)
    assert fitted.shape == (size[1], size[0], 3)
    assert scale == fit_scale(width, height, INTO)


def test_a_canvas_that_is_the_picture_is_the_picture() -> None:
    pixels = white(640, 480)
    assert letterbox(pixels, INTO, 32)[0] is pixels
    assert letterbox(pixels, INTO, 64)[0].shape == (512, 640, 3)


strides = st.sampled_from((8, 32, 64))


@settings(deadline=None, max_examples=150)
@given(st.data(), st.integers(0, 2**32 - 1), strides, st.integers(1, 12), st.integers(1, 12))
def test_both_canvases_show_the_same_picture_at_the_same_scale(
    data: st.DataObject, seed: int, stride: int, x: int, y: int
) -> None:
    into = (stride * x, stride * y)
    sides = st.one_of(st.integers(1, 900), st.integers(1, 900).map(lambda n: 1 + n % 3))
    width, height = data.draw(sides), data.draw(sides)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    whole, scale = letterbox(pixels, into)
    fitted, same = letterbox(pixels, into, stride)

    assert same == scale
    rows, columns = fitted.shape[:2]
    assert rows % stride == columns % stride == 0
    assert rows <= into[1] and columns <= into[0]
    # All of the picture, and less than a stride beside it.
    assert 0 <= rows - max(1, round(height * scale)) < stride
    assert 0 <= columns - max(1, round(width * scale)) < stride
    assert (fitted == whole[:rows, :columns]).all()
    assert not whole[rows:].any() and not whole[:, columns:].any()


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 120), st.integers(2, 120), st.floats(0.1, 0.99), st.lists(st.integers(0, 120), max_size=4))
def test_rows_shrunk_in_parts_are_those_shrunk_at_once(width: int, height: int, scale: float, cuts: list[int]) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    shape = (height + 1, width + 1, 3)
    whole, parts = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)

    def cut(work: Callable[[int, int], None], length: int) -> None:
        edges = sorted({0, length, *(at for at in cuts if at < length)})
        for start, stop in reversed(list(pairwise(edges))):
            work(start, stop)

    shrink_into(whole, pixels, scale)
    shrink_into(parts, pixels, scale, cut)
    assert (whole == parts).all()
