"""HEIF (ISO/IEC 23008-12): HEIC by libheif, AVIF by libavif.

How such a picture is to be shown, its file says itself: clean aperture, rotation, mirror. An EXIF orientation turns
nothing (MIAF, ISO/IEC 23000-22, 7.3.10), as in browsers, libheif and libavif. libheif does what the file says, libavif
leaves it to us.
"""

import struct
from fractions import Fraction

import numpy as np

from visage.faces import Image, Pixels
from visage.images.boxes import Still, brands, still
from visage.images.decoders import DecoderFailed, broken, by_pillow, noted, opened_by_pillow
from visage.images.foreign import no_picture, unread
from visage.images.limits import Limits

NOT_CUT = "the picture's clean aperture is not inside it; the whole was used"

_AVIF, _HEVC = b"av01", frozenset({b"hvc1", b"hev1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_BRANDS = (
    _AVIF_BRANDS | _HEIC_BRANDS | {b"mif1", b"mif2", b"mif3", b"msf1", b"miaf", b"MiHB", b"MiHE", b"MA1A", b"MA1B"}
)
_RAW_BRAND = b"crx "


def is_media(data: bytes) -> bool:
    """Whether it is built of boxes: such a picture, or a video."""
    return data[4:8] == b"ftyp"


def read(data: bytes, limits: Limits) -> Image:
    """The primary picture, as it is to be shown. Raises ImageTooLarge, UnsupportedFormat or ImageUndecodable."""
    said, shown = frozenset(brands(data)), still(data)
    if _RAW_BRAND in said:
        raise unread("a camera's raw file (CR3)")
    if shown is None and not said & _BRANDS:
        raise no_picture("a video")
    coded = shown.coded if shown else b""
    if coded == _AVIF or (not coded and said & _AVIF_BRANDS):
        pixels = _decoded(data, "AVIF", b"avif" if shown else data[8:12], limits)
        pixels, notes = _shown(pixels, shown) if shown else (pixels, ())
        return Image(np.ascontiguousarray(pixels), "AVIF", notes)
    if coded in _HEVC or not coded:
        return Image(_decoded(data, "HEIF", b"heic", limits), "HEIF")
    raise unread(f"HEIF whose picture is coded as {coded.decode('latin-1')!a}")


def _decoded(data: bytes, kind: str, brand: bytes, limits: Limits) -> Pixels:
    """By Pillow's plugin for `kind`, which knows a file by its major brand: as `brand`, else as it is."""
    failures = []
    for file in dict.fromkeys((data[:8] + brand + data[12:], data)):
        try:
            picture = opened_by_pillow(file, kind)
            limits.judge(*picture.size)
            return by_pillow(picture)
        except DecoderFailed as failure:
            failures.append(failure)
    raise noted(broken({"HEIF": "HEIC"}.get(kind, kind)), failures)


def _shown(pixels: Pixels, picture: Still) -> tuple[Pixels, tuple[str, ...]]:
    """Cut, turned and mirrored as the properties say, in their order; and what is to be said about it."""
    notes: tuple[str, ...] = ()
    for name, body in picture.properties:
        if name == b"clap":
            found = _aperture(body, pixels.shape[1], pixels.shape[0])
            if found is None:
                notes = (NOT_CUT,)
            else:
                left, top, width, height = found
                pixels = pixels[top : top + height, left : left + width]
        elif name == b"irot" and body:
            pixels = np.rot90(pixels, body[0] & 3)
        elif name == b"imir" and body:
            pixels = pixels[:, ::-1] if body[0] & 1 else pixels[::-1]
    return pixels, notes


def _aperture(body: bytes, width: int, height: int) -> tuple[int, int, int, int] | None:
    """(left, top, width, height) of the clean aperture (ISO/IEC 14496-12, 12.1.4.1); None where it is not inside."""
    try:
        numbers = struct.unpack_from(">IIIIiIiI", body)
        across, down, right, below = (Fraction(numbers[i], numbers[i + 1]) for i in (0, 2, 4, 6))
    except (struct.error, ZeroDivisionError):
        return None
    left, top = round((width - across) / 2 + right), round((height - down) / 2 + below)
    wide, high = round(across), round(down)
    if wide < 1 or high < 1 or left < 0 or top < 0 or left + wide > width or top + high > height:
        return None
    return left, top, wide, high
