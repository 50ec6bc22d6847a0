"""What the first bytes of a file say: whether it is a picture, and whether it came as it was sent."""

import re

# Formats that are read, and some that are known and refused by name.
_STARTS = (
    b"\xff\xd8",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",  # TIFF, and BigTIFF
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000: the file, and the bare codestream
    b"\xff\x4f\xff\x51",
    b"\0\0\1\0",  # ICO
    b"\0\0\0\x0cJXL \r\n\x87\n",
    b"\xff\x0a",  # JPEG XL's bare codestream
    b"8BPS",
    b"\x76\x2f\x31\x01",  # OpenEXR
    b"#?RADIANCE",
)
_PNM = re.compile(rb"P[1-7Ff][\s#]")
# WebP; HEIC, AVIF and whatever else is built of ISO's boxes; BMP by its two headers, since two letters say little.
_PATTERN = re.compile(
    rb"RIFF.{4}WEBP|.{4}ftyp|BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0|[\x28\x34\x38\x40\x6c\x7c]\0\0\0.{8}\x01\0",
    re.DOTALL,
)

_LOST = b"\0\r\n"
_STRIPPED_STARTS = tuple(start.translate(None, _LOST) for start in _STARTS if len(start.translate(None, _LOST)) > 1)
_STRIPPED = re.compile(rb"RIFF.{1,4}WEBP|.{1,4}ftyp|BM", re.DOTALL)
_LEAST = 64  # bytes; every picture but PNM's has a NUL among so many of its first, however small it is


def is_picture(data: bytes) -> bool:
    """Whether a picture's format begins so; of a file that is cut short or damaged further on, too."""
    return data.startswith(_STARTS) or _PATTERN.match(data) is not None or _PNM.match(data) is not None


def is_stripped_picture(data: bytes) -> bool:
    """Whether it is a picture whose NUL bytes and line breaks were taken out, as `curl -d @file` does."""
    if len(data) < _LEAST or any(byte in data for byte in (b"\0", b"\r", b"\n")):
        return False
    return data.startswith(_STRIPPED_STARTS) or _STRIPPED.match(data) is not None
