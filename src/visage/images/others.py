"""Formats that say little beside their pixels: GIF, BMP, JPEG 2000 and icons. Pillow reads their headers."""

import io
import struct

from PIL import BmpImagePlugin, IcoImagePlugin, PngImagePlugin

from visage.faces import Image
from visage.images import png
from visage.images.decoders import DecoderFailed, broken, by_opencv, by_pillow, first_that_can, noted, opened_by_pillow
from visage.images.foreign import refusal_of
from visage.images.limits import Limits

_FORMATS = ("GIF", "DIB", "JPEG2000", "ICO")
_OLD_HEADER = 12  # bytes of OS/2's header, whose numbers are short
_READ_BY_PILLOW = frozenset({"GIF", "ICO"})
_JP2, _SIZ = b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"
_ICON, _BITMAP = b"\0\0\1\0", b"BM"


def read(data: bytes, limits: Limits) -> Image:
    """One picture, or the error that tells what it is instead. Raises ImageError."""
    if data.startswith(_ICON):
        limits.judge(*_size_in_icon(data))  # Pillow decodes an icon as it opens it
    if data.startswith(_BITMAP):
        return _bitmap(data, limits)
    try:
        header = opened_by_pillow(data, *_FORMATS)
    except DecoderFailed as failure:
        return _codestream(data, limits, failure)
    limits.judge(*header.size)
    kind = header.format or ""
    attempts = [lambda: by_pillow(header)]
    if kind not in _READ_BY_PILLOW:
        attempts.insert(0, lambda: by_opencv(data))
    return Image(first_that_can(kind, *attempts), kind)


def _codestream(data: bytes, limits: Limits, failure: DecoderFailed) -> Image:
    """JPEG 2000 in boxes that Pillow does not read: its codestream says all that pixels need (ITU-T T.800, A.5.1)."""
    at = data.find(_SIZ) if data.startswith(_JP2) else -1
    if at < 0 or at + 28 > len(data):
        raise noted(refusal_of(data), [failure]) from failure
    right, below, left, top = struct.unpack_from(">IIII", data, at + 8)
    limits.judge(right - left, below - top)
    return Image(first_that_can("JPEG 2000", lambda: by_opencv(data)), "JPEG2000")


def _bitmap(data: bytes, limits: Limits) -> Image:
    """A BMP, of which OpenCV reads headers that Pillow does not know."""
    form = "<HH" if int.from_bytes(data[14:18], "little") == _OLD_HEADER else "<ii"
    try:
        width, height = struct.unpack_from(form, data, 18)
    except struct.error:
        raise broken("BMP") from None
    limits.judge(width, abs(height))
    return Image(
        first_that_can("BMP", lambda: by_opencv(data), lambda: by_pillow(opened_by_pillow(data, "BMP"))), "BMP"
    )


def _size_in_icon(data: bytes) -> tuple[int, int]:
    """Width and height of the picture that Pillow takes from an icon file; the file's own list may lie about it."""
    stream = io.BytesIO(data)
    try:
        at = IcoImagePlugin.IcoFile(stream).entry[0].offset
        stream.seek(at)
        inner = data.startswith(png.START, at)
        return (PngImagePlugin.PngImageFile(stream) if inner else BmpImagePlugin.DibImageFile(stream)).size
    except Exception as exc:  # plugins raise whatever a broken header makes them stumble over
        raise broken("ICO") from exc
