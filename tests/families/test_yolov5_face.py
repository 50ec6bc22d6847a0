from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.detector_networks import ROW_SCALE, Map, decoded, plain_nms
from tests.networks import FixedSession, model_file, pictures
from visage.backends.onnx import open_session
from visage.errors import GraphRejected
from visage.faces import Detections, ImageBatch
from visage.families.yolov5_face import FAMILY

SIZE = (96, 64)


def row(score: float, box: tuple[float, float, float, float], *, face: float = 1.0) -> list[float]:
    """A proposal: `box` centre and size, landmarks 0 … 9, `face` the probability of its class."""
    return [*box, score, *range(10), face]


def detect(
    *images: list[list[float]], thresholds: list[float], scales: list[float] | None = None, **params: Any
) -> list[Detections]:
    output = np.array(images, np.float32)  # (N, n, 16)
    n = len(images)
    batch = ImageBatch(np.zeros((n, SIZE[1], SIZE[0], 3), np.uint8), np.array(scales or [1.0] * n))
    detector = FAMILY.build(FixedSession(output), params)
    found: list[Detections] = detector.detect(batch, np.array(thresholds, np.float32))
    return found


def test_a_row_is_a_centre_a_size_a_score_and_landmarks_in_pixels() -> None:
    (found,) = detect([row(0.9, (40, 30, 10, 20))], thresholds=[0.5])

    assert found.boxes.tolist() == [[35, 20, 45, 40]]
    assert found.scores.tolist() == [np.float32(0.9)]
    assert found.landmarks.tolist() == [[[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]]
    assert found.boxes.dtype == found.scores.dtype == found.landmarks.dtype == np.float32


def test_the_score_is_the_objectness_unless_the_entry_asks_for_the_class_too() -> None:
    rows = [row(0.9, (20, 20, 8, 8), face=0.5), row(0.8, (60, 20, 8, 8), face=0.75)]
    (plain,) = detect(rows, thresholds=[0.5])
    (product,) = detect(rows, thresholds=[0.5], class_score=True)

    assert plain.scores.tolist() == [np.float32(0.9), np.float32(0.8)]
    assert product.scores.tolist() == [np.float32(0.8) * np.float32(0.75)]
    assert product.boxes.tolist() == [[56, 16, 64, 24]]


def test_boxes_and_landmarks_come_back_in_the_picture_s_own_pixels() -> None:
    rows = [row(0.9, (40, 30, 10, 20))]
    whole, half = detect(rows, rows, thresholds=[0.5, 0.5], scales=[1.0, 0.5])

    np.testing.assert_array_equal(half.boxes, whole.boxes * 2)
    np.testing.assert_array_equal(half.landmarks, whole.landmarks * 2)


def test_each_picture_of_a_batch_has_its_own_threshold() -> None:
    rows = [row(0.4, (20, 20, 8, 8)), row(0.8, (60, 20, 8, 8))]
    found = detect(rows, rows, rows, thresholds=[0.3, 0.6, 0.9])

    assert [len(image) for image in found] == [2, 1, 0]
    assert found[0].scores.tolist() == [np.float32(0.8), np.float32(0.4)]  # the best first
    assert found[2].boxes.shape == (0, 4) and found[2].landmarks.shape == (0, 5, 2)


def test_a_score_that_equals_the_threshold_is_a_face() -> None:
    rows = [row(0.6, (20, 20, 8, 8))]

    assert len(detect(rows, thresholds=[0.6])[0]) == 1
    assert len(detect(rows, thresholds=[float(np.nextafter(np.float32(0.6), 1))])[0]) == 0


def test_a_score_that_is_no_number_is_no_face() -> None:
    assert len(detect([row(float("nan"), (20, 20, 8, 8))], thresholds=[0.1])[0]) == 0


@pytest.mark.parametrize(("params", "kept"), [({}, 2), ({"overlap": 0.4}, 2), ({"overlap": 0.3}, 1)])
def test_the_overlap_is_0_4_unless_the_entry_says_otherwise_fault_17(params: dict[str, float], kept: int) -> None:
    rows = [row(0.8, (38, 30, 16, 16)), row(0.9, (30, 30, 16, 16))]  # a third is shared
    (found,) = detect(rows, thresholds=[0.5], **params)

    assert found.scores.tolist() == [np.float32(0.9), np.float32(0.8)][:kept]


def test_a_file_of_one_picture_a_run_takes_any_number_of_them(tmp_path: Path) -> None:
    cells = Map.of("output", 8, 16)
    batch = ImageBatch(pictures(4, SIZE), np.array([1.0, 0.5, 2.0, 1.0]))
    thresholds = np.array([0.3, 0.3, 0.4, 0.99], np.float32)
    one, many = (
        FAMILY.build(open_session(model_file(decoded(tmp_path / f"{n}.onnx", cells, batch=n), FAMILY.preprocess)), {})
        for n in (1, "n")
    )
    assert (one.max_batch, many.max_batch) == (1, 0)

    apart, joined = one.detect(batch, thresholds), many.detect(batch, thresholds)
    assert [len(found) > 0 for found in joined] == [True, True, True, False]
    for alone, together in zip(apart, joined, strict=True):
        np.testing.assert_allclose(alone.boxes, together.boxes, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(alone.landmarks, together.landmarks, rtol=1e-4, atol=1e-3)


def test_the_whole_reading_equals_a_plain_one(tmp_path: Path) -> None:
    pixels = pictures(2, SIZE, seed=4)
    fed = FAMILY.preprocess(pixels)
    weights = np.random.default_rng(2).normal(0, 80, (16, 3)).astype(np.float32)
    cells = Map("output", 8, True, weights, -weights @ fed.mean(axis=(0, 2, 3)))  # cells differ enough to lie apart
    session = open_session(model_file(decoded(tmp_path / "a.onnx", cells), FAMILY.preprocess))
    found = FAMILY.build(session, {}).detect(ImageBatch(pixels, np.ones(2)), np.array([0.4, 0.4], np.float32))

    outputs = cells(fed).transpose(0, 2, 3, 1).reshape(2, -1, 16) * ROW_SCALE
    for image in range(2):
        rows = [
            tuple(map(float, (score, x - w / 2, y - h / 2, x + w / 2, y + h / 2, *points)))
            for x, y, w, h, score, *points, _ in outputs[image]
            if score >= np.float32(0.4)
        ]
        kept = np.array(plain_nms(rows, 0.4))
        assert 1 < len(kept) < len(rows)
        np.testing.assert_allclose(found[image].scores, kept[:, 0], atol=1e-5)
        np.testing.assert_allclose(found[image].boxes, kept[:, 1:5], rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(found[image].landmarks.reshape(-1, 10), kept[:, 5:], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("shapes", [[], [(1, 9, 15)], [(1, 9, 16), (1, 9, 16)], [(9, 16)], [(1, 3, 8, 8, 16)]])
def test_other_outputs_are_rejected_with_their_shapes(shapes: list[tuple[int, ...]]) -> None:
    detector = FAMILY.build(FixedSession(*(np.zeros(shape, np.float32) for shape in shapes)), {})
    with pytest.raises(GraphRejected, match=r"one output \(N, n, 16\)") as caught:
        detector.detect(ImageBatch(np.zeros((1, 64, 96, 3), np.uint8), np.ones(1)), np.array([0.5], np.float32))
    assert str(shapes) in str(caught.value)
