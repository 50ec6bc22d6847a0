import logging
from contextlib import nullcontext

import numpy as np
import pytest

from tests.networks import Embedder, FixedSession
from tests.support import ConstantDetector
from visage.backends.base import Sizes
from visage.errors import SelfTestFailed
from visage.faces import Detections, Floats, Image, ImageBatch
from visage.families import arcface, landmarks106
from visage.geometry.alignment import TEMPLATE, alignment_matrices
from visage.images.decoding import Decoder, Limits
from visage.selftest import FACE, LANDMARKS, Known, check, detector_numbers, embedder_numbers, landmark_numbers
from visage.zoo.sources import data_file

PICTURE = Decoder(Limits()).decode(data_file("selftest.png").read_bytes())


def test_the_picture_is_the_one_that_the_landmarks_were_read_from() -> None:
    assert (PICTURE.width, PICTURE.height) == (240, 240)
    carried = LANDMARKS[0] @ alignment_matrices(LANDMARKS)[0][:, :2].T + alignment_matrices(LANDMARKS)[0][:, 2]
    assert np.abs(carried - TEMPLATE).max() < 6  # a face, seen from the front


def test_a_detector_s_numbers_are_the_best_box_as_parts_of_the_picture_and_its_score() -> None:
    numbers = detector_numbers(ConstantDetector(), PICTURE)

    assert numbers == pytest.approx([100 / 240, 100 / 240, 200.7 / 240, 230 / 240, 0.91])


def test_the_detector_is_asked_at_a_size_that_it_takes() -> None:
    class Asked(ConstantDetector):
        sizes = Sizes((128, 96))

        def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
            assert images.pixels.shape == (1, 96, 128, 3) and images.scales.tolist() == [0.4]
            return [Detections.none()]

    assert detector_numbers(Asked(), PICTURE) == []


def test_an_embedder_s_numbers_are_the_first_five_of_the_aligned_face() -> None:
    raw = np.arange(1, 9, dtype=np.float32)[None]
    numbers = embedder_numbers(arcface.build(FixedSession(raw), {}), PICTURE)

    assert numbers == pytest.approx(list(raw[0, :5] / np.linalg.norm(raw)))


def test_an_embedder_s_numbers_do_not_depend_on_a_detector() -> None:
    class Means(FixedSession):
        def run(self, pixels: np.ndarray, /) -> tuple[Floats, ...]:
            return (Embedder.of(8)(pixels.transpose(0, 3, 1, 2).astype(np.float32)),)

    numbers = embedder_numbers(arcface.build(Means(), {}), PICTURE)
    darker = embedder_numbers(arcface.build(Means(), {}), Image(PICTURE.pixels[::-1].copy()))
    assert len(numbers) == 5 and numbers != darker


def test_known_numbers_within_the_tolerance_pass() -> None:
    check("a", [0.5, -0.25], Known([0.509, -0.241], 0.01), "x")
    check("a", [], Known([], 0.01), "x")


@pytest.mark.parametrize(
    ("got", "known", "said"),
    [
        ([0.5, 0.25], [0.5, 0.3], "a, computed by x, failed its self-test: number 1 is 0.2500, not 0.3000 ± 0.01"),
        ([], [0.5], "a, computed by x, failed its self-test: 0 numbers, 1 expected"),
        ([0.5, 0.5], [0.5], "a, computed by x, failed its self-test: 2 numbers, 1 expected"),
        ([float("nan")], [0.5], "a, computed by x, failed its self-test: it returns numbers that are not finite"),
        ([float("inf")], None, "a, computed by x, failed its self-test: it returns numbers that are not finite"),
    ],
)
def test_other_numbers_are_rejected_with_the_first_difference(
    got: list[float], known: list[float] | None, said: str
) -> None:
    with pytest.raises(SelfTestFailed) as caught:
        check("a", got, None if known is None else Known(known, 0.01), "x")
    assert str(caught.value).startswith(said)


def test_whose_word_the_known_numbers_are_is_said() -> None:
    with pytest.raises(SelfTestFailed, match=r"not 0\.3000 ± 0\.01 as by the book; the file"):
        check("a", [0.25], Known([0.3], 0.01, "the book"), "x")


@pytest.mark.parametrize(
    ("tolerance", "off", "passes"), [(0.001, 0.004, True), (0.001, 0.006, False), (1.0, 0.9, True)]
)
def test_half_precision_may_be_off_by_more_but_not_by_much(tolerance: float, off: float, passes: bool) -> None:
    known = Known([0.5], tolerance)
    with nullcontext() if passes else pytest.raises(SelfTestFailed, match=r"± 0\.005"):
        check("a", [0.5 + off], known.halved(), "x")
    if tolerance < off:
        with pytest.raises(SelfTestFailed):
            check("a", [0.5 + off], known, "x")


def test_a_network_without_known_numbers_passes_and_is_said_to_be_unchecked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check("a", [0.5], None, "x")
        assert "a: the catalogue has no known numbers" in caplog.text
        check("b", [], None, "x")
    assert "b finds no face on the self-test picture" in caplog.text


def landmarks_at(x: float, y: float) -> list[float]:
    """The numbers of a network that places all landmarks in this part of any crop."""
    raw = np.tile(np.array([2 * x - 1, 2 * y - 1], np.float32), 106)[None]
    return landmark_numbers(landmarks106.build(FixedSession(raw), {}), PICTURE)


def test_a_landmark_network_s_numbers_are_its_first_place_the_middle_and_the_spread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = np.random.default_rng(4).uniform(-0.5, 0.5, (1, 212)).astype(np.float32)
    numbers = landmark_numbers(landmarks106.build(FixedSession(raw), {}), PICTURE)
    places = (raw.reshape(106, 2) + 1) / 2
    assert numbers == pytest.approx([*places[0], *places.mean(axis=0), places.std()], abs=1e-5)
    assert caplog.text == ""


@pytest.mark.parametrize(("place", "said"), [((0.5, 0.6), False), ((0.75, 0.5), True), ((0.5, 0.1), True)])
def test_landmarks_far_from_the_middle_of_the_crop_are_remarked_upon(
    caplog: pytest.LogCaptureFixture, place: tuple[float, float], said: bool
) -> None:
    landmarks_at(*place)
    assert ("(LANDMARKS_NAME) places them around" in caplog.text) == said


def test_the_face_s_box_holds_its_landmarks() -> None:
    assert (FACE.landmarks is LANDMARKS) and (FACE.boxes[0, :2] < LANDMARKS[0].min(axis=0)).all()
    assert (FACE.boxes[0, 2:] > LANDMARKS[0].max(axis=0)).all()
