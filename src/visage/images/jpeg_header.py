"""What stands before the pixels of a JPEG (ITU-T T.81, JFIF, EXIF), read as libjpeg reads it."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from visage.images.decoders import broken
from visage.images.turning import orientation_of

START = b"\xff\xd8"
SOI, EOI, SOS, APP0, APP1, APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
LOSSLESS, LS = 0xC3, 0xF7

_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)  # bytes before it are skipped
_FRAMES = frozenset({*range(0xC0, 0xD0), LS} - {0xC4, 0xC8, 0xCC})
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers that no length follows
_MOST_SEGMENTS = 20_000


@dataclass(frozen=True, slots=True)
class Header:
    """`frame`: the marker of the frame; `bits` a sample; `sampling`: (horizontal, vertical) of each component.

    `orientation`: EXIF's, 1 where there is none. `kept`: the segments that pixels depend on, as the standards have
    them. `scans`: where the first scan begins. `flawed`: something stands before it that should not.
    """

    frame: int
    bits: int
    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]
    orientation: int
    kept: tuple[bytes, ...]
    scans: int
    flawed: bool


@dataclass(frozen=True, slots=True)
class _Segment:
    """`start`: where its marker stands; `skipped`: bytes before it that belong to nothing."""

    marker: int
    start: int
    skipped: bool
    body: bytes


def header_of(data: bytes) -> Header:
    """Raises ImageUndecodable where no frame, or no scan after it, can be found."""
    orientation, flawed = 0, False
    frame: _Segment | None = None
    kept: list[bytes] = []
    for segment in _segments(data):
        flawed |= segment.skipped
        if segment.marker == SOS:
            if frame is None:
                break
            return _header(frame, orientation or 1, tuple(kept), segment.start, flawed)
        if segment.marker in _FRAMES:
            frame = segment
        elif segment.marker == APP1 and not orientation and segment.body.startswith(b"Exif\0"):
            orientation = orientation_of(segment.body) or 0
        elif segment.marker == APP0 and _is_jfif(segment.body):
            flawed |= segment.body[5] != 1
        kept += _kept(segment)
    raise broken("JPEG")


def _segments(data: bytes) -> Iterator[_Segment]:
    """Up to the first scan, whose segment is the last."""
    at = len(START)
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        start = found.start()
        marker, skipped = data[start + 1], bool(data[at:start].strip(b"\xff"))
        at = start + 2
        if marker == EOI:
            return
        if marker in _ALONE:
            continue
        end = at + max(2, int.from_bytes(data[at : at + 2], "big"))
        yield _Segment(marker, start, skipped, data[at + 2 : end])
        if marker == SOS:
            return
        at = end


def _kept(segment: _Segment) -> tuple[bytes, ...]:
    """The segment as decoders need it; nothing where they do not."""
    body = segment.body
    if segment.marker in _FRAMES or segment.marker in _TABLES:
        return (_written(segment.marker, body),)
    if segment.marker == APP0 and _is_jfif(body):
        return (_written(APP0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),)
    if segment.marker == APP14 and len(body) >= 12 and body.startswith(b"Adobe"):
        return (_written(APP14, body[:12]),)
    return ()


def _is_jfif(body: bytes) -> bool:
    return len(body) >= 14 and body.startswith(b"JFIF\0")


def _written(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _header(frame: _Segment, orientation: int, kept: tuple[bytes, ...], scans: int, flawed: bool) -> Header:
    try:
        bits, height, width, count = struct.unpack_from(">BHHB", frame.body)
        sampling = tuple((frame.body[7 + 3 * i] >> 4, frame.body[7 + 3 * i] & 15) for i in range(count))
    except (struct.error, IndexError):
        raise broken("JPEG") from None
    return Header(frame.marker, bits, width, height, sampling, orientation, kept, scans, flawed)
