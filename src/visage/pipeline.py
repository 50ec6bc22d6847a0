"""The recipe: detect → select → align → embed → attributes. One picture in, its faces out."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2
import numpy as np

from visage.backends.base import Sizes
from visage.batching import Batcher
from visage.crops import Crops
from visage.deadline import Deadline
from visage.errors import CropRejected
from visage.faces import (
    Detections,
    Embedding,
    Face,
    Floats,
    GenderAge,
    Image,
    ImageBatch,
    ImageFaces,
    MaskScores,
    Pixels,
)
from visage.families.base import ALIGNED, CropModel, Detector, Proposals
from visage.geometry.alignment import CROP_SIZE, TEMPLATE
from visage.geometry.letterbox import letterbox
from visage.options import ExtractOptions
from visage.scheduling import Load

# A batch of a crowd is to be done in so many seconds. Two faces of SFace on one core take 33 ms, and 2 % longer a face
# than four do.
_SOON = 0.035
# How much the last batch counts for what the next is expected to take.
_NEWS = 0.2

T = TypeVar("T")
Observe = Callable[[str, float], None]
Observed = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class DetectionJob:
    """One picture fitted into the network's input (h, w, 3), its scale and its threshold."""

    pixels: Pixels
    scale: float
    threshold: float


class DetectionStage:
    """A detector that concurrent callers share; pictures of one size may share a batch.

    `extra_sizes`: every picture is shown at these, too. A picture is padded to the next multiples of the detector's
    stride, or if `square` to the whole size. A detector of one size ignores both.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        max_batch: int = 1,
        max_size: tuple[int, int] = (640, 640),
        largest: int = 2048,
        extra_sizes: Sequence[tuple[int, int]] = (),
        square: bool = False,
        load: Load | None = None,
        observe_batch: Observed = lambda _: None,
        observe_waiting: Observed = lambda _: None,
    ) -> None:
        self._sizes = detector.sizes
        self._stride = None if square or self._sizes.fixed else self._sizes.stride
        self._max_size = max_size
        self._largest = largest
        self._extra_sizes = [] if self._sizes.fixed else [self._sizes.nearest(size) for size in extra_sizes]
        self._suppress = detector.suppress
        self._load = load or Load(1)
        self._batcher = Batcher[DetectionJob, Proposals](
            lambda jobs: detector.propose(
                ImageBatch(_stacked([job.pixels for job in jobs]), np.array([job.scale for job in jobs])),
                np.array([job.threshold for job in jobs], np.float32),
            ),
            name="detection",
            max_batch=_limited(max_batch, detector.max_batch),
            workers=detector.streams or self._load.cores,
            kind=lambda job: job.pixels.shape,
            observe=observe_batch,
            observe_waiting=observe_waiting,
        )

    def input_size(self, wanted: tuple[int, int] | None) -> tuple[tuple[int, int], str | None]:
        """What to fit a picture into (width, height) for a caller's wish, and what to tell where it cannot be met."""
        if wanted is None:
            return self._sizes.nearest(self._max_size), None
        size = self._sizes.nearest((min(wanted[0], self._largest), min(wanted[1], self._largest)))
        if self._sizes.fixed is not None and size != wanted:
            return size, f"max_size {list(wanted)} was not used: this detector takes {list(size)} only"
        if max(wanted) > self._largest or size != Sizes(stride=self._sizes.stride).nearest(wanted):
            return size, f"max_size {list(wanted)} was limited to {list(size)}"
        return size, None

    def run(
        self, image: Image, threshold: float, size: tuple[int, int], deadline: Deadline
    ) -> tuple[Detections, float]:
        """The faces in the picture's own pixels, and the scale of `size`; further sizes add to what is found there."""
        wanted = dict.fromkeys([size, *self._extra_sizes])
        fitted = [letterbox(image.pixels, one, self._stride, self._load.spread) for one in wanted]
        # Sizes may be the same to a picture: a wide one is fitted into 640×640 and 640×480 alike.
        shown = {(pixels.shape, scale): pixels for pixels, scale in fitted}
        jobs = [DetectionJob(pixels, scale, threshold) for (_, scale), pixels in shown.items()]
        deadline.left()
        return self._suppress(deadline.wait(self._batcher.call(jobs))), jobs[0].scale

    @property
    def waiting(self) -> int:
        return self._batcher.waiting

    def close(self) -> None:
        self._batcher.close()


class CropStage(Generic[T]):
    """A network of crops that concurrent callers share.

    A picture with many faces hands in one batch at a time, and one more for each core that nobody else wants, so that
    others come in between; and batches that do not take long, since who comes waits for those under way.
    """

    def __init__(
        self,
        name: str,
        model: CropModel[T],
        *,
        max_batch: int = 8,
        load: Load | None = None,
        observe_batch: Observed = lambda _: None,
        observe_waiting: Observed = lambda _: None,
    ) -> None:
        self.crop = model.crop
        self._load = load or Load(1)
        self._model = model
        self._most = _limited(max_batch, model.max_batch)
        self._pace = 0.0  # seconds a crop took of late
        self._batcher = Batcher[Pixels, T](
            self._predict,
            name=name,
            max_batch=self._most,
            workers=model.streams or self._load.cores,
            observe=observe_batch,
            observe_waiting=observe_waiting,
        )

    def run(self, crops: Pixels, deadline: Deadline) -> list[T]:
        """Crops as `crop` says, (F, size, size, 3) → F answers."""
        if not len(crops):
            return []
        if len(crops) <= self._most:
            deadline.left()
            return deadline.wait(self._batcher.call(list(crops)))
        answers: list[T] = []
        running: deque[list[Future[T]]] = deque()
        with self._load.spare() as spare:
            try:
                taken = 0
                while taken < len(crops):
                    while len(running) > spare():
                        answers += deadline.wait(running.popleft())
                    deadline.left()
                    step = self._step()
                    # Joined with the next they would be one long batch, and the other cores idle.
                    running.append(self._batcher.submit(list(crops[taken : taken + step]), apart=True))
                    taken += step
                while running:
                    answers += deadline.wait(running.popleft())
            finally:
                for future in (f for batch in running for f in batch):
                    future.cancel()
        return answers

    def _step(self) -> int:
        """How many crops of a crowd make a batch: as many as will be done soon."""
        soon = int(_SOON / self._pace) if self._pace else self._most
        return min(self._most, max(1, soon))

    def _predict(self, crops: Sequence[Pixels]) -> Sequence[T]:
        started = time.perf_counter()
        answers = self._model.predict(_stacked(crops))
        took = (time.perf_counter() - started) / len(crops)
        self._pace += _NEWS * (took - self._pace) if self._pace else took
        return answers

    @property
    def waiting(self) -> int:
        return self._batcher.waiting

    def close(self) -> None:
        self._batcher.close()


class FacePipeline:
    """Runs on a worker thread, one picture a call; the stages are shared by all threads, and closed by who made them.

    Without a `detection` it takes pictures that are crops already.
    """

    def __init__(
        self,
        detection: DetectionStage | None,
        embedding: CropStage[Embedding] | None = None,
        gender_age: CropStage[GenderAge] | None = None,
        masks: CropStage[MaskScores] | None = None,
        landmarks: CropStage[Floats] | None = None,
        *,
        max_faces: int = 1000,
        observe: Observe = lambda stage, seconds: None,
    ) -> None:
        self.detection = detection
        self.embedding = embedding
        self.gender_age = gender_age
        self.masks = masks
        self.landmarks = landmarks
        self._max_faces = max_faces
        self._observe = observe

    def faces(self, image: Image, options: ExtractOptions, deadline: Deadline) -> ImageFaces:
        """All faces of a picture with what `options` ask for. Raises DeadlineExceeded, Overloaded, InferenceFailed."""
        if self.detection is None:
            raise ValueError("a pipeline without a detector has no faces, only crop_face")
        size, said = self.detection.input_size(options.max_size)
        with self._timed("detect"):
            found, scale = self.detection.run(image, options.threshold, size, deadline)
        notes = [*image.warnings, *([said] if said else []), *self.unanswered(options, found)]
        if len(found) > self._max_faces:
            notes.append(f"{len(found)} faces were found; the {self._max_faces} with the best scores are answered")
            found = found[: self._max_faces]
        chosen, indices = select(found, options)
        crops = Crops(image.pixels, chosen, timed=self._cutting)
        faces = self._described(crops, chosen, indices, options, deadline)
        return ImageFaces(faces, scale, (image.width, image.height), tuple(notes), len(found))

    def crop_face(self, image: Image, options: ExtractOptions, deadline: Deadline) -> ImageFaces:
        """The one face of a picture that is an aligned crop already. Raises CropRejected where it cannot be one.

        A network that wants the square around a box gets the one around the whole crop, as InsightFace would cut it.
        That is nearly the usual one: of 257 faces the longer side of the box, seen in the aligned crop, is
        108 pixels (median; nine in ten within 98…122), its centre 9 below the crop's. What lies outside is black.
        """
        if image.width != image.height:
            raise CropRejected(
                f"embed_only takes aligned {CROP_SIZE}×{CROP_SIZE} crops; this picture has "
                f"{image.width}×{image.height} pixels: send it without embed_only"
            )
        notes = [*image.warnings, *self.unanswered(options)]
        crop = image.pixels
        if image.width != CROP_SIZE:
            notes.append(f"the crop was resized from {image.width}×{image.height} to {CROP_SIZE}×{CROP_SIZE}")
            crop = _fitted(crop)
        whole = Detections(
            np.array([[0, 0, CROP_SIZE, CROP_SIZE]], np.float32),
            np.ones(1, np.float32),
            TEMPLATE[None].astype(np.float32),
        )
        faces = self._described(Crops(crop, whole, crop[None], self._cutting), whole, [0], options, deadline)
        return ImageFaces(faces, 1.0, (image.width, image.height), tuple(notes), 1)

    def unanswered(self, options: ExtractOptions, found: Detections | None = None) -> list[str]:
        """What is asked for but has no network loaded; some detectors have `found` masks themselves."""
        masked = self.masks is not None or (found is not None and found.masks is not None)
        asked = (
            (options.embedding, self.embedding is not None, "extract_embedding", "REC_NAME"),
            (options.gender_age, self.gender_age is not None, "extract_ga", "GA_NAME"),
            (options.masks, masked, "detect_masks", "MASK_DETECTOR"),
            (options.landmarks_106, self.landmarks is not None, "return_landmarks_106", "LANDMARKS_NAME"),
        )
        return [
            f"{field} was asked for, but no network for it is loaded ({setting})"
            for wanted, answered, field, setting in asked
            if wanted and not answered
        ]

    def _described(
        self, crops: Crops, found: Detections, indices: Sequence[int], options: ExtractOptions, deadline: Deadline
    ) -> list[Face]:
        if not len(found):
            return []
        embeddings = self._predicted("embed", self.embedding if options.embedding else None, crops, deadline)
        ages = self._predicted("gender_age", self.gender_age if options.gender_age else None, crops, deadline)
        masks = self._masks(crops, found, options, deadline)
        dense = self._landmarks(crops, options, deadline)
        kept = list(crops.of(ALIGNED)) if options.crops else [None] * len(found)
        return [
            Face(index, box, float(score), points, embedding, age, mask, crop, more)
            for index, box, score, points, embedding, age, mask, crop, more in zip(
                indices, found.boxes, found.scores, found.landmarks, embeddings, ages, masks, kept, dense, strict=True
            )
        ]

    def _masks(
        self, crops: Crops, found: Detections, options: ExtractOptions, deadline: Deadline
    ) -> Sequence[MaskScores | None]:
        """By the network for it; without one, what the detector itself says."""
        if options.masks and self.masks is None and found.masks is not None:
            return [MaskScores(float(worn), 1 - float(worn)) for worn in found.masks]
        return self._predicted("masks", self.masks if options.masks else None, crops, deadline)

    def _landmarks(self, crops: Crops, options: ExtractOptions, deadline: Deadline) -> Sequence[Floats | None]:
        """In pixels of the picture."""
        if self.landmarks is None or not options.landmarks_106:
            return [None] * len(crops)
        return crops.in_picture(self.landmarks.crop, self._run("landmarks", self.landmarks, crops, deadline))

    def _predicted(self, name: str, stage: CropStage[T] | None, crops: Crops, deadline: Deadline) -> Sequence[T | None]:
        if stage is None:
            return [None] * len(crops)
        answers: list[T] = self._run(name, stage, crops, deadline)
        return answers

    def _run(self, name: str, stage: CropStage[T], crops: Crops, deadline: Deadline) -> list[T]:
        pixels = crops.of(stage.crop)
        with self._timed(name):
            return stage.run(pixels, deadline)

    def _cutting(self) -> AbstractContextManager[None]:
        return self._timed("align")

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._observe(stage, time.perf_counter() - started)


def select(found: Detections, options: ExtractOptions) -> tuple[Detections, list[int]]:
    """The faces that the caller wants, and the index of each among those that `limit_faces` left.

    With a limit the largest are kept, largest first; else the order is by score. `min_face_size` is judged
    after that, on the box's width, and changes no index (wire contract, parts 2 and 3).
    """
    if options.limit_faces > 0:
        found = found[np.argsort(-found.areas(), kind="stable")[: options.limit_faces]]
    wide = np.flatnonzero(found.widths() >= options.min_face_size)
    return found[wide], [int(i) for i in wide]


def _fitted(crop: Pixels) -> Pixels:
    method = cv2.INTER_AREA if crop.shape[0] > CROP_SIZE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (CROP_SIZE, CROP_SIZE), interpolation=method), np.uint8)


def _stacked(pictures: Sequence[Pixels]) -> Pixels:
    """(h, w, 3) each → (N, h, w, 3); one alone is not copied."""
    return pictures[0][None] if len(pictures) == 1 else np.stack(pictures)


def _limited(wanted: int, most: int) -> int:
    """`wanted`, but no more than `most` where that is not 0 (any number)."""
    return min(wanted, most) if most else wanted
