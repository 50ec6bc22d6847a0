from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.drawing import draw
from visage.faces import Face, ImageFaces, MaskScores, Pixels
from visage.options import DrawOptions

GREEN, RED = [0, 255, 0], [0, 0, 255]
BOXES_ONLY = DrawOptions(landmarks=False, scores=False, sizes=False)
POINTS = [[130, 140], [170, 140], [150, 165], [135, 190], [165, 190]]


def face(box: Any = (100, 100, 200.7, 230), points: Any = POINTS, mask: MaskScores | None = None) -> Face:
    return Face(0, np.array(box, np.float32), 0.91, np.array(points, np.float32), mask=mask)


def found(*faces: Face) -> ImageFaces:
    return ImageFaces(list(faces), 1.0, (640, 480))


def blank(width: int = 640, height: int = 480) -> Pixels:
    return np.full((height, width, 3), 128, np.uint8)


def changed(canvas: Pixels) -> Any:
    return (canvas != 128).any(axis=2)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, int]]]:
    """What is written and where, each once."""
    written: list[tuple[str, tuple[int, int]]] = []
    put = cv2.putText

    def remember(canvas: Pixels, text: str, place: tuple[int, int], *how: Any) -> Any:
        if (text, place) not in written:
            written.append((text, place))
        return put(canvas, text, place, *how)

    monkeypatch.setattr(cv2, "putText", remember)
    return written


def test_a_box_is_one_pixel_wide_green_and_cut_to_whole_pixels() -> None:
    canvas = draw(blank(), found(face()), BOXES_ONLY, "scrfd")
    for x, y in [(100, 100), (200, 230), (150, 100), (100, 150), (200, 150), (150, 230)]:
        assert canvas[y, x].tolist() == GREEN
    assert not changed(canvas)[101:230, 101:200].any()
    assert not changed(canvas)[90:100].any()
    assert not changed(canvas)[:400, 201:].any()


@pytest.mark.parametrize(
    ("mask", "colour"), [(None, GREEN), (MaskScores(0.98, 0.02), GREEN), (MaskScores(0.02, 0.98), RED)]
)
def test_a_face_known_to_wear_no_mask_is_red(mask: MaskScores | None, colour: list[int]) -> None:
    canvas = draw(blank(), found(face(mask=mask)), BOXES_ONLY, "scrfd")
    assert canvas[150, 100].tolist() == colour


def test_the_five_points_are_red_yellow_magenta_green_blue() -> None:
    canvas = draw(blank(), found(face()), DrawOptions(landmarks=True, scores=False, sizes=False), "scrfd")
    assert [canvas[y, x].tolist() for x, y in POINTS] == [[0, 0, 255], [0, 255, 255], [255, 0, 255], GREEN, [255, 0, 0]]


def test_the_points_of_a_small_face_are_drawn_too() -> None:
    small = [[14, 14], [18, 14], [16, 17], [14, 20], [18, 20]]
    canvas = draw(blank(), found(face((10, 10, 22, 24), small)), DrawOptions(scores=False, sizes=False), "scrfd")
    assert canvas[14, 13].tolist() == [0, 0, 255]  # a ring of radius 1


def test_score_width_and_footer_are_written(texts: list[tuple[str, tuple[int, int]]]) -> None:
    draw(blank(), found(face(), face((300, 120, 330, 150))), DrawOptions(), "scrfd_10g")
    assert [text for text, _ in texts] == ["0.910", "w:100", "0.910", "w:30", "faces: 2 (scrfd_10g)"]
    places = dict(texts[:2])
    assert places["0.910"][1] < 100
    assert places["w:100"][1] > 230
    assert texts[-1][1][1] > 460


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (DrawOptions(scores=False), ["w:100", "faces: 1 (d)"]),
        (DrawOptions(sizes=False), ["0.910", "faces: 1 (d)"]),
        (BOXES_ONLY, ["faces: 1 (d)"]),
    ],
)
def test_what_is_not_wanted_is_not_written(
    texts: list[tuple[str, tuple[int, int]]], options: DrawOptions, expected: list[str]
) -> None:
    draw(blank(), found(face()), options, "d")
    assert [text for text, _ in texts] == expected


def test_a_picture_without_faces_says_so_and_is_otherwise_untouched(texts: list[tuple[str, tuple[int, int]]]) -> None:
    canvas = draw(blank(), found(), DrawOptions(), "d")
    assert [text for text, _ in texts] == ["faces: 0 (d)"]
    assert not changed(canvas)[:440].any()
    assert changed(canvas)[440:].any()


def test_the_picture_itself_is_not_drawn_on() -> None:
    pixels = blank()
    draw(pixels, found(face()), DrawOptions(), "d")
    assert not changed(pixels).any()


def test_a_picture_that_may_not_be_written_is_copied() -> None:
    pixels = blank()[:, ::-1]
    pixels.setflags(write=False)
    assert changed(draw(pixels, found(face()), DrawOptions(), "d")).any()


anywhere = st.floats(-1e9, 1e9, width=32)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(anywhere, anywhere, anywhere, anywhere),
    st.lists(st.tuples(anywhere, anywhere), min_size=5, max_size=5),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_no_face_however_far_outside_breaks_the_drawing(box: Any, points: Any, width: int, height: int) -> None:
    canvas = draw(blank(width, height), found(face(box, points)), DrawOptions(), "d")
    assert canvas.shape == (height, width, 3)


def test_a_hundred_and_six_landmarks_are_white_dots_wherever_they_lie() -> None:
    places = np.array([[150, 150], [10.7, 20.2], [639, 479], [-5, 3], [1e9, -1e9]], np.float32)
    plain = face()
    dotted = Face(0, plain.box, plain.score, plain.landmarks, landmarks_106=places)
    canvas = draw(blank(), found(dotted), BOXES_ONLY, "d")
    for x, y in [(150, 150), (10, 20), (639, 479)]:
        assert canvas[y, x].tolist() == [255, 255, 255]
    assert (canvas != draw(blank(), found(plain), BOXES_ONLY, "d")).any(axis=2).sum() < 30
