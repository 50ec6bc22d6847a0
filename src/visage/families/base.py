"""What numbers mean: the interfaces that every family of networks offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from visage.backends.base import Preprocess, Session, Sizes, run_in_batches
from visage.errors import GraphRejected
from visage.faces import Detections, Floats, ImageBatch, Pixels

Task = Literal["detection", "recognition", "attributes-gender-age", "attributes-mask"]

# The setting that names the network of each task.
SETTINGS: Mapping[Task, str] = {
    "detection": "DET_NAME",
    "recognition": "REC_NAME",
    "attributes-gender-age": "GA_NAME",
    "attributes-mask": "MASK_DETECTOR",
}

# What the graph of any file goes through before it is opened (`zoo.graph`); each does nothing where nothing is to be
# done. A detector whose decoding is not in its graph takes pictures of any size besides.
REWRITES = ("first_input_only", "fold_dequantize", "dynamic_batch")
DENSE_REWRITES = (*REWRITES, "dynamic_size")

Params = Mapping[str, Any]
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")


class Detector(Protocol):
    """Finds faces."""

    @property
    def sizes(self) -> Sizes: ...

    @property
    def max_batch(self) -> int: ...

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        """One `Detections` an image, in that image's own pixels, best first.

        `thresholds` (N,) are per image: a batch mixes requests.
        """
        ...


class DenseDetector(ABC, Generic[A]):
    """A detector whose network answers for whole pictures: what all of them do with batches, thresholds and scales.

    A family says how the outputs of a batch fall into one answer a picture, and how such an answer is read.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.sizes: Sizes = session.sizes
        self.max_batch: int = session.max_batch

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        width = images.pixels.shape[2]
        answers = [one for batch in run_in_batches(self._session, images.pixels) for one in self._split(batch)]
        if len(answers) != len(images):
            raise GraphRejected("this network has no batch axis in its outputs; set DET_BATCH_SIZE=1")
        return [
            self._read(answer, width, float(threshold), float(scale))
            for answer, threshold, scale in zip(answers, thresholds, images.scales, strict=True)
        ]

    @abstractmethod
    def _split(self, outputs: tuple[Floats, ...]) -> Iterable[A]:
        """One answer for each picture of a batch. Raises GraphRejected for outputs of another family."""

    @abstractmethod
    def _read(self, answer: A, width: int, threshold: float, scale: float) -> Detections:
        """One picture's faces in its own pixels; `width` is the network input's, `scale` network per picture pixel."""


class CropModel(Protocol[T_co]):
    """Aligned crops in, one answer a crop out: embedder, gender/age and mask networks alike."""

    @property
    def max_batch(self) -> int: ...

    def predict(self, crops: Pixels, /) -> Sequence[T_co]:
        """uint8 (F, 112, 112, 3) BGR → F answers, in order."""
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
