import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.networks import STRIDES, FixedSession, dense, model_file, pictures, scrfd_heads
from visage.backends.onnx import open_session
from visage.errors import GraphRejected
from visage.faces import Detections, Floats, ImageBatch
from visage.families.scrfd import FAMILY

SIZE = (96, 64)  # of the input: cells of stride 8 are 12 × 8
ROWS = [96 // s * (64 // s) * 2 for s in STRIDES]


def empty(count: int) -> list[Floats]:
    """Nine outputs that find nothing: scores, distances, offsets of the strides 8, 16, 32."""
    return [np.zeros((count, rows, columns), np.float32) for columns in (1, 4, 10) for rows in ROWS]


def put(outputs: list[Floats], image: int, level: int, row: int, score: float, distances: list[float]) -> None:
    outputs[level][image, row, 0] = score
    outputs[3 + level][image, row] = distances
    outputs[6 + level][image, row] = np.arange(10)


def detect(session: FixedSession, thresholds: list[float], scales: list[float] | None = None) -> list[Detections]:
    n = len(thresholds)
    batch = ImageBatch(np.zeros((n, SIZE[1], SIZE[0], 3), np.uint8), np.array(scales or [1.0] * n))
    found: list[Detections] = FAMILY.build(session, {}).detect(batch, np.array(thresholds, np.float32))
    return found


def test_a_row_is_read_from_its_cell_s_top_left_corner_in_strides() -> None:
    outputs = empty(1)
    put(outputs, 0, 0, 2 * (3 * 12 + 5) + 1, 0.9, [1, 2, 3, 4])  # second anchor of the cell in row 3, column 5
    (found,) = detect(FixedSession(*outputs), [0.5])

    assert found.boxes.tolist() == [[40 - 8, 24 - 16, 40 + 24, 24 + 32]]
    assert found.scores.tolist() == [np.float32(0.9)]
    assert found.landmarks.tolist() == [[[40 + 8 * (2 * k), 24 + 8 * (2 * k + 1)] for k in range(5)]]
    assert found.boxes.dtype == found.scores.dtype == found.landmarks.dtype == np.float32


@pytest.mark.parametrize(("level", "columns"), [(0, 12), (1, 6), (2, 3)])
def test_every_stride_has_its_own_columns(level: int, columns: int) -> None:
    stride = STRIDES[level]
    outputs = empty(1)
    put(outputs, 0, level, 2 * (columns + 2), 0.9, [0.25] * 4)  # row 1, column 2
    (found,) = detect(FixedSession(*outputs), [0.5])

    x, y, d = 2 * stride, stride, stride / 4
    assert found.boxes.tolist() == [[x - d, y - d, x + d, y + d]]


def test_boxes_and_landmarks_come_back_in_the_picture_s_own_pixels() -> None:
    outputs = empty(2)
    for image in (0, 1):
        put(outputs, image, 1, 2 * (6 + 2), 0.9, [0.5] * 4)
    whole, half = detect(FixedSession(*outputs), [0.5, 0.5], [1.0, 0.5])

    np.testing.assert_array_equal(half.boxes, whole.boxes * 2)
    np.testing.assert_array_equal(half.landmarks, whole.landmarks * 2)


def test_each_picture_of_a_batch_has_its_own_threshold() -> None:
    outputs = empty(3)
    for image in range(3):
        put(outputs, image, 0, 10, 0.4, [1] * 4)
        put(outputs, image, 0, 110, 0.8, [1] * 4)
    found = detect(FixedSession(*outputs), [0.3, 0.6, 0.9])

    assert [len(image) for image in found] == [2, 1, 0]
    assert found[0].scores.tolist() == [np.float32(0.8), np.float32(0.4)]  # the best first
    assert found[2].boxes.shape == (0, 4) and found[2].landmarks.shape == (0, 5, 2)


def test_a_score_that_equals_the_threshold_is_not_above_it() -> None:
    outputs = empty(1)
    put(outputs, 0, 0, 10, 0.6, [1] * 4)

    assert len(detect(FixedSession(*outputs), [0.6])[0]) == 0
    assert len(detect(FixedSession(*outputs), [float(np.nextafter(np.float32(0.6), 0))])[0]) == 1


def test_a_score_that_is_no_number_is_no_face() -> None:
    outputs = empty(1)
    put(outputs, 0, 0, 10, float("nan"), [1] * 4)

    assert len(detect(FixedSession(*outputs), [0.1])[0]) == 0


def test_of_two_boxes_that_overlap_the_better_one_stays_across_strides() -> None:
    outputs = empty(1)
    put(outputs, 0, 0, 2 * (4 * 12 + 4), 0.7, [2, 2, 2, 2])  # 16…48 × 16…48
    put(outputs, 0, 1, 2 * (2 * 6 + 2), 0.9, [1, 1, 1, 1])  # the same box, of stride 16
    put(outputs, 0, 2, 2 * (1 * 3 + 2), 0.8, [0.25] * 4)  # elsewhere
    (found,) = detect(FixedSession(*outputs), [0.5])

    assert found.scores.tolist() == [np.float32(0.9), np.float32(0.8)]


@pytest.mark.parametrize(("overlap", "kept"), [(None, 2), (0.4, 2), (0.3, 1)])
def test_the_overlap_is_0_4_unless_the_entry_says_otherwise_fault_17(overlap: float | None, kept: int) -> None:
    outputs = empty(1)
    put(outputs, 0, 0, 2 * (4 * 12 + 3), 0.9, [1, 1, 3, 1])  # 16…48 × 24…40
    put(outputs, 0, 0, 2 * (4 * 12 + 6), 0.8, [2, 1, 2, 1])  # 32…64 × 24…40: a third is shared
    session = FixedSession(*outputs)
    detector = FAMILY.build(session, {} if overlap is None else {"overlap": overlap})
    batch = ImageBatch(np.zeros((1, SIZE[1], SIZE[0], 3), np.uint8), np.ones(1))

    assert len(detector.detect(batch, np.array([0.5], np.float32))[0]) == kept


def test_outputs_are_told_apart_by_their_shapes_in_whatever_order_they_come() -> None:
    outputs = empty(1)
    for level, row in enumerate((30, 14, 2)):
        put(outputs, 0, level, row, 0.9 - level / 10, [0.3, 0.2, 0.4, 0.5])
    (expected,) = detect(FixedSession(*outputs), [0.5])
    assert len(expected) == 3

    by_stride = [outputs[i] for i in (0, 3, 6, 1, 4, 7, 2, 5, 8)]
    shuffles = [np.random.default_rng(seed).permutation(9) for seed in range(10)]
    for order in (by_stride, outputs[::-1], *([outputs[i] for i in shuffle] for shuffle in shuffles)):
        (found,) = detect(FixedSession(*order), [0.5])
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.landmarks, expected.landmarks)


def test_outputs_without_a_batch_axis_are_one_picture() -> None:
    outputs = empty(1)
    put(outputs, 0, 1, 14, 0.9, [1] * 4)
    (expected,) = detect(FixedSession(*outputs), [0.5])
    (found,) = detect(FixedSession(*(out[0] for out in outputs)), [0.5])

    np.testing.assert_array_equal(found.boxes, expected.boxes)
    assert len(found) == 1


@pytest.mark.parametrize("flat", [False, True])
def test_a_file_of_one_picture_a_run_takes_any_number_of_them(tmp_path: Path, flat: bool) -> None:
    heads = scrfd_heads()
    batch = ImageBatch(pictures(4, SIZE), np.array([1.0, 0.5, 2.0, 1.0]))
    thresholds = np.array([0.5, 0.5, 0.6, 0.99], np.float32)
    found = []
    for name, axis in (("one", 1), ("any", "n")):
        path = dense(tmp_path / f"{name}.onnx", heads, batch=axis, flat=flat and name == "one")
        session = open_session(model_file(path, FAMILY.preprocess))
        found.append(FAMILY.build(session, {}).detect(batch, thresholds))
    assert [len(image) > 0 for image in found[1]][:2] == [True, True]

    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(one.landmarks, other.landmarks, rtol=1e-4, atol=1e-3)


def test_the_whole_reading_equals_a_plain_one(tmp_path: Path) -> None:
    pixels = pictures(2, SIZE, seed=4)
    session = open_session(model_file(dense(tmp_path / "a.onnx", scrfd_heads()), FAMILY.preprocess))
    found = FAMILY.build(session, {}).detect(ImageBatch(pixels, np.ones(2)), np.array([0.55, 0.55], np.float32))

    outputs = session.run(pixels)
    for image in range(2):
        rows = []
        for level, stride in enumerate(STRIDES):
            scores, distances = outputs[level][image, :, 0], outputs[3 + level][image]
            for i, (score, (left, top, right, bottom)) in enumerate(zip(scores, distances, strict=True)):
                y, x = divmod(i // 2, SIZE[0] // stride)
                box = (x - left, y - top, x + right, y + bottom)
                if score > np.float32(0.55):
                    rows.append((score, *(stride * side for side in box)))
        kept: list[tuple[float, ...]] = []
        for row in sorted(rows, key=lambda row: -row[0]):
            if all(_overlap(row[1:], other[1:]) <= 0.4 for other in kept):
                kept.append(row)
        assert kept
        np.testing.assert_allclose(found[image].boxes, [row[1:] for row in kept], rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(found[image].scores, [row[0] for row in kept], atol=1e-5)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union; a box counts its last pixel, as in InsightFace."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("count", [0, 1, 6, 8, 10, 12])
def test_another_number_of_outputs_is_rejected(count: int) -> None:
    outputs = list(itertools.islice(itertools.cycle(empty(1)), count))
    with pytest.raises(GraphRejected, match=f"9 outputs, this one {count}"):
        detect(FixedSession(*outputs), [0.5])


def test_outputs_of_another_width_are_rejected() -> None:
    outputs = [np.zeros((1, rows, columns), np.float32) for columns in (1, 4, 9) for rows in ROWS]
    with pytest.raises(GraphRejected, match="3 outputs of 10 columns, this one 0"):
        detect(FixedSession(*outputs), [0.5])
