from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.detector_networks import centerface_maps, mapped, plain_nms
from tests.networks import FixedSession, model_file, pictures
from visage.backends.onnx import open_session
from visage.errors import GraphRejected
from visage.faces import Detections, Floats, ImageBatch
from visage.families.centerface import FAMILY

SIZE = (96, 64)  # of the input: cells are 24 × 16


def empty(count: int) -> list[Floats]:
    """Heat, sizes, offsets and landmarks that find nothing."""
    return [np.zeros((count, channels, SIZE[1] // 4, SIZE[0] // 4), np.float32) for channels in (1, 2, 2, 10)]


def put(
    outputs: list[Floats],
    cell: tuple[int, int],
    score: float,
    *,
    image: int = 0,
    size: tuple[float, float] = (1, 1),
    offset: tuple[float, float] = (0, 0),
    points: Any = 0.0,
) -> None:
    """A face in the cell (row, column), `size` (height, width) in cells."""
    heat, sizes, offsets, landmarks = (out[image] for out in outputs)
    row, column = cell
    heat[0, row, column] = score
    sizes[:, row, column] = np.log(size)
    offsets[:, row, column] = offset
    landmarks[:, row, column] = points


def detect(
    outputs: list[Floats], thresholds: list[float], scales: list[float] | None = None, **params: Any
) -> list[Detections]:
    n = len(thresholds)
    batch = ImageBatch(np.zeros((n, SIZE[1], SIZE[0], 3), np.uint8), np.array(scales or [1.0] * n))
    found: list[Detections] = FAMILY.build(FixedSession(*outputs), params).detect(
        batch, np.array(thresholds, np.float32)
    )
    return found


def test_a_face_lies_around_the_middle_of_its_cell_with_rows_before_columns() -> None:
    outputs = empty(1)
    put(outputs, (7, 11), 0.9, size=(4, 2), offset=(0.25, -0.125))
    (found,) = detect(outputs, [0.5])

    x, y = (11 - 0.125 + 0.5) * 4, (7 + 0.25 + 0.5) * 4
    np.testing.assert_allclose(found.boxes, [[x - 4, y - 8, x + 4, y + 8]], rtol=1e-6)
    assert found.scores.tolist() == [np.float32(0.9)]
    assert found.boxes.dtype == found.scores.dtype == found.landmarks.dtype == np.float32


def test_landmarks_are_parts_of_the_box_with_rows_before_columns() -> None:
    outputs = empty(1)
    put(outputs, (7, 11), 0.9, size=(4, 2), points=np.arange(10) / 10)
    (found,) = detect(outputs, [0.5])

    left, top = found.boxes[0, :2]
    points = [[left + 8 * (2 * k + 1) / 10, top + 16 * (2 * k) / 10] for k in range(5)]
    np.testing.assert_allclose(found.landmarks[0], points, rtol=1e-6)


def test_a_box_that_begins_outside_is_moved_to_the_edge_with_its_landmarks() -> None:
    outputs = empty(1)
    put(outputs, (0, 0), 0.9, size=(4, 6), points=0.5)
    (found,) = detect(outputs, [0.5])

    np.testing.assert_allclose(found.boxes, [[0, 0, 24, 16]], rtol=1e-6)
    np.testing.assert_allclose(found.landmarks[0], [[12, 8]] * 5, rtol=1e-6)


def test_a_box_that_ends_outside_is_cut_and_its_landmarks_are_not_moved() -> None:
    outputs = empty(1)
    put(outputs, (15, 23), 0.9, size=(4, 6), points=0.5)
    (found,) = detect(outputs, [0.5])

    np.testing.assert_allclose(found.boxes, [[94 - 12, 62 - 8, 96, 64]], rtol=1e-6)
    np.testing.assert_allclose(found.landmarks[0], [[94, 62]] * 5, rtol=1e-6)


def test_boxes_and_landmarks_come_back_in_the_picture_s_own_pixels() -> None:
    outputs = empty(2)
    for image in (0, 1):
        put(outputs, (7, 11), 0.9, image=image, size=(4, 2), points=0.3)
    whole, half = detect(outputs, [0.5, 0.5], [1.0, 0.5])

    np.testing.assert_array_equal(half.boxes, whole.boxes * 2)
    np.testing.assert_array_equal(half.landmarks, whole.landmarks * 2)


def test_each_picture_of_a_batch_has_its_own_threshold() -> None:
    outputs = empty(3)
    for image in range(3):
        put(outputs, (2, 3), 0.4, image=image)
        put(outputs, (9, 20), 0.8, image=image)
    found = detect(outputs, [0.3, 0.6, 0.9])

    assert [len(image) for image in found] == [2, 1, 0]
    assert found[0].scores.tolist() == [np.float32(0.8), np.float32(0.4)]  # the best first
    assert found[2].boxes.shape == (0, 4) and found[2].landmarks.shape == (0, 5, 2)


def test_a_score_that_equals_the_threshold_is_not_above_it() -> None:
    outputs = empty(1)
    put(outputs, (2, 3), 0.6)

    assert len(detect(outputs, [0.6])[0]) == 0
    assert len(detect(outputs, [float(np.nextafter(np.float32(0.6), 0))])[0]) == 1


def test_a_score_that_is_no_number_is_no_face() -> None:
    outputs = empty(1)
    put(outputs, (2, 3), float("nan"))

    assert len(detect(outputs, [0.1])[0]) == 0


@pytest.mark.parametrize(("params", "kept"), [({}, 1), ({"overlap": 0.3}, 1), ({"overlap": 0.4}, 2)])
def test_the_overlap_is_0_3_unless_the_entry_says_otherwise_fault_17(params: dict[str, float], kept: int) -> None:
    outputs = empty(1)
    put(outputs, (7, 10), 0.9, size=(4, 4))  # 16 pixels wide
    put(outputs, (7, 12), 0.8, size=(4, 4))  # 8 to the right: a third is shared
    (found,) = detect(outputs, [0.5], **params)

    assert len(found) == kept


def test_a_file_of_one_picture_a_run_takes_any_number_of_them(tmp_path: Path) -> None:
    maps = centerface_maps()
    batch = ImageBatch(pictures(4, SIZE), np.array([1.0, 0.5, 2.0, 1.0]))
    thresholds = np.array([0.5, 0.5, 0.6, 0.99], np.float32)
    one, many = (
        FAMILY.build(open_session(model_file(mapped(tmp_path / f"{n}.onnx", maps, batch=n), FAMILY.preprocess)), {})
        for n in (1, "n")
    )
    assert (one.max_batch, many.max_batch) == (1, 0)

    apart, joined = one.detect(batch, thresholds), many.detect(batch, thresholds)
    assert [len(found) > 0 for found in joined[:2]] == [True, True]
    for alone, together in zip(apart, joined, strict=True):
        np.testing.assert_allclose(alone.boxes, together.boxes, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(alone.landmarks, together.landmarks, rtol=1e-4, atol=1e-3)


def test_the_whole_reading_equals_a_plain_one(tmp_path: Path) -> None:
    maps = centerface_maps()
    pixels = pictures(2, SIZE, seed=4)
    session = open_session(model_file(mapped(tmp_path / "a.onnx", maps), FAMILY.preprocess))
    found = FAMILY.build(session, {}).detect(ImageBatch(pixels, np.ones(2)), np.array([0.5, 0.5], np.float32))

    fed = FAMILY.preprocess(pixels)
    heat, sizes, offsets, points = (out(fed) for out in maps)
    for image in range(2):
        rows = []
        for r, c in np.argwhere(heat[image, 0] > np.float32(0.5)):
            (o0, o1), (h, w) = offsets[image, :, r, c], np.exp(sizes[image, :, r, c]) * 4
            x = max(0, (c + o1 + 0.5) * 4 - w / 2)
            y = max(0, (r + o0 + 0.5) * 4 - h / 2)
            marks = points[image, :, r, c].reshape(5, 2)[:, ::-1] * np.array([w, h]) + np.array([x, y])
            box = (x, y, min(x + w, SIZE[0]), min(y + h, SIZE[1]))
            rows.append((float(heat[image, 0, r, c]), *map(float, box), *map(float, marks.ravel())))
        kept = np.array(plain_nms(rows, 0.3))
        assert len(kept) > 1
        np.testing.assert_allclose(found[image].scores, kept[:, 0], atol=1e-5)
        np.testing.assert_allclose(found[image].boxes, kept[:, 1:5], rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(found[image].landmarks.reshape(-1, 10), kept[:, 5:], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    "outputs",
    [[], empty(1)[:3], [*empty(1), *empty(1)[:1]], empty(1)[::-1], [out[:, 0] for out in empty(1)]],
)
def test_other_outputs_are_rejected_with_their_shapes(outputs: list[Floats]) -> None:
    with pytest.raises(GraphRejected, match="maps of 1, 2, 2 and 10 channels") as caught:
        detect(outputs, [0.5])
    assert str([out.shape for out in outputs]) in str(caught.value)
