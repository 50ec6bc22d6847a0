"""A small picture that is known to the pixel, and how it must look."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from visage.faces import Image, Pixels
from visage.images.decoding import Decoder, Limits

WIDTH, HEIGHT = 96, 64
DECODER = Decoder(Limits(bytes=4 * 2**20, pixels=1_000_000))


def _gradient() -> Pixels:
    """RGB, smooth, so that lossy formats stay near; every channel differs, and no two corners are equal."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    return np.stack([20 + 200 * x, 240 - 180 * y, 60 + 60 * x + 100 * y], axis=-1).astype(np.uint8)


RGB = _gradient()
GREY = RGB[..., 0]
ALPHA = np.full((HEIGHT, WIDTH), 128, np.uint8)
DEEP = np.linspace(0, 65535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)


def pil(array: NDArray[Any], kind: str, *, mode: str | None = None, **how: Any) -> bytes:
    out = io.BytesIO()
    picture = PIL.Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(out, kind, **how)
    return out.getvalue()


# TIFF 6.0, tag 274: where row 0 and column 0 of the stored picture belong. By indexing alone, no image library.
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def shows(image: Image, rgb: Pixels, most: int = 8) -> bool:
    shown = image.pixels[..., ::-1].astype(int)
    return shown.shape == rgb.shape and int(np.abs(shown - rgb).max()) <= most
