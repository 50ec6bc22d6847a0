"""WebP (RFC 9649): the size and the EXIF block out of its chunks, pixels by OpenCV or Pillow."""

import struct
from collections.abc import Iterator

from visage.faces import Image
from visage.images.decoders import broken, by_opencv, by_pillow, first_that_can, opened_by_pillow
from visage.images.limits import Limits
from visage.images.turning import orientation_of, turned

_HEAD = 12  # "RIFF", a length, "WEBP"
_MOST_CHUNKS = 100_000


def is_webp(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def read(data: bytes, limits: Limits) -> Image:
    """One WebP, upright; the first frame of an animated one. Raises ImageTooLarge or ImageUndecodable."""
    orientation, sizes = 1, []
    for name, body in _chunks(data):
        if name == b"EXIF":
            orientation = orientation_of(bytes(body)) or orientation
        else:
            sizes += _size(name, bytes(body[:30]))
    if not sizes:
        raise broken("WebP")
    for width, height in sizes:
        limits.judge(width, height)
    pixels = first_that_can("WebP", lambda: by_opencv(data), lambda: by_pillow(opened_by_pillow(data, "WEBP")))
    return Image(turned(pixels, orientation), "WEBP")


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, at = memoryview(data), _HEAD
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return
        name, length = struct.unpack_from("<4sI", data, at)
        yield name, view[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _size(name: bytes, body: bytes) -> list[tuple[int, int]]:
    """The size that a chunk tells: of the canvas, of a picture or of a frame."""
    try:
        match name:
            case b"VP8X":
                return [(_three(body, 4) + 1, _three(body, 7) + 1)]
            case b"ANMF":
                return [(_three(body, 6) + 1, _three(body, 9) + 1)]
            case b"VP8 ":
                width, height = struct.unpack_from("<HH", body, 6)
                return [(width & 0x3FFF, height & 0x3FFF)]
            case b"VP8L":
                (bits,) = struct.unpack_from("<I", body, 1)
                return [((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)]
    except struct.error:
        pass
    return []


def _three(body: bytes, at: int) -> int:
    if at + 3 > len(body):
        raise struct.error
    return int.from_bytes(body[at : at + 3], "little")
