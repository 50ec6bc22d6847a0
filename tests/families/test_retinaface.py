from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.detector_networks import mapped, plain_nms, retinaface_maps
from tests.networks import STRIDES, FixedSession, model_file, pictures
from visage.backends.onnx import open_session
from visage.errors import GraphRejected
from visage.faces import Detections, Floats, ImageBatch
from visage.families.retinaface import FAMILY

SIZE = (96, 64)  # of the input: cells of stride 8 are 12 × 8
CHANNELS = (4, 8, 20, 6)  # classes, boxes, landmarks, types
SIDES = {8: (32, 16), 16: (128, 64), 32: (512, 256)}


def empty(count: int, *, masks: bool = False) -> list[Floats]:
    """Outputs that find nothing, strides 32, 16, 8 as the published files order them."""
    kinds = CHANNELS if masks else CHANNELS[:3]
    return [np.zeros((count, c, SIZE[1] // s, SIZE[0] // s), np.float32) for s in reversed(STRIDES) for c in kinds]


def put(
    outputs: list[Floats],
    cell: tuple[int, int],
    score: float,
    *,
    image: int = 0,
    stride: int = 8,
    anchor: int = 1,
    deltas: tuple[float, ...] = (0, 0, 0, 0),
    mask: float = 0,
) -> None:
    """A face in the cell (row, column); its ten landmark numbers are 0, 0.1 … 0.9."""
    row, column = cell
    classes, boxes, landmarks, *types = [out[image] for out in outputs if out.shape[3] == SIZE[0] // stride]
    classes[2 + anchor, row, column] = score
    boxes[4 * anchor : 4 * anchor + 4, row, column] = deltas
    landmarks[10 * anchor : 10 * anchor + 10, row, column] = np.arange(10) / 10
    for kind in types:
        kind[4 + anchor, row, column] = mask


def detect(
    outputs: list[Floats], thresholds: list[float], scales: list[float] | None = None, **params: Any
) -> list[Detections]:
    n = len(thresholds)
    batch = ImageBatch(np.zeros((n, SIZE[1], SIZE[0], 3), np.uint8), np.array(scales or [1.0] * n))
    found: list[Detections] = FAMILY.build(FixedSession(*outputs), params).detect(
        batch, np.array(thresholds, np.float32)
    )
    return found


def test_an_anchor_covers_16_pixels_times_its_scale_around_pixel_7_5_of_its_cell() -> None:
    outputs = empty(1)
    put(outputs, (3, 5), 0.9)
    (found,) = detect(outputs, [0.5])

    assert found.boxes.tolist() == [[40, 24, 55, 39]]  # 16 pixels wide, its last one counted
    assert found.scores.tolist() == [np.float32(0.9)]
    points = [[47.5 + 16 * (2 * k / 10), 31.5 + 16 * ((2 * k + 1) / 10)] for k in range(5)]
    np.testing.assert_allclose(found.landmarks[0], points, rtol=1e-6)
    assert found.boxes.dtype == found.scores.dtype == found.landmarks.dtype == np.float32


@pytest.mark.parametrize(("stride", "anchor"), [(s, a) for s in STRIDES for a in (0, 1)])
def test_every_stride_has_its_own_cells_and_two_anchors(stride: int, anchor: int) -> None:
    outputs = empty(1)
    put(outputs, (1, 2), 0.9, stride=stride, anchor=anchor)
    (found,) = detect(outputs, [0.5])

    half = (SIDES[stride][anchor] - 1) / 2
    x, y = 2 * stride + 7.5, stride + 7.5
    assert found.boxes.tolist() == [[x - half, y - half, x + half, y + half]]


def test_deltas_move_the_centre_by_sides_and_stretch_the_sides_by_exponents() -> None:
    outputs = empty(1)
    put(outputs, (3, 5), 0.9, deltas=(0.5, -0.25, float(np.log(2)), float(np.log(3))))
    (found,) = detect(outputs, [0.5])

    x, y = 47.5 + 8, 31.5 - 4
    np.testing.assert_allclose(found.boxes, [[x - 15.5, y - 23.5, x + 15.5, y + 23.5]], rtol=1e-6)


@pytest.mark.parametrize(("params", "std"), [({}, 1.0), ({"landmark_std": 0.2}, 0.2)])
def test_landmarks_are_in_units_of_the_entry_s_landmark_std(params: dict[str, float], std: float) -> None:
    outputs = empty(1)
    put(outputs, (0, 0), 0.9)
    (found,) = detect(outputs, [0.5], **params)

    expected = 7.5 + 16 * std * np.arange(10).reshape(5, 2) / 10
    np.testing.assert_allclose(found.landmarks[0], expected, rtol=1e-6)
    assert found.boxes.tolist() == [[0, 0, 15, 15]]  # and boxes are not


def test_the_background_s_probability_is_no_score() -> None:
    outputs = empty(1)
    for out in outputs:
        if out.shape[1] == 4:
            out[:, :2] = 0.99

    assert len(detect(outputs, [0.1])[0]) == 0


def test_boxes_and_landmarks_come_back_in_the_picture_s_own_pixels() -> None:
    outputs = empty(2, masks=True)
    for image in (0, 1):
        put(outputs, (2, 2), 0.9, image=image, mask=0.7)
    whole, half = detect(outputs, [0.5, 0.5], [1.0, 0.5])

    np.testing.assert_array_equal(half.boxes, whole.boxes * 2)
    np.testing.assert_array_equal(half.landmarks, whole.landmarks * 2)
    assert half.masks is not None and half.masks.tolist() == [np.float32(0.7)]


def test_each_picture_of_a_batch_has_its_own_threshold() -> None:
    outputs = empty(3)
    for image in range(3):
        put(outputs, (0, 0), 0.4, image=image)
        put(outputs, (6, 9), 0.8, image=image)
    found = detect(outputs, [0.3, 0.6, 0.9])

    assert [len(image) for image in found] == [2, 1, 0]
    assert found[0].scores.tolist() == [np.float32(0.8), np.float32(0.4)]  # the best first
    assert found[2].boxes.shape == (0, 4) and found[2].landmarks.shape == (0, 5, 2)


def test_a_score_that_equals_the_threshold_is_a_face() -> None:
    outputs = empty(1)
    put(outputs, (0, 0), 0.6)

    assert len(detect(outputs, [0.6])[0]) == 1
    assert len(detect(outputs, [float(np.nextafter(np.float32(0.6), 1))])[0]) == 0


def test_a_score_that_is_no_number_is_no_face() -> None:
    outputs = empty(1)
    put(outputs, (0, 0), float("nan"))

    assert len(detect(outputs, [0.1])[0]) == 0


@pytest.mark.parametrize(("params", "kept"), [({}, 2), ({"overlap": 0.4}, 2), ({"overlap": 0.3}, 1)])
def test_the_overlap_is_0_4_unless_the_entry_says_otherwise_fault_17(params: dict[str, float], kept: int) -> None:
    outputs = empty(1)
    put(outputs, (3, 5), 0.9)  # 16 pixels wide
    put(outputs, (3, 6), 0.8)  # 8 to the right: a third is shared
    (found,) = detect(outputs, [0.5], **params)

    assert len(found) == kept


def test_of_two_boxes_that_overlap_the_better_one_stays_across_strides() -> None:
    outputs = empty(1)
    put(outputs, (2, 3), 0.7, stride=8, anchor=0, deltas=(0, 0, float(np.log(2)), float(np.log(2))))  # 64 wide
    put(outputs, (1, 2), 0.9, stride=16)  # 64 wide at nearly the same place
    (found,) = detect(outputs, [0.5])

    assert found.scores.tolist() == [np.float32(0.9)]


def test_mask_probabilities_stay_with_their_faces() -> None:
    outputs = empty(1, masks=True)
    put(outputs, (0, 0), 0.7, mask=0.1)
    put(outputs, (6, 9), 0.9, mask=0.8)
    put(outputs, (6, 10), 0.6, mask=0.3, deltas=(-0.4, 0, 0, 0))  # falls to the one before
    put(outputs, (1, 2), 0.8, stride=32, anchor=0, mask=0.5)
    (found,) = detect(outputs, [0.5])

    assert found.scores.tolist() == [np.float32(score) for score in (0.9, 0.8, 0.7)]
    assert found.masks is not None
    assert found.masks.tolist() == [np.float32(mask) for mask in (0.8, 0.5, 0.1)]


def test_a_network_without_masks_gives_none_and_one_with_them_gives_none_of_them_for_nobody() -> None:
    assert detect(empty(1), [0.5])[0].masks is None
    nobody = detect(empty(1, masks=True), [0.5])[0].masks
    assert nobody is not None and nobody.shape == (0,)


@pytest.mark.parametrize("masks", [False, True])
def test_outputs_are_told_apart_by_their_shapes_in_whatever_order_they_come(masks: bool) -> None:
    outputs = empty(1, masks=masks)
    for stride, cell in ((8, (1, 1)), (16, (3, 5)), (32, (1, 2))):
        put(outputs, cell, 0.9 - stride / 100, stride=stride, deltas=(0.1, 0.2, -1.5, -1.6), mask=0.5)
    (expected,) = detect(outputs, [0.5])
    assert len(expected) == 3

    for seed in range(10):
        (found,) = detect([outputs[i] for i in np.random.default_rng(seed).permutation(len(outputs))], [0.5])
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.landmarks, expected.landmarks)


def test_a_file_of_one_picture_a_run_takes_any_number_of_them(tmp_path: Path) -> None:
    maps = retinaface_maps(masks=True)
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
        np.testing.assert_allclose(alone.masks, together.masks, rtol=1e-4)


@pytest.mark.parametrize("masks", [False, True])
def test_the_whole_reading_equals_a_plain_one(tmp_path: Path, masks: bool) -> None:
    maps = retinaface_maps(masks=masks)
    pixels = pictures(2, SIZE, seed=4)
    session = open_session(model_file(mapped(tmp_path / "a.onnx", maps), FAMILY.preprocess))
    detector = FAMILY.build(session, {"landmark_std": 0.2})
    found = detector.detect(ImageBatch(pixels, np.ones(2)), np.array([0.55, 0.55], np.float32))

    outputs = {out.name: out(FAMILY.preprocess(pixels)) for out in maps}
    for image in range(2):
        rows = []
        for stride in STRIDES:
            # insightface's way: (c, h, w) → (h, w, anchors, columns) → a row an anchor.
            kinds = {
                name: outputs[f"{name}_{stride}"][image].transpose(1, 2, 0).reshape(-1, *shape)
                for name, shape in (("cls", (2, 2)), ("bbox", (2, 4)), ("landmark", (2, 5, 2)), ("type", (3, 2)))
                if f"{name}_{stride}" in outputs
            }
            for cell in range(len(kinds["cls"])):
                y, x = (stride * i + 7.5 for i in divmod(cell, SIZE[0] // stride))
                for anchor, side in enumerate(SIDES[stride]):
                    score = kinds["cls"][cell, 1, anchor]
                    dx, dy, dw, dh = kinds["bbox"][cell, anchor]
                    half_w, half_h = (np.exp(dw) * side - 1) / 2, (np.exp(dh) * side - 1) / 2
                    cx, cy = x + dx * side, y + dy * side
                    points = kinds["landmark"][cell, anchor] * 0.2 * side + np.array([x, y])
                    mask = kinds["type"][cell, 2, anchor] if masks else 0
                    if score >= 0.55:
                        box = (cx - half_w, cy - half_h, cx + half_w, cy + half_h)
                        rows.append((float(score), *map(float, box), *map(float, points.ravel()), float(mask)))
        kept = np.array(plain_nms(rows, 0.4))
        assert len(kept) > 1
        np.testing.assert_allclose(found[image].scores, kept[:, 0], atol=1e-5)
        np.testing.assert_allclose(found[image].boxes, kept[:, 1:5], rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(found[image].landmarks.reshape(-1, 10), kept[:, 5:15], rtol=1e-3, atol=1e-2)
        if masks:
            np.testing.assert_allclose(found[image].masks, kept[:, 15], atol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([], "3 maps of 4 channels, this network 0"),
        (empty(1)[:6], "3 maps of 4 channels, this network 2"),
        ([out for out in empty(1) if out.shape[1] != 20], "3 maps of 20 channels, this network 0"),
        (empty(1) + empty(1)[:1], "3 maps of 4 channels, this network 4"),
        (empty(1, masks=True)[:-1], "3 maps of 6 channels, this network 2"),
        ([out[..., 0] for out in empty(1)], "3 maps of 4 channels, this network 0"),
    ],
)
def test_other_outputs_are_rejected_with_their_shapes(outputs: list[Floats], said: str) -> None:
    with pytest.raises(GraphRejected, match=said) as caught:
        detect(outputs, [0.5])
    assert str([out.shape for out in outputs]) in str(caught.value)
