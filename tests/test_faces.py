import dataclasses

import numpy as np
import pytest

from visage.faces import Detections, Image, ImageBatch, MaskScores


def three() -> Detections:
    boxes = np.array([[0, 0, 10, 20], [5, 5, 6, 7], [-4, -4, 4, 4]], np.float32)
    return Detections(boxes, np.array([0.9, 0.5, 0.3], np.float32), np.zeros((3, 5, 2), np.float32))


def test_an_images_sides_are_those_of_its_array() -> None:
    image = Image(np.zeros((480, 640, 3), np.uint8))
    assert (image.width, image.height) == (640, 480)


def test_faces_are_counted_measured_and_chosen_together() -> None:
    found = three()
    assert len(found) == 3
    assert found.widths().tolist() == [10, 1, 8]
    assert found.areas().tolist() == [200, 2, 64]
    sure = found[found.scores > 0.4]
    assert sure.boxes.tolist() == [[0, 0, 10, 20], [5, 5, 6, 7]]
    assert found[np.array([2, 0])].scores.tolist() == pytest.approx([0.3, 0.9])
    assert len(found[:0]) == 0


def test_mask_probabilities_are_chosen_with_their_faces() -> None:
    found = three()
    assert found.masks is None and found[:2].masks is None
    masked = Detections(found.boxes, found.scores, found.landmarks, np.array([0.1, 0.2, 0.3], np.float32))
    chosen = [masked[which].masks for which in (np.array([2, 0]), masked.scores > 0.4, slice(0))]
    assert [None if masks is None else masks.tolist() for masks in chosen] == [
        pytest.approx([0.3, 0.1]),
        pytest.approx([0.1, 0.2]),
        [],
    ]


@pytest.mark.parametrize("masks", [(2,), (4,), (3, 1)])
def test_mask_probabilities_that_do_not_belong_to_the_faces_are_refused(masks: tuple[int, ...]) -> None:
    found = three()
    with pytest.raises(ValueError, match="3 scores with masks"):
        Detections(found.boxes, found.scores, found.landmarks, np.zeros(masks, np.float32))


def test_no_face_is_a_value_like_any_other() -> None:
    nobody = Detections.none()
    assert len(nobody) == 0
    assert nobody.widths().shape == nobody.areas().shape == (0,)


@pytest.mark.parametrize(
    ("boxes", "scores", "landmarks"),
    [((2, 4), (3,), (3, 5, 2)), ((3, 4), (3,), (2, 5, 2)), ((3, 5), (3,), (3, 5, 2)), ((3, 4), (3,), (3, 10))],
)
def test_arrays_that_do_not_belong_together_are_refused(
    boxes: tuple[int, ...], scores: tuple[int, ...], landmarks: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="3 scores"):
        Detections(np.zeros(boxes, np.float32), np.zeros(scores, np.float32), np.zeros(landmarks, np.float32))


def test_a_batch_has_one_scale_a_picture() -> None:
    assert len(ImageBatch(np.zeros((2, 32, 32, 3), np.uint8), np.ones(2))) == 2
    with pytest.raises(ValueError, match="scales"):
        ImageBatch(np.zeros((2, 32, 32, 3), np.uint8), np.ones(3))
    with pytest.raises(ValueError, match="pixels"):
        ImageBatch(np.zeros((32, 32, 3), np.uint8), np.ones(32))


@pytest.mark.parametrize(
    ("mask", "no_mask", "worn"),
    [(0.89, 0.11, True), (0.8899, 0.11, False), (0.98, 0.02, True), (0.02, 0.98, False), (0.9, 0.9, False)],
)
def test_a_mask_is_worn_when_it_is_likelier_than_none_and_sure(mask: float, no_mask: float, worn: bool) -> None:
    assert MaskScores(mask, no_mask).worn is worn


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        three().scores = np.zeros(3, np.float32)  # type: ignore[misc]
