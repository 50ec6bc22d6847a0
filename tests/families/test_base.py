"""What all detectors do with proposals of one size and of several, and which pixels a crop is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.detector_networks import Map, centerface_maps, decoded, intersection_over_union, mapped, retinaface_maps
from tests.networks import dense, model_file, pictures, scrfd_heads, yunet_heads
from visage.backends.onnx import open_session
from visage.faces import Detections, Floats, ImageBatch
from visage.families import FAMILIES, family
from visage.families.base import ALIGNED, SETTINGS, Crop, Proposals
from visage.geometry.alignment import align
from visage.geometry.squares import square_matrices
from visage.geometry.warping import warp

SIZE = (96, 64)
KINDS = ["scrfd", "yunet", "retinaface", "retinaface with masks", "centerface", "yolov5_face"]


@pytest.fixture(params=KINDS)
def detector(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A tiny detector of each family."""
    kind = request.param
    path = tmp_path / "a.onnx"
    match kind:
        case "scrfd":
            dense(path, scrfd_heads())
        case "yunet":
            dense(path, yunet_heads())
        case "centerface":
            mapped(path, centerface_maps())
        case "yolov5_face":
            decoded(path, Map.of("output", 16, 16))
        case _:
            mapped(path, retinaface_maps(masks="masks" in kind))
    found = family(kind.split()[0])
    return found.build(open_session(model_file(path, found.preprocess)), {})


def proposals(detector: Any, size: tuple[int, int], scale: float, seed: int = 4) -> Proposals:
    batch = ImageBatch(pictures(1, size, seed), np.array([scale]))
    found: Proposals = detector.propose(batch, np.array([0.3], np.float32))[0]
    assert len(found.rows) > 1
    return found


def numbers(found: Detections) -> list[Any]:
    parts = [found.boxes, found.scores, found.landmarks, found.masks]
    assert all(part is None or part.dtype == np.float32 for part in parts)
    return [None if part is None else part.tobytes() for part in parts]


def test_what_is_detected_is_what_is_left_of_the_proposals(detector: Any) -> None:
    batch = ImageBatch(pictures(3, SIZE), np.array([1.0, 0.5, 1.3]))
    thresholds = np.array([0.3, 0.4, 0.3], np.float32)
    whole = detector.detect(batch, thresholds)
    parts = [detector.suppress([one]) for one in detector.propose(batch, thresholds)]
    assert [numbers(found) for found in whole] == [numbers(found) for found in parts]
    assert [one.scale for one in detector.propose(batch, thresholds)] == [1.0, 0.5, 1.3]


def test_a_further_size_that_proposes_nothing_changes_not_a_bit(detector: Any) -> None:
    one = proposals(detector, SIZE, 0.7)
    nothing = Proposals(one.rows[:0], 0.13)
    assert numbers(detector.suppress([one, nothing])) == numbers(detector.suppress([one]))


def test_what_a_further_size_alone_proposes_is_found_in_the_picture_s_pixels(detector: Any) -> None:
    one = proposals(detector, SIZE, 0.5)
    alone = detector.suppress([one])
    both = detector.suppress([Proposals(one.rows[:0], 1.0), one])
    # Judged in another frame: at the limit of overlap another box may survive, the best one always does.
    assert both.boxes[0] == pytest.approx(alone.boxes[0], rel=1e-5, abs=1e-3)
    assert both.landmarks[0] == pytest.approx(alone.landmarks[0], rel=1e-5, abs=1e-3)
    assert both.scores[0] == alone.scores[0]


def test_a_face_seen_at_two_sizes_is_one_with_the_better_score(detector: Any) -> None:
    one = proposals(detector, SIZE, 1.0)
    best = one.rows[[one.rows[:, 4].argmax()]].copy()
    best[:, :4] = (20, 12, 60, 52)
    best[:, 4] = 0.6
    again = Proposals(best, 1.0).rows_at(0.25)
    again[:, 4] = 0.8
    found = detector.suppress([Proposals(best, 1.0), Proposals(again, 0.25)])
    assert found.scores.tolist() == [np.float32(0.8)]
    assert found.boxes == pytest.approx(detector.suppress([Proposals(best, 1.0)]).boxes, abs=1e-3)


def test_no_two_faces_that_are_left_of_several_sizes_overlap_too_much(detector: Any) -> None:
    sizes = [
        proposals(detector, SIZE, 1.0),
        proposals(detector, (64, 32), 0.5, 5),
        proposals(detector, (32, 32), 0.2, 6),
    ]
    found = detector.suppress(sizes)
    assert (np.diff(found.scores) <= 0).all()
    assert len(found) < sum(len(one.rows) for one in sizes)
    every = {float(score) for one in sizes for score in one.rows[:, 4]}
    assert {float(score) for score in found.scores} <= every
    for i, a in enumerate(found.boxes):
        for b in found.boxes[:i]:
            # 0.4 at most, and a pixel's worth of conventions.
            assert intersection_over_union(tuple(a), tuple(b)) <= 0.5


def test_rows_at_another_scale_keep_their_score_and_mask() -> None:
    rows = np.arange(32, dtype=np.float32).reshape(2, 16)
    moved = Proposals(rows, 0.5).rows_at(1.0)
    expected: Floats = rows * 2
    expected[:, [4, 15]] = rows[:, [4, 15]]
    assert (moved == expected).all() and moved.dtype == np.float32
    assert rows[0, 0] == 0 and rows[1, 15] == 31  # the given ones are untouched


# crops


def faces() -> Detections:
    rng = np.random.default_rng(2)
    corners = rng.uniform(10, 60, (3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 50, (3, 2))], axis=1)
    points = corners[:, None] + rng.uniform(0, 30, (3, 5, 2))
    return Detections(boxes.astype(np.float32), np.ones(3, np.float32), points.astype(np.float32))


def test_a_crop_without_a_margin_is_the_aligned_face() -> None:
    pixels, found = pictures(1, (160, 120))[0], faces()
    assert (ALIGNED.cut(pixels, found) == align(pixels, found.landmarks)).all()
    assert ALIGNED.cut(pixels, found).shape == (3, 112, 112, 3)
    assert (Crop(224).cut(pixels, found) == align(pixels, found.landmarks, 224)).all()


def test_a_crop_with_a_margin_is_the_square_around_the_box() -> None:
    pixels, found = pictures(1, (160, 120))[0], faces()
    square = Crop(96, 1.5).cut(pixels, found)
    assert square.shape == (3, 96, 96, 3)
    assert (square == warp(pixels, square_matrices(found.boxes, 96, 1.5), 96)).all()
    assert Crop(192, 1.5).cut(pixels, found[:0]).shape == (0, 192, 192, 3)


def test_equal_crops_are_one_key() -> None:
    assert len({Crop(), ALIGNED, Crop(112), Crop(112, None), Crop(96, 1.5), Crop(96, 1.5)}) == 2


def test_every_task_of_a_family_has_a_setting_that_names_it() -> None:
    assert {one.task for one in FAMILIES.values()} == set(SETTINGS)
