"""What makes a stored picture upright: the EXIF orientation (TIFF 6.0, tag 274), and the turns that it stands for."""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from visage.faces import Pixels
from visage.images.directories import directory_at, layout_of

ORIENTATION: Final = 274
_MARK = b"Exif\0\0"  # stands before the block in a JPEG, and now and then where it need not


def orientation_of(block: bytes) -> int | None:
    """What an EXIF block says, 1 to 8; None where it says nothing, or nothing that can be read."""
    while block.startswith(_MARK):
        block = block[len(_MARK) :]
    try:
        layout = layout_of(block)
        told = directory_at(block, layout, layout.first).number(ORIENTATION, 0)
    except ValueError:
        return None
    return told if told in _TURNS else None


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """uint8 (H, W, 3) as stored → upright; what is no orientation turns nothing."""
    return _TURNS.get(orientation, _TURNS[1])(pixels)


def _turn(code: int, flip: int | None) -> Callable[[Pixels], Pixels]:
    def turn(pixels: Pixels) -> Pixels:
        rotated = cv2.rotate(pixels, code) if code >= 0 else pixels
        return np.asarray(rotated if flip is None else cv2.flip(rotated, flip), np.uint8)

    return turn


# Orientation → how the stored picture becomes upright; flip 1 mirrors left-right, 0 top-bottom.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: _turn(-1, 1),
    3: _turn(cv2.ROTATE_180, None),
    4: _turn(-1, 0),
    5: _turn(cv2.ROTATE_90_CLOCKWISE, 1),
    6: _turn(cv2.ROTATE_90_CLOCKWISE, None),
    7: _turn(cv2.ROTATE_90_CLOCKWISE, 0),
    8: _turn(cv2.ROTATE_90_COUNTERCLOCKWISE, None),
}
