import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.networks import STRIDES, FixedSession
from visage.errors import GraphRejected
from visage.faces import Detections, Floats, ImageBatch
from visage.families.yunet import FAMILY

SIZE = (96, 64)
CELLS = [96 // s * (64 // s) for s in STRIDES]


def empty(count: int) -> list[Floats]:
    """Twelve outputs that find nothing: cls, obj, bbox, kps of the strides 8, 16, 32."""
    return [np.zeros((count, cells, columns), np.float32) for columns in (1, 1, 4, 10) for cells in CELLS]


def put(outputs: list[Floats], image: int, level: int, cell: int, score: float, deltas: list[float]) -> None:
    outputs[level][image, cell, 0] = outputs[3 + level][image, cell, 0] = score
    outputs[6 + level][image, cell] = deltas
    outputs[9 + level][image, cell] = np.arange(10) / 10


def random_outputs(seed: int, count: int = 1) -> list[Floats]:
    rng = np.random.default_rng(seed)
    outputs = [rng.uniform(-0.2, 1.2, out.shape).astype(np.float32) for out in empty(count)]  # scores leave 0…1
    for k in range(6, 9):
        outputs[k] = rng.normal(0, 0.8, outputs[k].shape).astype(np.float32)
    return outputs


def detect(session: FixedSession, thresholds: list[float], scales: list[float] | None = None) -> list[Detections]:
    n = len(thresholds)
    batch = ImageBatch(np.zeros((n, SIZE[1], SIZE[0], 3), np.uint8), np.array(scales or [1.0] * n))
    found: list[Detections] = FAMILY.build(session, {}).detect(batch, np.array(thresholds, np.float32))
    return found


def plain(outputs: list[Floats], image: int, threshold: float) -> list[tuple[float, list[float], list[float]]]:
    """OpenCV's FaceDetectorYN, cell by cell, and its NMS on whole pixels; score, corners, landmarks, the best first."""
    rows = []
    for level, stride in enumerate(STRIDES):
        cls, obj, deltas, points = (outputs[k + level][image].astype(np.float64) for k in (0, 3, 6, 9))
        for cell in range(CELLS[level]):
            row, column = divmod(cell, SIZE[0] // stride)
            score = math.sqrt(min(max(cls[cell, 0], 0), 1) * min(max(obj[cell, 0], 0), 1))
            if score < threshold:
                continue
            cx, cy = (column + deltas[cell, 0]) * stride, (row + deltas[cell, 1]) * stride
            w, h = math.exp(deltas[cell, 2]) * stride, math.exp(deltas[cell, 3]) * stride
            marks = [(points[cell, k] + (column, row)[k % 2]) * stride for k in range(10)]
            rows.append((score, [cx - w / 2, cy - h / 2, w, h], marks))
    rows.sort(key=lambda row: -row[0])
    kept: list[tuple[float, list[float], list[float]]] = []
    for row in rows:
        if all(_overlap(row[1], other[1]) <= 0.3 for other in kept):
            kept.append(row)
    return [(score, [x, y, x + w, y + h], marks) for score, (x, y, w, h), marks in kept]


def _overlap(a: list[float], b: list[float]) -> float:
    """Of OpenCV's integer rectangles: left, top, width and height are each cut to whole numbers."""
    ax, ay, aw, ah = (int(v) for v in a)
    bx, by, bw, bh = (int(v) for v in b)
    shared = max(0, min(ax + aw, bx + bw) - max(ax, bx)) * max(0, min(ay + ah, by + bh) - max(ay, by))
    union = aw * ah + bw * bh - shared
    return shared / union if union else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_the_reading_equals_a_plain_one(seed: int) -> None:
    outputs = random_outputs(seed)
    (found,) = detect(FixedSession(*outputs), [0.4])
    expected = plain(outputs, 0, 0.4)

    assert len(found) == len(expected) > 5
    np.testing.assert_allclose(found.scores, [row[0] for row in expected], atol=1e-6)
    np.testing.assert_allclose(found.boxes, [row[1] for row in expected], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.landmarks.reshape(-1, 10), [row[2] for row in expected], rtol=1e-4, atol=1e-3)


def test_a_cell_is_read_from_its_column_and_row() -> None:
    outputs = empty(1)
    put(outputs, 0, 1, 2 * 6 + 3, 0.81, [0.5, 0.25, 0.0, math.log(2)])  # row 2, column 3 of stride 16
    (found,) = detect(FixedSession(*outputs), [0.5])

    np.testing.assert_allclose(found.boxes, [[56 - 8, 36 - 16, 56 + 8, 36 + 16]], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [0.81], rtol=1e-6)
    np.testing.assert_allclose(found.landmarks[0, 1], [(3 + 0.2) * 16, (2 + 0.3) * 16], rtol=1e-6)


def test_a_score_is_the_root_of_both_parts_cut_to_0_and_1() -> None:
    outputs = empty(1)
    put(outputs, 0, 0, 0, 0.0, [0] * 4)
    outputs[0][0, 0, 0], outputs[3][0, 0, 0] = 7.0, 0.25
    outputs[0][0, 90, 0], outputs[3][0, 90, 0] = -7.0, -7.0
    (found,) = detect(FixedSession(*outputs), [0.3])

    assert found.scores.tolist() == [0.5]


def test_a_score_that_equals_the_threshold_is_a_face_as_in_opencv() -> None:
    outputs = empty(1)
    put(outputs, 0, 0, 10, 0.5, [0] * 4)

    assert len(detect(FixedSession(*outputs), [0.5])[0]) == 1
    assert len(detect(FixedSession(*outputs), [float(np.nextafter(np.float32(0.5), 1))])[0]) == 0


def _pair(first: list[float], second: list[float]) -> list[Floats]:
    """Two faces of stride 8 around the cells (2, 2) and (2, 3), with these left, top, width, height in pixels."""
    outputs = empty(1)
    for column, score, (left, top, width, height) in ((2, 0.9, first), (3, 0.8, second)):
        deltas = [
            (left + width / 2) / 8 - column,
            (top + height / 2) / 8 - 2,
            math.log(width / 8),
            math.log(height / 8),
        ]
        put(outputs, 0, 0, 2 * 12 + column, score, deltas)
    return outputs


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ([10.2, 10.2, 10.4, 10.4], [10.2, 15.3, 10.4, 10.4], 1),  # 5/15 on whole pixels
        ([10.2, 10.2, 10.4, 10.4], [10.2, 15.99, 10.4, 10.4], 1),  # 5/15 on whole pixels, 0.28 as they are
        ([10.2, 10.2, 10.4, 10.4], [10.2, 16.3, 10.4, 10.4], 2),  # 4/16 on whole pixels
        ([10.9, 10.2, 10.9, 10.4], [16.05, 10.2, 10.05, 10.4], 2),  # 4/16 on whole pixels, 0.38 as they are
    ],
)
def test_overlap_is_judged_on_opencv_s_whole_pixels(first: list[float], second: list[float], kept: int) -> None:
    (found,) = detect(FixedSession(*_pair(first, second)), [0.5])

    assert len(found) == kept
    np.testing.assert_allclose(
        found.boxes[0], [first[0], first[1], first[0] + first[2], first[1] + first[3]], rtol=1e-4
    )


def test_each_picture_of_a_batch_has_its_own_threshold_and_scale() -> None:
    outputs = random_outputs(3, count=3)
    found = detect(FixedSession(*outputs), [0.4, 0.7, 0.99], [1.0, 0.5, 2.0])

    for image, (threshold, scale) in enumerate([(0.4, 1.0), (0.7, 0.5), (0.99, 2.0)]):
        expected = plain(outputs, image, threshold)
        assert len(found[image]) == len(expected)
        boxes = np.array([row[1] for row in expected]).reshape(-1, 4) / scale
        np.testing.assert_allclose(found[image].boxes, boxes, rtol=1e-4, atol=1e-3)
    assert found[0].boxes.dtype == found[0].landmarks.dtype == found[0].scores.dtype == np.float32


def test_a_file_of_one_picture_a_run_takes_any_number_of_them() -> None:
    outputs = random_outputs(4, count=3)
    together = detect(FixedSession(*outputs), [0.5] * 3)
    session = FixedSession(*outputs, max_batch=1)
    apart = detect(session, [0.5] * 3)

    assert session.runs == [1, 1, 1]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)


def test_the_strides_of_each_output_may_come_in_any_order() -> None:
    outputs = random_outputs(5)
    (expected,) = detect(FixedSession(*outputs), [0.5])
    coarse_first = [outputs[k + level] for k in (0, 3, 6, 9) for level in (2, 0, 1)]
    (found,) = detect(FixedSession(*coarse_first), [0.5])

    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_no_face_is_an_empty_answer() -> None:
    (found,) = detect(FixedSession(*empty(1)), [0.5])

    assert (found.boxes.shape, found.scores.shape, found.landmarks.shape) == ((0, 4), (0,), (0, 5, 2))


def test_a_score_that_is_no_number_is_no_face() -> None:
    outputs = empty(1)
    put(outputs, 0, 0, 10, float("nan"), [0] * 4)

    assert len(detect(FixedSession(*outputs), [0.1])[0]) == 0


@pytest.mark.parametrize("count", [0, 1, 9, 11, 13])
def test_another_number_of_outputs_is_rejected(count: int) -> None:
    arrays: list[NDArray[np.float32]] = (empty(1) * 2)[:count]
    with pytest.raises(GraphRejected, match=f"12 outputs, this one {count}"):
        detect(FixedSession(*arrays), [0.5])
