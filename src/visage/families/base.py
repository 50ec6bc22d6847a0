"""What numbers mean: the interfaces that every family of networks offers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from visage.backends.base import Preprocess, Session, Sizes
from visage.faces import Detections, Floats, ImageBatch, Pixels

Task = Literal["detection", "recognition", "attributes-gender-age", "attributes-mask"]

# The setting that names the network of each task.
SETTINGS: Mapping[Task, str] = {
    "detection": "DET_NAME",
    "recognition": "REC_NAME",
    "attributes-gender-age": "GA_NAME",
    "attributes-mask": "MASK_DETECTOR",
}

Params = Mapping[str, Any]
T_co = TypeVar("T_co", covariant=True)


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


class CropModel(Protocol[T_co]):
    """Aligned crops in, one answer a crop out: embedder, gender/age and mask networks alike."""

    @property
    def max_batch(self) -> int: ...

    def predict(self, crops: Pixels, /) -> Sequence[T_co]:
        """uint8 (F, 112, 112, 3) BGR → F answers, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """Networks that share pre- and post-processing; `build` makes the object of `task`."""

    name: str
    task: Task
    preprocess: Preprocess
    build: Callable[[Session, Params], Any]
