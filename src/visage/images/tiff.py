"""TIFF (6.0, BigTIFF), and cameras' raw files that are built like one: the full picture, else a smaller copy of it."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import ImageError, ImageTooLarge, UnsupportedFormat
from visage.faces import Image, Pixels
from visage.images import jpeg
from visage.images.decoders import (
    DecoderFailed,
    as_stored_by_opencv,
    broken,
    by_opencv,
    by_pillow,
    noted,
    opened_by_pillow,
    samples_by_pillow,
)
from visage.images.limits import Limits
from visage.images.pages import (
    BITS,
    EXTRA,
    FORMAT,
    PHOTOMETRIC,
    PLANAR,
    SAMPLES,
    Page,
    pages_of,
)
from visage.images.samples import bgr_of, of_fractions, of_whole_numbers
from visage.images.turning import turned

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

REDUCED = "the file's full picture is not read; a smaller copy of it, which the file holds too, was used"

_SIGNED, _FLOATS, _COMPLEX = 2, 3, (5, 6)
_WHITE_IS_0, _BLACK_IS_0, _RGB, _INKS = 0, 1, 2, 5
_APART = 2  # planar configuration: a plane a colour
_UNSPECIFIED, _PREMULTIPLIED, _STRAIGHT = 0, 1, 2
_MOST_SAMPLES = 8


def read(data: bytes, limits: Limits) -> Image:
    """The first page, upright. Raises ImageTooLarge, UnsupportedFormat or ImageUndecodable."""
    try:
        pages = pages_of(data)
    except ValueError:
        raise broken("TIFF") from None
    refused: ImageError | None = None
    for page in pages:
        try:
            pixels, said = _decoded(page, limits)
        except ImageTooLarge:
            raise
        except ImageError as error:
            refused = refused or error
            continue
        full = max((other.pixels for other in pages if not other.reduced), default=0)
        notes = (*said, REDUCED) if page.reduced or page.pixels < full else said
        return Image(turned(pixels, page.orientation), "TIFF", notes)
    raise refused or broken("TIFF")


def _decoded(page: Page, limits: Limits) -> tuple[Pixels, tuple[str, ...]]:
    """As stored, and what is to be said about it."""
    if page.raw:
        raise _unread("a camera's raw picture")
    limits.judge(page.width, page.height)
    limits.judge(*page.tile)
    if page.jpeg:
        return jpeg.stored(page.jpeg, limits)
    failures = []
    for attempt in _attempts(page):
        try:
            pixels = attempt()
            if pixels.shape[:2] == (page.height, page.width):
                return pixels, ()
            failures.append(DecoderFailed(f"{pixels.shape} where the tags say {page.width}×{page.height}"))
        except DecoderFailed as failure:
            failures.append(failure)
    unread = page.whole and all(failure.unknown for failure in failures)
    raise noted(_unread(_described(page)) if unread else broken("TIFF"), failures)


def _attempts(page: Page) -> list[Callable[[], Pixels]]:
    """The decoders that are known to read what the tags tell, rightly. Raises UnsupportedFormat where none is."""
    tags = page.directory
    photometric, samples = tags.number(PHOTOMETRIC, _BLACK_IS_0), tags.number(SAMPLES, 1)
    bits, form = _bits(page), tags.number(FORMAT, 1)
    apart = tags.number(PLANAR, 1) == _APART and samples > 1
    grey = photometric in (_WHITE_IS_0, _BLACK_IS_0)
    if samples > _MOST_SAMPLES or len(set(bits)) > 1:
        raise _unread(_described(page))
    if form == _FLOATS and bits[0] in (32, 64) and not apart and (grey or photometric == _RGB):
        return [lambda: _fractions(page, inverted=photometric == _WHITE_IS_0)]
    if form in (_SIGNED, _FLOATS, *_COMPLEX) or bits[0] > 16:
        raise _unread(_described(page))
    if grey and samples == 1 and bits[0] in (12, 16):
        white = 2 ** bits[0] - 1
        return [lambda: _deep_grey(page, white, inverted=photometric == _WHITE_IS_0)]
    attempts: list[Callable[[], Pixels]] = []
    if not (bits[0] > 8 and apart):  # Pillow mixes up the bytes of those
        attempts.append(lambda: _by_pillow(page))
    # OpenCV mixes up tiles at the edges, and gives no alpha to divide by.
    if not page.tiled and tags.number(EXTRA, _UNSPECIFIED) != _PREMULTIPLIED:
        attempts.append(lambda: by_opencv(page.alone({EXTRA: _UNSPECIFIED})))
    if not attempts:
        raise _unread(_described(page))
    return attempts


def _bits(page: Page) -> tuple[int, ...]:
    """Bits of each sample of a pixel, or of all of them."""
    return page.directory.numbers(BITS, min(_MOST_SAMPLES, max(1, page.directory.number(SAMPLES, 1)))) or (1,)


def _by_pillow(page: Page) -> Pixels:
    """Alpha is kept apart, and taken out of colours that were multiplied by it."""
    extra = page.directory.numbers(EXTRA)
    picture = opened_by_pillow(page.alone({EXTRA: _STRAIGHT if len(extra) == 1 else _UNSPECIFIED}), "TIFF")
    if extra[:1] == (_PREMULTIPLIED,) and picture.mode in ("RGBA", "LA"):
        rgba = samples_by_pillow(picture, "RGBA")
        return _divided(np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR), np.uint8), rgba[..., 3])
    return by_pillow(picture)


def _divided(colours: Pixels, alpha: Pixels) -> Pixels:
    """The colours before they were multiplied by alpha; as they are where they cannot have been."""
    if (colours.max(axis=2) > alpha).any():
        return colours
    shares = np.maximum(alpha, 1)[..., None].astype(np.float32)
    return np.asarray(np.minimum(np.rint(colours * np.float32(255) / shares), 255), np.uint8)


def _deep_grey(page: Page, white: int, *, inverted: bool) -> Pixels:
    file = page.alone({PHOTOMETRIC: _BLACK_IS_0})

    def samples() -> NDArray[Any]:
        try:
            return samples_by_pillow(opened_by_pillow(file, "TIFF"))
        except DecoderFailed:
            if white < 65_535:  # OpenCV does not tell how it fills 16 bits with 12
                raise
            return as_stored_by_opencv(file)

    found = samples()
    if found.ndim != 2 or found.dtype.kind != "u" or found.dtype.itemsize != 2:
        raise DecoderFailed(f"{found.dtype} {found.shape} where the tags say 16 bits of grey")
    grey = of_whole_numbers(found, white)
    return bgr_of(255 - grey if inverted else grey)


def _fractions(page: Page, *, inverted: bool) -> Pixels:
    found = as_stored_by_opencv(page.alone({PHOTOMETRIC: _BLACK_IS_0} if inverted else {}))
    if found.dtype.kind != "f" or (found.ndim == 3 and found.shape[2] not in (3, 4)):
        raise DecoderFailed(f"{found.dtype} {found.shape} where the tags say floating-point samples")
    if found.ndim == 3:
        return of_fractions(np.ascontiguousarray(found[..., :3]))
    grey = of_fractions(found)
    return bgr_of(255 - grey if inverted else grey)


def _described(page: Page) -> str:
    tags = page.directory
    forms = {_SIGNED: "signed", _FLOATS: "floating-point", **dict.fromkeys(_COMPLEX, "complex")}
    samples, form = tags.number(SAMPLES, 1), forms.get(tags.number(FORMAT, 1), "whole")
    bits = ", ".join(map(str, sorted(set(_bits(page)))))
    return f"a TIFF of {samples} {form} samples a pixel, {bits} bits each (photometric {tags.number(PHOTOMETRIC, 1)})"


def _unread(kind: str) -> UnsupportedFormat:
    return UnsupportedFormat(f"The image format is not read: {kind}; save it as JPEG, PNG or a TIFF of 8 or 16 bits")
