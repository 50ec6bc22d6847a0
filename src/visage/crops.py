"""The crops of one picture's faces, each kind made once, when a network first asks for it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from visage.faces import Detections, Floats, Pixels
from visage.families.base import ALIGNED, Crop
from visage.geometry.warping import carried_back


class Crops:
    """Not for several threads: a picture is worked on by one.

    `aligned`: the aligned crops (n, 112, 112, 3) where the caller has them already. `timed` wraps each making.
    """

    def __init__(
        self,
        pixels: Pixels,
        found: Detections,
        aligned: Pixels | None = None,
        timed: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._pixels = pixels
        self._found = found
        self._made = {} if aligned is None else {ALIGNED: aligned}
        self._timed = timed

    def __len__(self) -> int:
        return len(self._found)

    def of(self, crop: Crop) -> Pixels:
        """uint8 (n, size, size, 3) BGR"""
        if crop not in self._made:
            with self._timed():
                self._made[crop] = crop.cut(self._pixels, self._found)
        return self._made[crop]

    def in_picture(self, crop: Crop, places: list[Floats]) -> list[Floats]:
        """Places (m, 2) in each face's crop → the same in the picture."""
        matrices = crop.matrices(self._found)
        return [carried_back(points, matrix) for points, matrix in zip(places, matrices, strict=True)]
