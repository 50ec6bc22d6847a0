"""Bytes → an upright picture, with the header read and judged before any pixel is decoded."""

import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pi_heif
import PIL.Image
import simplejpeg
from PIL import BmpImagePlugin, IcoImagePlugin, PngImagePlugin
from PIL.Image import Image as PilImage

from visage.errors import ImageError, ImageTooLarge, ImageUndecodable, UnsupportedFormat
from visage.faces import Image, Pixels

log = logging.getLogger(__name__)

# Pillow's names of the formats we read; the plugins that it would try beyond these stay out (no PostScript, no SVG).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "AVIF", "HEIF", "ICO", "PPM")
_READ_BY_PILLOW = frozenset({"GIF", "ICO", "HEIF", "AVIF"})
# OpenCV's and Pillow's TIFF readers turn the picture themselves, whatever they are told.
_UPRIGHT_ALREADY = frozenset({"TIFF"})
_NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000, AVIF, HEIC, ICO, PNM"

_ICON, _PNG = b"\0\0\1\0", b"\x89PNG\r\n\x1a\n"
# The chunks of a PNG that can hold an orientation: EXIF, EXIF as ImageMagick writes it, XMP.
_PNG_EXIF = (b"eXIf", b"Raw profile type", b"iTXt")
_MOST_CHUNK = 32 * 1024 * 1024  # bytes that a PNG's chunk may say it has beyond those that came
_ORIENTATION_TAG = 0x0112
_DAMAGED = "the picture is damaged or cut short; what could be read was used"

# What to tell a caller who sent something else, by the bytes it begins with: no picture at all, or a picture
# in a format that is not read.
_NO_PICTURE: tuple[tuple[bytes, str], ...] = (
    (b"%pdf", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document (SVG is not read)"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"\x1ae\xdf\xa3", "a video"),
)
_NOT_READ: tuple[tuple[bytes, str], ...] = (
    (b"8bps", "a Photoshop document"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cjxl ", "JPEG XL"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?radiance", "Radiance HDR"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """`bytes` and `pixels` (width × height) that one image may have."""

    bytes: int = 32 * 1024 * 1024
    pixels: int = 50_000_000


class Decoder:
    """Decodes pictures within `limits`; safe for several threads."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        PIL.Image.init()
        pi_heif.register_heif_opener(thumbnails=False)
        # What Pillow thinks of a stranger's EXIF block is no news to the operator.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        PIL.Image.MAX_IMAGE_PIXELS = None  # ours is the limit: read from the header, the same for every format

    def decode(self, data: bytes) -> Image:
        """One picture, upright, uint8 (H, W, 3) BGR; the first frame where there are several.

        Raises ImageTooLarge, UnsupportedFormat or ImageUndecodable.
        """
        if not data:
            raise ImageUndecodable("Can't decode file, possibly not an image: it is empty")
        if len(data) > self.limits.bytes:
            raise ImageTooLarge(f"The image has {len(data)} bytes; at most {self.limits.bytes} are read")
        if data.startswith(_ICON):
            self._check_size(*_size_in_icon(data))  # Pillow decodes an icon as it opens it
        with _opened(data) as header:
            self._check_size(*header.size)
            kind, turn = header.format or "", _orientation(header, data)
            pixels, said = _pixels(data, header, kind)
        return Image(np.ascontiguousarray(turn(pixels)), kind, said)

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.limits.pixels:
            raise ImageTooLarge(f"The image has {width}×{height} pixels; at most {self.limits.pixels} are decoded")
        if width < 1 or height < 1:
            raise ImageUndecodable(f"The image has no pixels: {width}×{height}")


def _opened(data: bytes) -> PilImage:
    """Pillow's lazy object: the header is parsed, no pixel is."""
    try:
        return PIL.Image.open(io.BytesIO(data), formats=_FORMATS)
    except PIL.UnidentifiedImageError:
        raise _foreign(data) from None
    except Exception as exc:  # plugins raise whatever a broken header makes them stumble over
        raise ImageUndecodable("Can't decode file, possibly not an image: its header is broken") from exc


def _size_in_icon(data: bytes) -> tuple[int, int]:
    """Width and height of the picture that Pillow takes from an icon file; the file's own list may lie about it."""
    stream = io.BytesIO(data)
    try:
        at = IcoImagePlugin.IcoFile(stream).entry[0].offset
        stream.seek(at)
        png = data.startswith(_PNG, at)
        return (PngImagePlugin.PngImageFile(stream) if png else BmpImagePlugin.DibImageFile(stream)).size
    except Exception as exc:  # as in `_opened`
        raise ImageUndecodable("Can't decode file, possibly not an image: its header is broken") from exc


def _foreign(data: bytes) -> ImageError:
    start = data[:64].lstrip().lower()
    for magic, name in _NOT_READ:
        if start.startswith(magic):
            return UnsupportedFormat(f"The image format is not read: {name}; readable are {_NAMES}")
    for magic, name in _NO_PICTURE:
        if start.startswith(magic):
            return ImageUndecodable(f"Can't decode file, possibly not an image: it is {name}")
    if data[4:8] == b"ftyp":
        return ImageUndecodable("Can't decode file, possibly not an image: it is a video")
    return ImageUndecodable("Can't decode file, possibly not an image")


def _pixels(data: bytes, header: PilImage, kind: str) -> tuple[Pixels, tuple[str, ...]]:
    """As stored, not turned yet, BGR; and what is to be said about it."""
    if kind in ("JPEG", "MPO") and header.mode != "CMYK":
        return _jpeg(data)
    if kind not in _READ_BY_PILLOW and (kind != "PNG" or _chunks_are_plausible(data)):
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            decoded = None
        if decoded is not None and decoded.size:
            return np.asarray(decoded, np.uint8), ()
    return _by_pillow(header), ()


def _chunks_are_plausible(data: bytes) -> bool:
    """Whether OpenCV may read this PNG: it makes room for what a chunk says it has, up to 4 GiB."""
    at, most = len(_PNG), max(len(data), _MOST_CHUNK)
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length > most:
            return False
        at += length + 12  # length, name and checksum
    return True


def _jpeg(data: bytes) -> tuple[Pixels, tuple[str, ...]]:
    """At full size, however large: docs/decisions/0008."""
    try:
        return simplejpeg.decode_jpeg(data, "BGR", strict=True), ()
    except ValueError:
        pass
    try:
        return simplejpeg.decode_jpeg(data, "BGR", strict=False), (_DAMAGED,)
    except ValueError as exc:
        raise ImageUndecodable("Can't decode file, possibly not an image: the JPEG data is broken") from exc


def _by_pillow(header: PilImage) -> Pixels:
    try:
        rgb = np.asarray(header.convert("RGB"), np.uint8)
    except Exception as exc:  # decoders raise OSError, ValueError, SyntaxError, struct.error and more
        name = header.format or "image"
        raise ImageUndecodable(f"Can't decode file, possibly not an image: the {name} data is broken") from exc
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)


def _orientation(header: PilImage, data: bytes) -> Callable[[Pixels], Pixels]:
    """The turn that the EXIF orientation asks for (TIFF 6.0, tag 274); none for a broken or unknown one."""
    if header.format in _UPRIGHT_ALREADY:
        return _TURNS[1]
    if header.format == "PNG" and not any(mark in data for mark in _PNG_EXIF):
        return _TURNS[1]  # Pillow would decode all pixels to look for a block behind them
    try:
        value = header.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF block costs the turn, never the picture
        log.debug("unreadable EXIF block ignored", exc_info=True)
        value = 1
    return _TURNS.get(value, _TURNS[1])


def _turned(code: int, flip: int | None) -> Callable[[Pixels], Pixels]:
    def turn(pixels: Pixels) -> Pixels:
        rotated = cv2.rotate(pixels, code) if code >= 0 else pixels
        return np.asarray(rotated if flip is None else cv2.flip(rotated, flip), np.uint8)

    return turn


# EXIF orientation → how the stored picture becomes upright; flip 1 mirrors left-right, 0 top-bottom.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: _turned(-1, 1),
    3: _turned(cv2.ROTATE_180, None),
    4: _turned(-1, 0),
    5: _turned(cv2.ROTATE_90_CLOCKWISE, 1),
    6: _turned(cv2.ROTATE_90_CLOCKWISE, None),
    7: _turned(cv2.ROTATE_90_CLOCKWISE, 0),
    8: _turned(cv2.ROTATE_90_COUNTERCLOCKWISE, None),
}
