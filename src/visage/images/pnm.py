"""Netpbm's formats: PBM, PGM, PPM in text and in bytes (P1 to P6), PAM (P7) and PFM, with any `maxval`.

Read here: OpenCV leaves samples of another maxval than 255 dark, Pillow takes seconds for them.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visage.errors import ImageUndecodable
from visage.faces import Image, Pixels
from visage.images.decoders import broken
from visage.images.limits import Limits
from visage.images.samples import bgr_of, of_fractions

START: Final = re.compile(rb"P(?:[1-6]|7\n|[Ff])[\s#]|P7\n")

_TOKEN = re.compile(rb"(?:[ \t\n\v\f\r]|#[^\r\n]*[\r\n])*([-+.0-9]{1,20})")
_COMMENT = re.compile(rb"#[^\r\n]*")
_SPACE = b" \t\n\v\f\r"
_MOST_HEADER = 64 * 1024  # bytes, comments and all


@dataclass(frozen=True, slots=True)
class _Raster:
    """`at`: where the samples begin; `depth` of them a pixel; `most`: the sample that is white."""

    width: int
    height: int
    depth: int
    most: float
    at: int


def read(data: bytes, limits: Limits) -> Image:
    """The first picture of the file. Raises ImageTooLarge, UnsupportedFormat or ImageUndecodable."""
    kind = data[1:2]
    raster = _pam(data) if kind == b"7" else _header(data, kind)
    limits.judge(raster.width, raster.height)
    if kind in b"14":
        return _image(255 * (1 - _bits(data, raster, packed=kind == b"4")), "PBM")
    if kind in b"Ff":
        return _image(of_fractions(_floats(data, raster)), "PFM")
    if not 1 <= raster.most <= 65_535:
        raise _broken(f"its largest sample is {raster.most:g}, which is not between 1 and 65535")
    samples = _texts(data, raster) if kind in b"23" else _numbers(data, raster)
    scaled = _scaled(samples, int(raster.most)).reshape(raster.height, raster.width, raster.depth)
    return _image(scaled, {b"2": "PGM", b"5": "PGM", b"7": "PAM"}.get(kind, "PPM"))


def _image(samples: Pixels, kind: str) -> Image:
    """Grey, grey and alpha, RGB or RGBA → BGR."""
    if samples.shape[2] < 3:
        return Image(bgr_of(np.ascontiguousarray(samples[..., 0])), kind)
    return Image(np.ascontiguousarray(samples[..., 2::-1]), kind)


def _header(data: bytes, kind: bytes) -> _Raster:
    words, at = [], 2
    for _ in range(2 if kind in b"14" else 3):
        found = _TOKEN.match(data, at, _MOST_HEADER)
        if found is None:
            raise _broken("its header ends early")
        words.append(found[1])
        at = found.end()
    try:
        width, height, most = int(words[0]), int(words[1]), float(words[2]) if len(words) > 2 else 1.0
    except ValueError:
        raise _broken("its header is no header") from None
    return _Raster(width, height, 3 if kind in b"36F" else 1, most, at + 1)


def _pam(data: bytes) -> _Raster:
    told: dict[bytes, int] = {}
    at, end = 3, min(len(data), _MOST_HEADER)
    while at < end:
        stop = data.find(b"\n", at, end)
        line, at = data[at : stop if stop >= 0 else end].split(b"#")[0].split(), stop + 1
        if stop < 0 or line == [b"ENDHDR"]:
            break
        if len(line) == 2 and line[1].isdigit():
            told[line[0]] = int(line[1][:20])
    try:
        width, height, depth, most = (told[name] for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    except KeyError as missing:
        raise _broken(f"its header does not tell {missing.args[0].decode()}") from None
    if not 1 <= depth <= 4:
        raise _broken(f"it has {depth} samples a pixel")
    return _Raster(width, height, depth, most, at)


def _bits(data: bytes, raster: _Raster, *, packed: bool) -> Pixels:
    """(H, W, 1) of 0 and 1, which is black."""
    if packed:
        row = (raster.width + 7) // 8
        rows = _taken(data, raster.at, row * raster.height, np.dtype(np.uint8)).reshape(raster.height, row)
        return np.unpackbits(rows, axis=1, count=raster.width)[..., None]
    digits = _COMMENT.sub(b"", data[raster.at - 1 :]).translate(None, _SPACE)
    bits = _taken(digits, 0, raster.width * raster.height, np.dtype(np.uint8))
    if bits.size and not 48 <= bits.min() <= bits.max() <= 49:
        raise _broken("its samples are not 0 and 1")
    return (bits - 48).reshape(raster.height, raster.width, 1)


def _texts(data: bytes, raster: _Raster) -> NDArray[Any]:
    text = _COMMENT.sub(b"", data[raster.at - 1 :])
    count = raster.width * raster.height * raster.depth
    if 2 * count - 1 > len(text):
        raise _broken("it is cut short")
    if text.translate(None, _SPACE + b"0123456789"):
        raise _broken("its samples are no numbers")
    digits = np.frombuffer(text, np.uint8) >= ord("0")
    if np.count_nonzero(digits[1:] & ~digits[:-1]) + digits[0] < count:  # NumPy makes up those that are not there
        raise _broken("it is cut short")
    samples = np.fromstring(text, np.int64, count, sep=" ")
    return np.clip(samples, 0, 65_535).astype(np.uint16)


def _numbers(data: bytes, raster: _Raster) -> NDArray[Any]:
    count = raster.width * raster.height * raster.depth
    return _taken(data, raster.at, count, np.dtype(np.uint8 if raster.most < 256 else ">u2"))


def _floats(data: bytes, raster: _Raster) -> NDArray[Any]:
    """(H, W, C), the uppermost row first; a negative `most` means that the lower byte comes first."""
    order = "<" if raster.most < 0 else ">"
    values = _taken(data, raster.at, raster.width * raster.height * raster.depth, np.dtype(order + "f4"))
    return values.reshape(raster.height, raster.width, raster.depth)[::-1]


def _taken(data: bytes, at: int, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    if at + count * kind.itemsize > len(data):
        raise _broken("it is cut short")
    return np.frombuffer(data, kind, count, at)


def _scaled(samples: NDArray[Any], most: int) -> Pixels:
    """`most` and what is above it is white; rounded."""
    if most == 255 and samples.dtype.itemsize == 1:
        return np.asarray(samples, np.uint8)
    levels = np.minimum(np.arange(256**samples.dtype.itemsize), most)
    table = ((levels * 255 + most // 2) // most).astype(np.uint8)
    return np.asarray(table[samples], np.uint8)


def _broken(why: str) -> ImageUndecodable:
    return ImageUndecodable(f"{broken('PNM')}: {why}")
