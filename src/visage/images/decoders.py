"""The foreign decoders, each behind one call that answers pixels or says in its own words why there are none."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.Image import Image as PilImage

from visage.errors import ImageError, ImageUndecodable
from visage.faces import Pixels


class DecoderFailed(Exception):
    """One decoder could not; another may. Its text is the decoder's own words, fit for the log alone.

    `unknown`: perhaps the decoder does not know this form of the format, so that nothing is said about the data.
    """

    def __init__(self, words: str, *, unknown: bool = False) -> None:
        super().__init__(words)
        self.unknown = unknown


def first_that_can(kind: str, *attempts: Callable[[], Pixels]) -> Pixels:
    """The pixels of the first attempt that has any. Raises ImageUndecodable, `noted`, when none has."""
    failures = []
    for attempt in attempts:
        try:
            return attempt()
        except DecoderFailed as failure:
            failures.append(failure)
    raise noted(broken(kind), failures)


def broken(kind: str) -> ImageUndecodable:
    return ImageUndecodable(f"Can't decode file, possibly not an image: the {kind} data is broken or cut short")


def noted(error: ImageError, failures: Sequence[DecoderFailed]) -> ImageError:
    """`error`, with what the decoders said as its notes (`__notes__`): for the log, not for the caller."""
    for failure in failures:
        error.add_note(str(failure))
    return error


def by_opencv(data: bytes) -> Pixels:
    """uint8 (H, W, 3) BGR, not turned. Raises DecoderFailed."""
    return np.asarray(_by_opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), np.uint8)


def as_stored_by_opencv(data: bytes) -> NDArray[Any]:
    """(H, W) or (H, W, C) BGR(A), samples of the file's own type. Raises DecoderFailed."""
    return _by_opencv(data, cv2.IMREAD_UNCHANGED)


def _by_opencv(data: bytes, flags: int) -> NDArray[Any]:
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as exc:
        raise DecoderFailed(f"OpenCV: {' '.join(str(exc).split())}", unknown=True) from exc
    if decoded is None or not decoded.size:
        raise DecoderFailed("OpenCV: no picture", unknown=True)
    return np.asarray(decoded)


def opened_by_pillow(data: bytes, *kinds: str) -> PilImage:
    """Pillow's lazy object: the header is parsed, no pixel is. Raises DecoderFailed."""
    try:
        return PIL.Image.open(io.BytesIO(data), formats=kinds)
    except Exception as exc:  # plugins raise whatever a broken header makes them stumble over
        raise DecoderFailed(_words(exc), unknown=True) from exc


def by_pillow(picture: PilImage) -> Pixels:
    """uint8 (H, W, 3) BGR; colours under alpha as they are stored. Raises DecoderFailed."""
    return np.asarray(cv2.cvtColor(samples_by_pillow(picture, "RGB"), cv2.COLOR_RGB2BGR), np.uint8)


def samples_by_pillow(picture: PilImage, mode: str = "") -> NDArray[Any]:
    """The samples in that mode of Pillow's, or in the picture's own. Raises DecoderFailed."""
    try:
        return np.asarray(picture if mode in ("", picture.mode) else picture.convert(mode))
    except Exception as exc:  # decoders raise OSError, ValueError, SyntaxError, struct.error and more
        raise DecoderFailed(_words(exc), unknown="unknown raw mode" in str(exc)) from exc


def _words(exc: Exception) -> str:
    return f"Pillow: {type(exc).__name__}: {exc}"
