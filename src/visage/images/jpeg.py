"""JPEG (ITU-T T.81, JFIF, EXIF): what the headers say, and pixels by libjpeg-turbo.

A decoder's warning about a header says nothing of the pixels. So where one is given, the picture is read again out of a
file that has the same tables, frame and scans and none of the rest: what is said then is said about the pixels.
"""

import re

import cv2
import numpy as np
import PIL.Image
import simplejpeg

from visage.errors import ImageError, UnsupportedFormat
from visage.faces import Image, Pixels
from visage.images.decoders import DecoderFailed, broken, by_pillow, noted, opened_by_pillow
from visage.images.jpeg_header import APP14, EOI, LOSSLESS, LS, START, Header, header_of
from visage.images.limits import Limits
from visage.images.turning import turned

DAMAGED = "the picture is damaged or cut short; what could be read was used"
FLAWED = "the JPEG's header is flawed; its picture was read"

_MOST_BLOCKS = 10  # T.81, B.2.3
_END = bytes([0xFF, EOI])
_RESTART, _COUNT = re.compile(rb"\xff([\xd0-\xd7])"), bytes(range(0xD0, 0xD8))
# Frames that nobody here reads, by their marker (T.81, table B.1).
_UNREAD = {
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "a hierarchical JPEG"),
    LOSSLESS: "a lossless JPEG of this kind",
    0xCB: "a lossless, arithmetically coded JPEG",
    LS: "JPEG-LS",
}


def read(data: bytes, limits: Limits) -> Image:
    """One JPEG, upright. Raises ImageTooLarge, UnsupportedFormat or ImageUndecodable."""
    header = header_of(data)
    pixels, said = _stored(data, header, limits)
    return Image(turned(pixels, header.orientation), "JPEG", said)


def stored(data: bytes, limits: Limits) -> tuple[Pixels, tuple[str, ...]]:
    """As `read`, but not turned."""
    return _stored(data, header_of(data), limits)


def _stored(data: bytes, header: Header, limits: Limits) -> tuple[Pixels, tuple[str, ...]]:
    limits.judge(header.width, header.height)
    try:
        return _decoded(data, header, strict=True), ()
    except DecoderFailed as failure:
        return _in_spite_of(failure, data, header)


def _decoded(data: bytes, header: Header, *, strict: bool) -> Pixels:
    """By simplejpeg, at full size, however large: docs/decisions/0008. With `strict` a warning is a failure."""
    channels = 4 if len(header.sampling) == 4 else 3
    # What was judged is what is decoded into: were the decoder to find a larger picture, it would fail.
    room = np.empty((header.height, header.width, channels), np.uint8)
    try:
        pixels = simplejpeg.decode_jpeg(data, "CMYK" if channels == 4 else "BGR", buffer=room, strict=strict)
    except (ValueError, KeyError) as exc:  # KeyError for colours that it has no name for
        raise DecoderFailed(f"simplejpeg: {exc!r}") from exc
    if pixels.shape != room.shape:
        raise DecoderFailed(f"simplejpeg: {pixels.shape} where the header says {room.shape}")
    return _of_inks(pixels) if channels == 4 else pixels


def _of_inks(inverted: Pixels) -> Pixels:
    """CMYK as JPEGs have it, 255 for no ink → BGR, by Pillow's formula."""
    height, width, _ = inverted.shape
    return by_pillow(PIL.Image.frombuffer("CMYK", (width, height), cv2.bitwise_not(inverted), "raw", "CMYK", 0, 1))


def _in_spite_of(warning: DecoderFailed, data: bytes, header: Header) -> tuple[Pixels, tuple[str, ...]]:
    """The picture of a file that a decoder is not content with, and what is to be said about it."""
    failures = [warning]
    bare = START + b"".join(_for_certain(part, header) for part in header.kept) + data[header.scans :]
    for strict, note in ((True, FLAWED), (False, DAMAGED)):
        try:
            return _decoded(bare, header, strict=strict), (note,)
        except DecoderFailed as failure:
            failures.append(failure)
    # libjpeg reads samplings that its fast interface does not know; Pillow and OpenCV ask it directly.
    whole = _is_whole(data, header)
    try:
        pixels = by_pillow(opened_by_pillow(bare if whole else bare + _END, "JPEG"))
        if pixels.shape[:2] != (header.height, header.width):
            raise DecoderFailed(f"Pillow: {pixels.shape} where the header says {header.width}×{header.height}")
    except DecoderFailed as failure:
        raise noted(_refusal(header), [*failures, failure]) from failure
    return pixels, (() if whole else (DAMAGED,)) + ((FLAWED,) if header.flawed else ())


def _for_certain(segment: bytes, header: Header) -> bytes:
    """Adobe's segment with a transform that exists: of any other, libjpeg warns and takes the usual one."""
    if segment[1] != APP14:
        return segment
    usual = 2 if len(header.sampling) == 4 else 1
    return segment[:-1] + bytes([segment[-1] if segment[-1] in (0, usual) else usual])


def _is_whole(data: bytes, header: Header) -> bool:
    """Whether an end follows the scans, and restart markers count as they must."""
    end = data.rfind(_END, header.scans)
    if end < 0:
        return False
    for scan in data[header.scans : end].split(b"\xff\xda"):
        counted = b"".join(_RESTART.findall(scan))
        if counted != (_COUNT * (len(counted) // len(_COUNT) + 1))[: len(counted)]:
            return False
    return True


def _refusal(header: Header) -> ImageError:
    """Why nobody read it: a kind of JPEG that is not read, or a broken one."""
    name = _UNREAD.get(header.frame, "")
    most = [max((axis[i] for axis in header.sampling), default=1) for i in (0, 1)]
    if header.bits != 8 and header.frame != LOSSLESS:
        name = f"a JPEG of {header.bits} bits a sample"
    elif not name and len(header.sampling) not in (1, 3, 4):
        name = f"a JPEG of {len(header.sampling)} components"
    elif not name and any(0 in axis or most[0] % axis[0] or most[1] % axis[1] for axis in header.sampling):
        name = "a JPEG whose colours are sampled at no whole fraction"
    elif not name and len(header.sampling) > 1 and sum(h * v for h, v in header.sampling) > _MOST_BLOCKS:
        name = "a JPEG whose colours are sampled in more pieces than the standard allows"
    if not name:
        return broken("JPEG")
    return UnsupportedFormat(f"The image format is not read: {name}; save it as an ordinary JPEG or PNG")
