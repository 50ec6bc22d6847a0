"""Bytes → an upright picture, with the header read and judged before any pixel is decoded.

Each format is read in a module of its own: `read(data, limits)` is a function of its arguments alone.
"""

import warnings
from collections.abc import Callable

import cv2
import numpy as np
import pi_heif
import PIL.Image

from visage.errors import ImageTooLarge, ImageUndecodable
from visage.faces import Image
from visage.images import heif, jpeg, jpeg_header, others, png, pnm, tiff, webp
from visage.images.limits import Limits

__all__ = ["Decoder", "Limits"]


class Decoder:
    """Decodes pictures within `limits`; safe for several threads."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        PIL.Image.init()
        pi_heif.register_heif_opener(thumbnails=False)
        # What Pillow thinks of a stranger's EXIF block is no news to the operator.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        cv2.utils.logging.setLogLevel(
            cv2.utils.logging.LOG_LEVEL_SILENT
        )  # it writes to standard error whatever it finds in a stranger's file
        PIL.Image.MAX_IMAGE_PIXELS = None  # ours is the limit: read from the header, the same for every format

    def decode(self, data: bytes) -> Image:
        """One picture, upright, uint8 (H, W, 3) BGR; the first frame where there are several.

        Raises ImageTooLarge, UnsupportedFormat or ImageUndecodable; the decoders' own words are the error's notes.
        """
        if not data:
            raise ImageUndecodable("Can't decode file, possibly not an image: it is empty")
        if len(data) > self.limits.bytes:
            raise ImageTooLarge(f"The image has {len(data)} bytes; at most {self.limits.bytes} are read")
        image = _read(data, self.limits)
        return Image(np.ascontiguousarray(image.pixels), image.format, image.warnings)


def _read(data: bytes, limits: Limits) -> Image:
    """By what the data begins with; JPEG and PNG, of which most are, are asked for first."""
    return next(read for belongs, read in _READERS if belongs(data))(data, limits)


_READERS: tuple[tuple[Callable[[bytes], object], Callable[[bytes, Limits], Image]], ...] = (
    (lambda data: data.startswith(jpeg_header.START), jpeg.read),
    (lambda data: data.startswith(png.START), png.read),
    (lambda data: data.startswith(tiff.STARTS), tiff.read),
    (webp.is_webp, webp.read),
    (heif.is_media, heif.read),
    (pnm.START.match, pnm.read),
    (lambda _: True, others.read),
)
