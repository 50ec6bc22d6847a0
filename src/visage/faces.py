"""The values that flow: images in, faces out.

Many faces are a struct of arrays while they are computed on (`Detections`); one object a face
(`Face`) only at the end. Coordinates are pixels of the upright picture, x to the right, y down.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.errors import ImageError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A decoded, upright picture: `pixels` uint8 (H, W, 3) BGR."""

    pixels: Pixels
    format: str = "raw"
    warnings: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class ImageBatch:
    """Pictures fitted into one network input.

    `pixels` uint8 (N, h, w, 3) BGR; `scales` float64 (N,): network pixels per picture pixel.
    """

    pixels: Pixels
    scales: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.scales.shape != (len(self.pixels),):
            raise ValueError(f"{self.pixels.shape} pixels do not go with {self.scales.shape} scales")

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The faces of one image, best score first.

    `boxes` float32 (n, 4) left, top, right, bottom; `scores` float32 (n,) in 0..1;
    `landmarks` float32 (n, 5, 2): eyes, nose, mouth corners, the viewer's left first;
    `masks` float32 (n,): the probability of a worn mask, None from a detector that knows none.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats
    masks: Floats | None = None

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes.shape != (n, 4) or self.landmarks.shape != (n, 5, 2):
            raise ValueError(f"{n} scores with boxes {self.boxes.shape}, landmarks {self.landmarks.shape}")
        if self.masks is not None and self.masks.shape != (n,):
            raise ValueError(f"{n} scores with masks {self.masks.shape}")

    @classmethod
    def none(cls) -> "Detections":
        """No face at all."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, which: Any) -> "Detections":
        """A subset: `which` is a slice, a boolean mask (n,) or an index array."""
        masks = None if self.masks is None else self.masks[which]
        return Detections(self.boxes[which], self.scores[which], self.landmarks[which], masks)

    def widths(self) -> Floats:
        """Box widths in pixels, (n,)."""
        widths: Floats = self.boxes[:, 2] - self.boxes[:, 0]
        return widths

    def areas(self) -> Floats:
        """Box areas in square pixels, (n,)."""
        areas: Floats = self.widths() * (self.boxes[:, 3] - self.boxes[:, 1])
        return areas


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """`vector` float32 (D,) of unit length; `norm`: its length before."""

    vector: Floats
    norm: float


@dataclass(frozen=True, slots=True)
class GenderAge:
    """`gender` 1 male, 0 female; `age` in years."""

    gender: int
    age: int


@dataclass(frozen=True, slots=True)
class MaskScores:
    """Probabilities 0..1 of a worn mask and of none."""

    mask: float
    no_mask: float

    # The reference calls a face masked from 0.89 on (wire contract, part 3).
    WORN_FROM = 0.89

    @property
    def worn(self) -> bool:
        return self.mask > self.no_mask and self.mask >= self.WORN_FROM


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """All that was asked about one face; None where it was not asked or no network answers it.

    `index` counts the image's faces after `limit_faces`, before `min_face_size`.
    """

    index: int
    box: Floats  # (4,)
    score: float
    landmarks: Floats  # (5, 2)
    embedding: Embedding | None = None
    gender_age: GenderAge | None = None
    mask: MaskScores | None = None
    crop: Pixels | None = None  # (112, 112, 3) BGR, aligned
    landmarks_106: Floats | None = None  # (106, 2)


@dataclass(frozen=True, slots=True, eq=False)
class ImageFaces:
    """The answer for one image that could be processed.

    `scale`: network pixels per picture pixel of the detection; `size`: (width, height) of the upright picture;
    `found`: how many faces the detector saw, of which `faces` are those that were asked for.
    """

    faces: list[Face]
    scale: float
    size: tuple[int, int]
    warnings: tuple[str, ...] = ()
    found: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image of a request, with the seconds that reading and the networks took."""

    result: ImageFaces | ImageError
    read_seconds: float = 0.0
    network_seconds: float = 0.0
