"""What numbers mean: the interfaces that every family of networks offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from visage.backends.base import Preprocess, Session, Sizes, run_in_batches
from visage.errors import GraphRejected
from visage.faces import Detections, Floats, ImageBatch, Pixels
from visage.geometry.alignment import CROP_SIZE, alignment_matrices, template
from visage.geometry.anchors import ROW
from visage.geometry.nms import nms
from visage.geometry.squares import square_matrices
from visage.geometry.warping import warp

Task = Literal["detection", "recognition", "attributes-gender-age", "attributes-mask", "landmarks-106"]

# The setting that names the network of each task.
SETTINGS: Mapping[Task, str] = {
    "detection": "DET_NAME",
    "recognition": "REC_NAME",
    "attributes-gender-age": "GA_NAME",
    "attributes-mask": "MASK_DETECTOR",
    "landmarks-106": "LANDMARKS_NAME",
}

# What the graph of any file goes through before it is opened (`zoo.graph`); each does nothing where nothing is to be
# done. A detector whose decoding is not in its graph takes pictures of any size besides.
REWRITES = ("first_input_only", "fold_dequantize", "dynamic_batch", "prelu_as_relu")
DENSE_REWRITES = (*REWRITES, "dynamic_size")

Params = Mapping[str, Any]
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """What a network proposes for one picture at one size of it, before any is suppressed.

    `rows` float32 (n, 15) in the network's pixels: box (4), score, landmarks (10); a sixteenth column where the
    network tells of masks. `scale`: network pixels per picture pixel.
    """

    rows: Floats
    scale: float

    def rows_at(self, scale: float) -> Floats:
        """The rows as if the picture had been shown at `scale`."""
        if scale == self.scale:
            return self.rows
        rows = self.rows.copy()
        rows[:, _PLACES] *= np.float32(scale / self.scale)
        return rows


# The columns of a proposal that are pixels.
_PLACES = np.r_[0:4, 5:ROW]


class Detector(Protocol):
    """Finds faces: proposes at one or several sizes of a picture, then suppresses among all of them at once."""

    @property
    def sizes(self) -> Sizes: ...

    @property
    def max_batch(self) -> int: ...

    @property
    def streams(self) -> int: ...

    def propose(self, images: ImageBatch, thresholds: Floats, /) -> Sequence[Proposals]:
        """One `Proposals` an image. `thresholds` (N,) are per image: a batch mixes requests."""
        ...

    def suppress(self, sizes: Sequence[Proposals], /) -> Detections:
        """The faces of one picture in its own pixels, best first, from its proposals at each size it was shown at.

        Overlaps are judged in the network pixels of the *first* size, with the family's conventions (a box that
        counts its last pixel, edges cut to whole ones): the others are scaled to it. So a further size that
        proposes nothing changes nothing.
        """
        ...

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        """Both for pictures of one size each: one `Detections` an image, in that image's own pixels."""
        ...


class DenseDetector(ABC, Generic[A]):
    """A detector whose network answers for whole pictures: what all of them do with batches, thresholds and scales.

    A family says how the outputs of a batch fall into one answer a picture, and which proposals such an answer holds.
    A box gives way to a better one from an intersection over union above `overlap`.
    """

    def __init__(self, session: Session, overlap: float) -> None:
        self._session = session
        self._overlap = overlap
        self.sizes: Sizes = session.sizes
        self.max_batch: int = session.max_batch
        self.streams: int = session.streams

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        return [self.suppress([proposals]) for proposals in self.propose(images, thresholds)]

    def propose(self, images: ImageBatch, thresholds: Floats, /) -> list[Proposals]:
        width = images.pixels.shape[2]
        answers = [one for batch in run_in_batches(self._session, images.pixels) for one in self._split(batch)]
        if len(answers) != len(images):
            raise GraphRejected("this network has no batch axis in its outputs; set DET_BATCH_SIZE=1")
        return [
            Proposals(self._proposed(answer, width, float(threshold)), float(scale))
            for answer, threshold, scale in zip(answers, thresholds, images.scales, strict=True)
        ]

    def suppress(self, sizes: Sequence[Proposals], /) -> Detections:
        scale = sizes[0].scale
        rows = sizes[0].rows if len(sizes) == 1 else np.concatenate([one.rows_at(scale) for one in sizes])
        kept = self._survivors(rows)
        boxes: Floats = kept[:, :4] / np.float32(scale)
        landmarks: Floats = kept[:, 5:ROW].reshape(-1, 5, 2) / np.float32(scale)
        return Detections(boxes, kept[:, 4].copy(), landmarks, kept[:, ROW].copy() if kept.shape[1] > ROW else None)

    @abstractmethod
    def _split(self, outputs: tuple[Floats, ...]) -> Iterable[A]:
        """One answer for each picture of a batch. Raises GraphRejected for outputs of another family."""

    @abstractmethod
    def _proposed(self, answer: A, width: int, threshold: float) -> Floats:
        """One picture's rows (n, 15 or 16) above the threshold, as in `Proposals`; `width` is the network input's."""

    def _survivors(self, rows: Floats) -> Floats:
        """The rows that no better one suppresses, best first, boxes as left, top, right, bottom."""
        survivors: Floats = rows[nms(rows, rows[:, 4], self._overlap)]
        return survivors


@dataclass(frozen=True, slots=True)
class Crop:
    """Which pixels of a picture a network of crops wants: `size`×`size` of them for each face.

    `margin` None: the face turned onto the five-point template. A number: the upright square around the box, its
    side the longer one of the box times `margin`.
    """

    size: int = CROP_SIZE
    margin: float | None = None

    def matrices(self, found: Detections) -> NDArray[np.float64]:
        """The maps picture → crop, (n, 2, 3)."""
        if self.margin is None:
            return alignment_matrices(found.landmarks, template(self.size))
        return square_matrices(found.boxes, self.size, self.margin)

    def cut(self, pixels: Pixels, found: Detections) -> Pixels:
        """The crops of a picture's faces: uint8 (H, W, 3) BGR → (n, size, size, 3), black outside the picture."""
        return warp(pixels, self.matrices(found), self.size)


ALIGNED = Crop()


class CropModel(Protocol[T_co]):
    """Crops in, one answer a crop out: embedder, gender/age, mask and landmark networks alike."""

    @property
    def crop(self) -> Crop: ...

    @property
    def max_batch(self) -> int: ...

    @property
    def streams(self) -> int: ...

    def predict(self, crops: Pixels, /) -> Sequence[T_co]:
        """uint8 (F, size, size, 3) BGR as `crop` says → F answers, in order; places are pixels of the crop."""
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """Networks that share pre- and post-processing; `build` makes the object of `task`.

    `rewrites` name what their graphs go through before they are opened.
    """

    name: str
    task: Task
    preprocess: Preprocess
    build: Callable[[Session, Params], Any]
    rewrites: tuple[str, ...] = REWRITES
