"""The pictures that are measured with: made of misc/images, and of ../shared where it is beside the project."""

from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

REPO = Path(__file__).resolve().parents[1]
IMAGES = REPO / "misc" / "images"
TESTDATA = REPO.parent / "shared" / "testdata"


def one_face() -> bytes:
    """misc/images/grace_hopper.jpg at 880×1076, one face."""
    return jpeg(_portrait(880, 1076))


def wide() -> bytes:
    """The same before a grey wall, 1920×1080: what a camera gives."""
    canvas = np.full((1080, 1920, 3), 96, np.uint8)
    canvas[:, 520:1400] = _portrait(880, 1080)
    return jpeg(canvas)


def crowd() -> bytes:
    """Hundreds of faces: the test data's football crowd where it is there, else misc/images/group.jpg sixteen times."""
    real = TESTDATA / "images" / "detect" / "ifr_lumia.jpg"
    return real.read_bytes() if real.is_file() else jpeg(np.tile(read("group.jpg"), (4, 4, 1)))


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 90, "BGR", "420")


def _portrait(width: int, height: int) -> NDArray[np.uint8]:
    picture = read("grace_hopper.jpg")
    factor = height / picture.shape[0]
    large = np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)
    left = max(0, (large.shape[1] - width) // 2)
    return np.asarray(cv2.resize(large[:height, left : left + width], (width, height)), np.uint8)


def read(name: str) -> NDArray[np.uint8]:
    """A picture of misc/images, BGR."""
    return np.asarray(cv2.imread(str(IMAGES / name)), np.uint8)
