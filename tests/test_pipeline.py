import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import (
    ConstantDetector,
    ConstantEmbedder,
    ConstantGenderAge,
    ConstantLandmarks,
    ConstantMasks,
    FindsAtOnce,
)
from visage.backends.base import Sizes
from visage.deadline import Deadline
from visage.errors import CropRejected, DeadlineExceeded, InferenceFailed
from visage.faces import Detections, Embedding, Floats, GenderAge, Image, ImageBatch, MaskScores, Pixels
from visage.families.base import ALIGNED, Crop, Proposals
from visage.geometry.alignment import TEMPLATE, align
from visage.options import ExtractOptions
from visage.pipeline import CropStage, DetectionStage, FacePipeline, select
from visage.scheduling import Load

HANG = 60  # seconds; only ever reached by a fault


def faces_of(*rows: tuple[float, float, float]) -> Detections:
    """Faces of these (score, width, height), side by side."""
    boxes = [[100 * i, 0, 100 * i + width, height] for i, (_, width, height) in enumerate(rows)]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([score for score, _, _ in rows], np.float32),
        np.broadcast_to(TEMPLATE.astype(np.float32), (len(rows), 5, 2)).copy(),
    )


class FixedDetector(FindsAtOnce):
    """Finds the same faces in every picture, in the picture's own pixels, and remembers its inputs."""

    def __init__(self, found: Detections, sizes: Sizes | None = None, max_batch: int = 0) -> None:
        self.found = found
        self.sizes = sizes or Sizes()
        self.max_batch = max_batch
        self.streams = 0
        self.inputs: list[tuple[int, ...]] = []

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        self.inputs.append(images.pixels.shape)
        return [self.found[self.found.scores > threshold] for threshold in thresholds]


class BrightnessEmbedder:
    """Each crop's mean as its vector: an answer that tells which crop it is for."""

    crop = ALIGNED

    def __init__(self, max_batch: int = 0) -> None:
        self.max_batch = max_batch
        self.streams = 0
        self.batches: list[int] = []

    def predict(self, crops: Pixels, /) -> list[Embedding]:
        self.batches.append(len(crops))
        return [Embedding(np.array([crop.mean()], np.float32), 1.0) for crop in crops]


@contextmanager
def pipeline_of(
    detector: Any = None,
    embedder: Any = None,
    *,
    attributes: bool = False,
    gender_age: Any = None,
    landmarks: Any = None,
    max_batch: int = 8,
    detection: dict[str, Any] | None = None,
    **how: Any,
) -> Iterator[FacePipeline]:
    with ExitStack() as opened:

        def crops(name: str, network: Any, **more: Any) -> CropStage[Any] | None:
            return opened.enter_context(closing(CropStage(name, network, **more))) if network else None

        yield FacePipeline(
            opened.enter_context(closing(DetectionStage(detector or ConstantDetector(), **(detection or {})))),
            crops("embedding", embedder, max_batch=max_batch),
            crops("gender_age", gender_age or (ConstantGenderAge() if attributes else None)),
            crops("masks", ConstantMasks() if attributes else None),
            crops("landmarks", landmarks),
            **how,
        )


def picture(width: int = 640, height: int = 480) -> Image:
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    return Image(noise)


def later() -> Deadline:
    return Deadline(100)


# select


def test_without_a_limit_faces_stand_by_score() -> None:
    found = faces_of((0.9, 10, 10), (0.8, 50, 50), (0.7, 30, 30))
    chosen, indices = select(found, ExtractOptions())
    assert chosen.scores.tolist() == found.scores.tolist()
    assert indices == [0, 1, 2]


def test_a_limit_keeps_the_largest_by_area_largest_first() -> None:
    found = faces_of((0.9, 10, 10), (0.8, 50, 10), (0.7, 30, 30), (0.6, 20, 20))
    chosen, indices = select(found, ExtractOptions(limit_faces=2))
    assert chosen.areas().tolist() == [900, 500]
    assert indices == [0, 1]


def test_a_limit_that_all_faces_meet_still_orders_by_area() -> None:
    chosen, _ = select(faces_of((0.9, 10, 10), (0.8, 50, 50)), ExtractOptions(limit_faces=5))
    assert chosen.areas().tolist() == [2500, 100]


def test_faces_of_equal_area_stand_by_score_under_a_limit() -> None:
    chosen, _ = select(faces_of((0.9, 10, 20), (0.8, 20, 10), (0.7, 40, 5)), ExtractOptions(limit_faces=2))
    assert chosen.scores.tolist() == pytest.approx([0.9, 0.8])


def test_many_faces_of_equal_area_stand_by_score_under_a_limit() -> None:
    crowd = faces_of(*((1 - i / 100, 10 + 10 * (i % 2), 10) for i in range(90)))
    chosen, _ = select(crowd, ExtractOptions(limit_faces=80))
    assert chosen.scores.tolist() == [*crowd.scores[1::2].tolist(), *crowd.scores[::2].tolist()][:80]


def test_a_face_as_wide_as_the_least_width_stays_and_indices_count_before_that_filter() -> None:
    found = faces_of((0.9, 10, 10), (0.8, 40, 10), (0.7, 39.9, 90), (0.6, 41, 10))
    chosen, indices = select(found, ExtractOptions(min_face_size=40))
    assert chosen.widths().tolist() == [40, 41]
    assert indices == [1, 3]


def test_the_least_width_is_judged_after_the_limit() -> None:
    tall_and_wide = faces_of((0.9, 10, 900), (0.8, 50, 50))
    chosen, indices = select(tall_and_wide, ExtractOptions(limit_faces=1, min_face_size=40))
    assert len(chosen) == 0
    assert indices == []


rows = st.lists(st.tuples(st.floats(0.1, 1), st.integers(1, 90), st.integers(1, 90)), max_size=12)


@settings(deadline=None)
@given(rows, st.integers(0, 14), st.integers(0, 100))
def test_a_selection_is_what_the_contract_says_for_any_faces(
    given_rows: list[tuple[float, int, int]], limit: int, least: int
) -> None:
    ordered = sorted(given_rows, key=lambda row: -row[0])
    chosen, indices = select(faces_of(*ordered), ExtractOptions(limit_faces=limit, min_face_size=least))
    kept = sorted(ordered, key=lambda row: -row[1] * row[2])[:limit] if limit else ordered
    expected = [(i, row) for i, row in enumerate(kept) if row[1] >= least]
    assert indices == [i for i, _ in expected]
    assert chosen.widths().tolist() == [row[1] for _, row in expected]
    assert chosen.scores.tolist() == pytest.approx([row[0] for _, row in expected])


# faces


def test_all_that_is_asked_for_is_answered_for_each_face() -> None:
    image = picture()
    with pipeline_of(embedder=ConstantEmbedder(), attributes=True) as pipeline:
        answer = pipeline.faces(image, ExtractOptions(gender_age=True, masks=True, crops=True), later())
    assert [face.index for face in answer.faces] == [0, 1]
    assert [face.score for face in answer.faces] == pytest.approx([0.91, 0.7])
    assert answer.size == (640, 480)
    assert answer.scale == 1.0
    assert answer.warnings == ()
    crops = align(image.pixels, ConstantDetector.landmarks)
    for face, crop, box in zip(answer.faces, crops, ConstantDetector.boxes, strict=True):
        assert (face.box == box).all()
        assert face.embedding is not None and face.gender_age is not None and face.mask is not None
        assert face.crop is not None and (face.crop == crop).all()


def test_what_is_not_asked_for_is_not_computed() -> None:
    embedder = BrightnessEmbedder()
    with pipeline_of(embedder=embedder, attributes=True) as pipeline:
        answer = pipeline.faces(picture(), ExtractOptions(embedding=False), later())
    assert [(f.embedding, f.gender_age, f.mask, f.crop) for f in answer.faces] == [(None,) * 4] * 2
    assert embedder.batches == []


def test_crops_alone_need_no_network() -> None:
    with pipeline_of() as pipeline:
        answer = pipeline.faces(picture(), ExtractOptions(embedding=False, crops=True), later())
    assert all(face.crop is not None and face.embedding is None for face in answer.faces)


def test_a_picture_without_faces_runs_no_crop_network() -> None:
    embedder = BrightnessEmbedder()
    with pipeline_of(FixedDetector(Detections.none()), embedder) as pipeline:
        answer = pipeline.faces(picture(), ExtractOptions(crops=True), later())
    assert answer.faces == []
    assert embedder.batches == []


def test_many_faces_go_in_batches_and_each_keeps_its_own_answer() -> None:
    image = picture(1200, 200)
    found = faces_of(*[(0.9, 50, 50)] * 11)
    beside = np.arange(11, dtype=np.float32)[:, None, None] * np.array([90, 0], np.float32)
    found = Detections(found.boxes, found.scores, found.landmarks + beside)
    embedder = BrightnessEmbedder()
    with pipeline_of(FixedDetector(found), embedder, max_batch=4) as pipeline:
        answer = pipeline.faces(image, ExtractOptions(crops=True), later())
    assert embedder.batches == [4, 4, 3]
    vectors = [face.embedding.vector[0] for face in answer.faces if face.embedding]
    assert vectors == pytest.approx([float(np.mean(face.crop)) for face in answer.faces if face.crop is not None])
    assert len(set(vectors)) == 11


def test_a_network_that_takes_fewer_crops_is_given_fewer() -> None:
    embedder = BrightnessEmbedder(max_batch=2)
    with pipeline_of(FixedDetector(faces_of(*[(0.9, 9, 9)] * 5)), embedder, max_batch=8) as pipeline:
        pipeline.faces(picture(), ExtractOptions(), later())
    assert embedder.batches == [2, 2, 1]


def test_the_faces_with_the_best_scores_are_answered_where_there_are_too_many_and_it_is_said() -> None:
    found = faces_of((0.9, 10, 10), (0.8, 20, 20), (0.7, 90, 90))
    with pipeline_of(FixedDetector(found), max_faces=2) as pipeline:
        answer = pipeline.faces(picture(), ExtractOptions(embedding=False, limit_faces=1), later())
        exact = pipeline.faces(picture(), ExtractOptions(0.75, embedding=False), later())
    assert [face.score for face in answer.faces] == pytest.approx([0.8])
    assert answer.warnings == ("3 faces were found; the 2 with the best scores are answered",)
    assert len(exact.faces) == 2
    assert exact.warnings == ()


def test_what_has_no_network_is_said_and_only_where_it_was_asked_for() -> None:
    everything = ExtractOptions(embedding=True, gender_age=True, masks=True)
    with pipeline_of() as pipeline:
        answer = pipeline.faces(picture(), everything, later())
        silent = pipeline.faces(picture(), ExtractOptions(embedding=False), later())
        assert pipeline.unanswered(everything) == list(answer.warnings)
    assert [text.split()[0] for text in answer.warnings] == ["extract_embedding", "extract_ga", "detect_masks"]
    assert [text.rsplit("(", 1)[1] for text in answer.warnings] == ["REC_NAME)", "GA_NAME)", "MASK_DETECTOR)"]
    assert len(answer.faces) == 2
    assert silent.warnings == ()


def masked_faces() -> Detections:
    found = faces_of((0.9, 10, 10), (0.8, 30, 30), (0.7, 5, 5), (0.6, 20, 20))
    return Detections(found.boxes, found.scores, found.landmarks, np.array([0.5, 0.95, 0.25, 0], np.float32))


def test_a_detector_that_sees_masks_answers_for_them_where_no_network_does_fault_14() -> None:
    with pipeline_of(FixedDetector(masked_faces())) as pipeline:
        asked = pipeline.faces(
            picture(), ExtractOptions(0.5, limit_faces=3, min_face_size=11, embedding=False, masks=True), later()
        )
        silent = pipeline.faces(picture(), ExtractOptions(0.5, embedding=False), later())
    assert asked.warnings == ()
    masks = [face.mask for face in asked.faces]
    assert [(m.mask, m.no_mask, m.worn) for m in masks if m] == [
        (pytest.approx(0.95), pytest.approx(0.05), True),
        (0.0, 1.0, False),
    ]
    assert [face.mask for face in silent.faces] == [None] * 4


def test_a_detector_that_sees_masks_leaves_nothing_unanswered_where_it_finds_nobody() -> None:
    with pipeline_of(FixedDetector(masked_faces())) as pipeline:
        answer = pipeline.faces(picture(), ExtractOptions(0.99, embedding=False, masks=True), later())
    assert (answer.faces, answer.warnings) == ([], ())


def test_a_mask_network_is_asked_before_a_detector_that_sees_masks() -> None:
    with pipeline_of(FixedDetector(masked_faces()), attributes=True) as pipeline:
        answer = pipeline.faces(picture(), ExtractOptions(0.5, embedding=False, masks=True), later())
    assert [face.mask for face in answer.faces] == [MaskScores(0.02, 0.98)] * 4


def test_an_aligned_crop_meets_no_detector_that_could_tell_of_masks() -> None:
    crop = Image(np.zeros((112, 112, 3), np.uint8))
    with pipeline_of(FixedDetector(masked_faces())) as pipeline:
        answer = pipeline.crop_face(crop, ExtractOptions(embedding=False, masks=True), later())
    assert answer.faces[0].mask is None
    assert [text.split()[0] for text in answer.warnings] == ["detect_masks"]


def test_what_the_decoder_said_of_the_picture_comes_first() -> None:
    image = Image(picture().pixels, "JPEG", ("cut short",))
    with pipeline_of() as pipeline:
        answer = pipeline.faces(image, ExtractOptions(), later())
    assert answer.warnings[0] == "cut short"
    assert len(answer.warnings) == 2


def test_the_time_of_each_stage_is_reported() -> None:
    seen: list[tuple[str, float]] = []
    with pipeline_of(
        embedder=ConstantEmbedder(), attributes=True, observe=lambda *stage: seen.append(stage)
    ) as pipeline:
        pipeline.faces(picture(), ExtractOptions(gender_age=True, masks=True), later())
    assert [name for name, _ in seen] == ["detect", "align", "embed", "gender_age", "masks"]
    assert all(seconds >= 0 for _, seconds in seen)


def test_a_pipeline_without_a_detector_takes_crops_only() -> None:
    pipeline = FacePipeline(None)
    assert len(pipeline.crop_face(picture(112, 112), ExtractOptions(embedding=False), later()).faces) == 1
    with pytest.raises(ValueError, match="without a detector"):
        pipeline.faces(picture(), ExtractOptions(), later())


# kinds of crops


class Seen:
    """A network of any crop that keeps what it is shown."""

    max_batch = 0
    streams = 0

    def __init__(self, crop: Crop) -> None:
        self.crop = crop
        self.crops: list[Pixels] = []

    def predict(self, crops: Pixels, /) -> list[GenderAge]:
        self.crops += list(crops)
        return [GenderAge(0, 20)] * len(crops)


@pytest.mark.parametrize("crop", [ALIGNED, Crop(96, 1.5)])
def test_each_network_is_shown_the_crop_that_it_wants(crop: Crop) -> None:
    image, network, seen = picture(), Seen(crop), []
    with pipeline_of(
        embedder=ConstantEmbedder(), gender_age=network, observe=lambda *stage: seen.append(stage[0])
    ) as pipeline:
        answer = pipeline.faces(image, ExtractOptions(gender_age=True, crops=True), later())
    found = Detections(ConstantDetector.boxes, ConstantDetector.scores, ConstantDetector.landmarks)
    assert (np.stack(network.crops) == crop.cut(image.pixels, found)).all()
    # What is answered as the face's crop stays the aligned one; one kind for two networks is made once.
    kept = [face.crop for face in answer.faces if face.crop is not None]
    assert (np.stack(kept) == align(image.pixels, ConstantDetector.landmarks)).all()
    assert seen.count("align") == (1 if crop == ALIGNED else 2)


def test_crops_that_no_network_needs_are_not_made() -> None:
    seen: list[str] = []
    with pipeline_of(landmarks=ConstantLandmarks(), observe=lambda *stage: seen.append(stage[0])) as pipeline:
        pipeline.faces(picture(), ExtractOptions(embedding=True), later())
        assert seen == ["detect"]
        pipeline.faces(picture(), ExtractOptions(embedding=False, landmarks_106=True), later())
    assert seen == ["detect", "detect", "align", "landmarks"]


def test_landmarks_come_back_in_the_picture_s_pixels() -> None:
    with pipeline_of(landmarks=ConstantLandmarks()) as pipeline:
        answer = pipeline.faces(picture(), ExtractOptions(embedding=False, landmarks_106=True), later())
        silent = pipeline.faces(picture(), ExtractOptions(embedding=False), later())
    assert [face.landmarks_106 for face in silent.faces] == [None, None]
    for face in answer.faces:
        left, top, right, bottom = face.box.tolist()
        half = max(right - left, bottom - top) * 0.75
        middle = np.array([(left + right) / 2, (top + bottom) / 2])
        assert face.landmarks_106 is not None and face.landmarks_106.shape == (106, 2)
        assert face.landmarks_106[0] == pytest.approx(middle - half, abs=1e-3)
        assert face.landmarks_106[-1] == pytest.approx(middle + half, abs=1e-3)
    assert answer.warnings == ()


def test_landmarks_without_a_network_are_none_and_it_is_said() -> None:
    with pipeline_of() as pipeline:
        answer = pipeline.faces(picture(), ExtractOptions(embedding=False, landmarks_106=True), later())
    assert [face.landmarks_106 for face in answer.faces] == [None, None]
    assert answer.warnings == ("return_landmarks_106 was asked for, but no network for it is loaded (LANDMARKS_NAME)",)


@pytest.mark.parametrize("side", [112, 224])
def test_an_aligned_crop_is_the_box_around_which_a_square_is_cut(side: int) -> None:
    network = Seen(Crop(96, 1.5))
    white = Image(np.full((side, side, 3), 255, np.uint8))
    with pipeline_of(gender_age=network, landmarks=ConstantLandmarks()) as pipeline:
        asked = ExtractOptions(embedding=False, gender_age=True, landmarks_106=True)
        answer = pipeline.crop_face(white, asked, later())
    (seen,) = network.crops
    # The crop takes the middle two thirds, 64 of 96 pixels; about it is nothing.
    assert (seen[17:79, 17:79] == 255).all()
    assert not seen[:15].any() and not seen[81:].any() and not seen[:, :15].any() and not seen[:, 81:].any()
    (face,) = answer.faces
    assert face.landmarks_106 is not None
    assert face.landmarks_106[[0, -1]] == pytest.approx(np.array([[-28, -28], [140, 140]]), abs=1e-3)
    assert not [note for note in answer.warnings if "resized" not in note]


# several sizes of a picture


class SizedDetector(FixedDetector):
    """Finds a face of its own at every width of its input, in that input's pixels; the first suppresses none."""

    def propose(self, images: ImageBatch, thresholds: Floats, /) -> list[Proposals]:
        self.inputs.append(images.pixels.shape)
        width = float(images.pixels.shape[2])
        row = np.array([[0, 0, width, width, 0.9, *[width] * 10]], np.float32)
        return [Proposals(row, float(scale)) for scale in images.scales]


def sized(**how: Any) -> tuple[SizedDetector, Any]:
    detector = SizedDetector(Detections.none(), how.pop("sizes", None))
    return detector, pipeline_of(detector, detection=how)


def test_every_picture_is_shown_at_the_extra_sizes_and_all_proposals_meet() -> None:
    detector, opened = sized(extra_sizes=[(128, 128), (320, 256)])
    with opened as pipeline:
        answer = pipeline.faces(picture(1280, 640), ExtractOptions(embedding=False), later())
    assert detector.inputs == [(1, 320, 640, 3), (1, 64, 128, 3), (1, 160, 320, 3)]
    assert len(answer.faces) == 3
    assert answer.scale == 0.5  # that of MAX_SIZE, whatever else was looked at


@pytest.mark.parametrize(
    ("extra", "max_size", "shapes"),
    [
        ([], None, [640]),
        ([(640, 640)], None, [640]),
        ([(128, 128), (150, 150)], None, [640, 128]),  # 150 is taken as 128
        ([(128, 128)], (320, 320), [320, 128]),
        ([(320, 320)], (320, 320), [320]),
        ([(640, 480), (640, 512)], None, [640]),  # a 4:3 picture fits into all three alike
        ([(480, 640)], None, [640, 480]),
    ],
)
def test_sizes_that_are_the_same_to_the_network_are_shown_once(
    extra: list[tuple[int, int]], max_size: tuple[int, int] | None, shapes: list[int]
) -> None:
    detector, opened = sized(extra_sizes=extra)
    with opened as pipeline:
        pipeline.faces(picture(), ExtractOptions(embedding=False, max_size=max_size), later())
    assert sorted((shape[2] for shape in detector.inputs), reverse=True) == shapes


def test_a_detector_of_one_size_is_shown_no_other() -> None:
    detector, opened = sized(extra_sizes=[(128, 128)], sizes=Sizes((640, 480)))
    with opened as pipeline:
        pipeline.faces(picture(), ExtractOptions(embedding=False), later())
    assert detector.inputs == [(1, 480, 640, 3)]


def test_pictures_share_batches_size_by_size() -> None:
    entered, gate = threading.Semaphore(0), threading.Event()

    class Held(SizedDetector):
        def propose(self, images: ImageBatch, thresholds: Floats, /) -> list[Proposals]:
            entered.release()
            assert gate.wait(HANG)
            return super().propose(images, thresholds)

    detector = Held(Detections.none())
    asked = ExtractOptions(embedding=False)
    with (
        pipeline_of(detector, detection={"extra_sizes": [(128, 128)], "max_batch": 8}) as pipeline,
        ThreadPoolExecutor(5) as callers,
    ):
        futures = [callers.submit(pipeline.faces, picture(), asked, later())]
        assert entered.acquire(timeout=HANG)
        futures += [callers.submit(pipeline.faces, picture(), asked, later()) for _ in range(4)]
        while pipeline.detection.waiting < 9:
            time.sleep(0.005)
        gate.set()
        assert [len(future.result(HANG).faces) for future in futures] == [2] * 5
    assert sorted(shape[:3] for shape in detector.inputs) == [(1, 480, 640), (4, 480, 640), (5, 96, 128)]


# the network's input


@pytest.mark.parametrize(
    ("wanted", "size", "shown", "said"),
    [
        (None, (640, 480), (480, 640), None),
        ((320, 320), (320, 320), (256, 320), None),
        ((333, 100), (320, 96), (96, 128), None),
        ((1, 1), (32, 32), (32, 32), None),
        ((2048, 2048), (2048, 2048), (1088, 1440), None),  # 3.2 times as large, less the margin
        ((5000, 640), (2048, 640), (640, 864), "max_size [5000, 640] was limited to [2048, 640]"),
    ],
)
def test_a_callers_wish_for_a_size_is_met_as_far_as_it_can_be(
    wanted: tuple[int, int] | None, size: tuple[int, int], shown: tuple[int, int], said: str | None
) -> None:
    detector = FixedDetector(Detections.none())
    stage = DetectionStage(detector, max_size=(650, 500))
    try:
        assert stage.input_size(wanted) == (size, said)
    finally:
        stage.close()
    with pipeline_of(detector) as pipeline:
        answer = pipeline.faces(picture(), ExtractOptions(embedding=False, max_size=wanted), later())
    with pipeline_of(detector, detection={"square": True}) as pipeline:
        again = pipeline.faces(picture(), ExtractOptions(embedding=False, max_size=wanted), later())
    whole = (640, 640) if wanted is None else size[::-1]
    assert detector.inputs == [(1, *shown, 3), (1, *whole, 3)]
    assert answer.warnings == again.warnings == ((said,) if said else ())
    assert answer.scale == again.scale


def test_in_squares_every_size_is_padded_to_all_of_it() -> None:
    detector, opened = sized(extra_sizes=[(640, 480), (128, 128)], square=True)
    with opened as pipeline:
        pipeline.faces(picture(), ExtractOptions(embedding=False), later())
    assert detector.inputs == [(1, 640, 640, 3), (1, 480, 640, 3), (1, 128, 128, 3)]


@pytest.mark.parametrize("square", [False, True])
def test_a_detector_of_one_size_gets_all_of_it(square: bool) -> None:
    detector = FixedDetector(Detections.none(), Sizes((640, 640)))
    with pipeline_of(detector, detection={"square": square}) as pipeline:
        pipeline.faces(picture(1280, 320), ExtractOptions(embedding=False), later())
    assert detector.inputs == [(1, 640, 640, 3)]


def test_the_detectors_own_stride_is_what_pictures_are_padded_to() -> None:
    detector = FixedDetector(Detections.none(), Sizes(stride=64))
    with pipeline_of(detector) as pipeline:
        pipeline.faces(picture(1280, 720), ExtractOptions(embedding=False), later())
    assert detector.inputs == [(1, 384, 640, 3)]
    with pipeline_of(detector) as pipeline:
        pipeline.faces(picture(640, 400), ExtractOptions(embedding=False), later())
    assert detector.inputs[1:] == [(1, 448, 640, 3)]


@pytest.mark.parametrize(("width", "height", "shape"), [(1, 5000, (640, 32)), (5000, 1, (32, 640)), (1, 1, (448, 448))])
def test_the_thinnest_pictures_are_shown_too(width: int, height: int, shape: tuple[int, int]) -> None:
    detector = FixedDetector(Detections.none())
    with pipeline_of(detector) as pipeline:
        answer = pipeline.faces(picture(width, height), ExtractOptions(embedding=False), later())
    assert detector.inputs == [(1, *shape, 3)]
    assert answer.faces == []


def test_a_detector_of_one_size_says_that_it_takes_no_other() -> None:
    with pipeline_of(FixedDetector(Detections.none(), Sizes((640, 480)))) as pipeline:
        met = pipeline.faces(picture(), ExtractOptions(embedding=False, max_size=(640, 480)), later())
        unmet = pipeline.faces(picture(), ExtractOptions(embedding=False, max_size=(320, 320)), later())
    assert met.warnings == ()
    assert unmet.warnings == ("max_size [320, 320] was not used: this detector takes [640, 480] only",)


@pytest.mark.parametrize(
    ("wanted", "size", "said"),
    [
        ((640, 480), (640, 480), None),
        ((333, 480), (320, 480), None),
        ((1280, 320), (640, 320), "max_size [1280, 320] was limited to [640, 320]"),
        ((5000, 5000), (640, 480), "max_size [5000, 5000] was limited to [640, 480]"),
    ],
)
def test_a_detector_that_was_built_for_sizes_says_that_it_takes_none_larger(
    wanted: tuple[int, int], size: tuple[int, int], said: str | None
) -> None:
    stage = DetectionStage(FixedDetector(Detections.none(), Sizes(most=(640, 480))))
    assert stage.input_size(wanted) == (size, said)
    stage.close()


def test_pictures_of_one_input_size_share_a_batch_and_others_do_not() -> None:
    entered, gate = threading.Semaphore(0), threading.Event()

    class Waiting(FixedDetector):
        def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
            entered.release()
            assert gate.wait(HANG)
            return super().detect(images, thresholds)

    detector = Waiting(faces_of((0.9, 10, 10), (0.5, 20, 20)))
    stage = DetectionStage(detector, max_batch=8)

    def ask(threshold: float, side: int) -> int:
        return len(stage.run(picture(), threshold, (side, side), later())[0])

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask, 0.1, 64)
        assert entered.acquire(timeout=HANG)
        rest: Sequence[Any] = [pool.submit(ask, *how) for how in ((0.1, 64), (0.7, 64), (0.95, 96))]
        while stage.waiting < 3:
            threading.Event().wait(0.001)
        gate.set()
        assert [future.result(HANG) for future in (first, *rest)] == [2, 2, 1, 0]
    stage.close()
    assert sorted(detector.inputs[1:]) == [(1, 96, 96, 3), (2, 64, 64, 3)]


# crop_face


def test_an_aligned_crop_is_one_face_that_fills_the_picture() -> None:
    crop = picture(112, 112)
    with pipeline_of(embedder=BrightnessEmbedder(), attributes=True) as pipeline:
        answer = pipeline.crop_face(crop, ExtractOptions(gender_age=True, masks=True, crops=True), later())
    (face,) = answer.faces
    assert face.index == 0
    assert face.box.tolist() == [0, 0, 112, 112]
    assert face.score == 1.0
    assert face.embedding is not None and face.embedding.vector[0] == pytest.approx(crop.pixels.mean())
    assert face.gender_age is not None and face.mask is not None
    assert face.crop is not None and (face.crop == crop.pixels).all()
    assert answer.warnings == ()


@pytest.mark.parametrize("side", [1, 56, 113, 224])
def test_a_square_of_another_size_is_resized_and_it_is_said(side: int) -> None:
    grey = Image(np.full((side, side, 3), 77, np.uint8))
    with pipeline_of(embedder=BrightnessEmbedder()) as pipeline:
        answer = pipeline.crop_face(grey, ExtractOptions(crops=True), later())
    assert answer.warnings == (f"the crop was resized from {side}×{side} to 112×112",)
    assert answer.faces[0].crop is not None and answer.faces[0].crop.shape == (112, 112, 3)
    assert answer.faces[0].embedding is not None and answer.faces[0].embedding.vector[0] == 77


@pytest.mark.parametrize("size", [(640, 480), (112, 111), (111, 112)])
def test_a_picture_that_is_not_square_is_no_aligned_crop(size: tuple[int, int]) -> None:
    with (
        pipeline_of(embedder=BrightnessEmbedder()) as pipeline,
        pytest.raises(CropRejected, match=rf"{size[0]}×{size[1]} pixels: send it without embed_only"),
    ):
        pipeline.crop_face(picture(*size), ExtractOptions(), later())


def test_a_crop_without_a_network_for_it_says_so() -> None:
    with pipeline_of() as pipeline:
        answer = pipeline.crop_face(picture(112, 112), ExtractOptions(), later())
    assert answer.faces[0].embedding is None
    assert answer.warnings == ("extract_embedding was asked for, but no network for it is loaded (REC_NAME)",)


# failures and lateness


def test_no_network_runs_after_the_deadline() -> None:
    detector, embedder = FixedDetector(faces_of((0.9, 10, 10))), BrightnessEmbedder()
    gone = later()
    gone.cancel()
    with pipeline_of(detector, embedder) as pipeline:
        with pytest.raises(DeadlineExceeded):
            pipeline.faces(picture(), ExtractOptions(), gone)
        with pytest.raises(DeadlineExceeded):
            pipeline.crop_face(picture(112, 112), ExtractOptions(), gone)
    assert embedder.batches == []


def test_a_caller_that_is_too_late_leaves_the_batches_that_it_has_not_begun() -> None:
    deadline = later()

    class Late(BrightnessEmbedder):
        def predict(self, crops: Pixels, /) -> list[Embedding]:
            deadline.cancel()
            return super().predict(crops)

    embedder = Late()
    found = FixedDetector(faces_of(*[(0.9, 10, 10)] * 6))
    with pipeline_of(found, embedder, max_batch=2) as pipeline, pytest.raises(DeadlineExceeded):
        pipeline.faces(picture(), ExtractOptions(), deadline)
    assert embedder.batches == [2]


def test_a_network_that_fails_fails_the_call_and_not_the_next() -> None:
    class Once(BrightnessEmbedder):
        def predict(self, crops: Pixels, /) -> list[Embedding]:
            if not self.batches:
                self.batches.append(0)
                raise InferenceFailed("sface failed on (2, 112, 112, 3)")
            return super().predict(crops)

    with pipeline_of(FixedDetector(faces_of((0.9, 10, 10))), Once()) as pipeline:
        with pytest.raises(InferenceFailed, match="sface failed"):
            pipeline.faces(picture(), ExtractOptions(), later())
        assert len(pipeline.faces(picture(), ExtractOptions(), later()).faces) == 1


def test_a_network_that_answers_for_fewer_crops_is_a_failure_not_a_shift() -> None:
    class Short(BrightnessEmbedder):
        def predict(self, crops: Pixels, /) -> list[Embedding]:
            return super().predict(crops)[1:]

    with (
        pipeline_of(FixedDetector(faces_of((0.9, 10, 10), (0.8, 10, 10))), Short()) as pipeline,
        pytest.raises(InferenceFailed, match="gave 0 answers for 1 items"),
    ):
        pipeline.faces(picture(), ExtractOptions(), later())


class SlowEmbedder(BrightnessEmbedder):
    """Takes its time for every crop."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def predict(self, crops: Pixels, /) -> list[Embedding]:
        time.sleep(self._seconds * len(crops))
        return super().predict(crops)


def test_batches_of_a_crowd_take_little_time_so_that_who_comes_waits_little() -> None:
    slow = SlowEmbedder(0.02)
    crops = np.random.default_rng(1).integers(0, 256, (20, 112, 112, 3), np.uint8)
    with closing(CropStage("embedding", slow, max_batch=8)) as stage:
        answers = stage.run(crops, later())
        assert slow.batches == [8] + 12 * [1]  # nothing is known of the first
        slow.batches.clear()
        stage.run(crops[:8], later())
    assert [answer.vector[0] for answer in answers] == pytest.approx([crop.mean() for crop in crops])
    assert slow.batches == [8]  # one batch's worth is no crowd


def test_batches_of_a_crowd_stay_apart_so_that_every_core_has_one() -> None:
    both = threading.Barrier(2)

    class Meeting(SlowEmbedder):
        def predict(self, crops: Pixels, /) -> list[Embedding]:
            if len(crops) == 8:
                both.wait(HANG)  # neither ends, and tells how long it took, before the other was sent
            return super().predict(crops)

    load, slow = Load(2), Meeting(0.02)
    crops = np.zeros((24, 112, 112, 3), np.uint8)
    with closing(load), closing(CropStage("embedding", slow, max_batch=8, load=load)) as stage, load.picture():
        stage.run(crops, later())  # the first two are whole ones, and tell how long they take
        assert slow.batches == [8, 8] + 8 * [1]
