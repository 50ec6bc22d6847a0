"""Pictures whose headers are damaged, the same ones at every run, and what others make of them.

`python -m tests.images.damage FILES SEED` prints the figures, as JSON and in words: in a process of its own, since OpenCV
is told once, as it is loaded, how many pixels are too many.
"""

import io
import json
import os
import random
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.PngImagePlugin
from numpy.typing import NDArray

from tests.support import REPO
from visage.errors import ImageError
from visage.images.decoding import Decoder, Limits

Array = NDArray[Any]
_SIZE = (96, 112)
MOST_PIXELS = 1_000_000  # OpenCV would make room for what a damaged header says, up to 2³⁰ pixels


@dataclass(frozen=True)
class Sound:
    """A whole file: `header` bytes of it are not pixels; `seen` is what OpenCV shows of it, BGR."""

    name: str
    data: bytes
    header: int
    seen: Array


def portrait() -> PIL.Image.Image:
    return PIL.Image.open(REPO / "misc" / "images" / "grace_hopper.jpg").convert("RGB").resize(_SIZE)


def saved(picture: PIL.Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **how)
    return out.getvalue()


def sounds() -> list[Sound]:
    """Every format that OpenCV reads, with the metadata that cameras and editors put in."""
    picture = portrait()
    exif = PIL.Image.Exif()
    exif.update({0x010F: "Maker", 0x0110: "Model", 0x0112: 1, 0x0132: "2020:01:01 00:00:00"})
    profile = bytes(range(256)) * 2
    texts = PIL.PngImagePlugin.PngInfo()
    texts.add_text("Comment", "a text of a picture", zip=False)
    texts.add_text("Description", "another " * 20, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    full: dict[str, Any] = {"exif": exif, "icc_profile": profile}
    files = {
        "JPEG": saved(picture, "JPEG", quality=90, dpi=(72, 72), comment=b"a comment", xmp=b"<x:xmpmeta/>", **full),
        "JPEG progressive": saved(picture, "JPEG", quality=90, progressive=True, **full),
        "JPEG grey": saved(picture.convert("L"), "JPEG", quality=90, **full),
        "PNG": saved(picture, "PNG", pnginfo=texts, dpi=(72, 72), **full),
        "PNG palette": saved(picture.quantize(32), "PNG", pnginfo=texts, **full),
        "TIFF": saved(picture, "TIFF", **full),
        "TIFF LZW": saved(picture, "TIFF", compression="tiff_lzw", **full),
        "TIFF deflate": saved(picture, "TIFF", compression="tiff_adobe_deflate"),
        "WebP": saved(picture, "WEBP", quality=90, **full),
        "WebP lossless": saved(picture, "WEBP", lossless=True, **full),
        "BMP": saved(picture, "BMP"),
        "GIF": saved(picture, "GIF", comment=b"a comment"),
        "AVIF": saved(picture, "AVIF", **full),
        "JPEG 2000": saved(picture, "JPEG2000"),
        "PPM": saved(picture, "PPM"),
        "PGM": saved(picture.convert("L"), "PPM"),
    }
    found = []
    for name, data in files.items():
        seen = by_opencv(data)
        assert seen is not None
        found.append(Sound(name, data, _header(name, data), seen))
    return found


def _header(name: str, data: bytes) -> int:
    """Where pixels begin; of a TIFF its directory, which Pillow writes first."""
    marks = {
        "JPEG": b"\xff\xda",
        "AVIF": b"mdat",
        "PNG": b"IDAT",
        "WebP": b"VP8",
        "TIFF": b"",
        "JPEG 2000": b"\xff\x93",
    }
    mark = next((marks[kind] for kind in sorted(marks, reverse=True) if name.startswith(kind)), b"")
    return data.index(mark) if mark else min(len(data), 200 if name.startswith("TIFF") else 60)


def damaged(sound: Sound, chance: random.Random) -> bytes:
    """The file with one to three faults in its header."""
    data = bytearray(sound.data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(2, sound.header)
        size = chance.choice((1, 1, 2, 4))
        match chance.randrange(6):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at : at + size] = chance.randbytes(size)
            case 2:
                data[at : at + size] = bytes(size)
            case 3:
                data[at : at + size] = b"\xff" * size
            case 4:
                data[at:at] = chance.randbytes(size)
            case _:
                del data[at : at + size]
    return bytes(data)


@dataclass
class Figures:
    """How the service's decoder stands beside OpenCV and Pillow."""

    files: int = 0
    right: Counter[str] = field(default_factory=Counter)  # files that OpenCV reads as if nothing had happened
    refused: Counter[str] = field(default_factory=Counter)  # of those: that the decoder refuses
    different: list[tuple[str, bytes]] = field(default_factory=list)  # of those: read otherwise, without a word
    warned: int = 0  # of those: read as they must be, with a warning
    lost: list[tuple[str, str, bytes]] = field(default_factory=list)
    pillow_only: int = 0  # files that Pillow reads rightly, and OpenCV does not
    pillow_refused: int = 0  # of those: that the decoder refuses

    @property
    def share(self) -> float:
        """Of the files that OpenCV reads rightly, how many are refused."""
        return sum(self.refused.values()) / max(1, sum(self.right.values()))

    def __str__(self) -> str:
        right = sum(self.right.values())
        rows = ", ".join(f"{name} {self.refused[name]}/{count}" for name, count in self.right.items())
        return (
            f"{self.files} damaged headers; OpenCV reads {right} rightly, of which {sum(self.refused.values())} "
            f"({self.share:.1%}) are refused, {len(self.different)} are read differently without a warning, "
            f"{self.warned} are read with one; {self.pillow_only} more that Pillow alone reads rightly, of which "
            f"{self.pillow_refused} are refused. Refused by format: {rows}"
        )


def compared(decoder: Decoder, files: int, seed: int) -> Figures:
    """`files` damaged files, read by the decoder, by OpenCV and by Pillow."""
    chance, pictures, figures = random.Random(seed), sounds(), Figures(files)
    with quiet():
        for i in range(files):
            sound = pictures[i % len(pictures)]
            _compare(decoder, sound, damaged(sound, chance), figures)
    return figures


def _compare(decoder: Decoder, sound: Sound, data: bytes, figures: Figures) -> None:
    right = _same(by_opencv(data), sound.seen)
    if not right and not _same(_by_pillow(data), sound.seen):
        return
    try:
        image = decoder.decode(data)
    except ImageError as error:
        if right:
            figures.right[sound.name] += 1
            figures.refused[sound.name] += 1
            figures.lost.append((sound.name, f"{error} {getattr(error, '__notes__', '')}", data))
        else:
            figures.pillow_only += 1
            figures.pillow_refused += 1
        return
    if not right:
        figures.pillow_only += 1
        return
    figures.right[sound.name] += 1
    if image.warnings:
        figures.warned += 1
    elif not _same(image.pixels, sound.seen) and not _same(image.pixels, _by_pillow(data)):
        figures.different.append((sound.name, data))


def by_opencv(data: bytes) -> Array | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def _by_pillow(data: bytes) -> Array | None:
    try:
        picture = PIL.Image.open(io.BytesIO(data))
        if picture.width * picture.height > MOST_PIXELS:
            return None
        return np.asarray(picture.convert("RGB"))[..., ::-1]
    except Exception:
        return None


def _same(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        return False
    return one.shape == other.shape and int(np.abs(one.astype(int) - other).max()) <= 1


@contextmanager
def quiet() -> Iterator[None]:
    """What the libraries' C code writes to standard error is no news: it comes from the damage."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def figures(files: int, seed: int) -> dict[str, Any]:
    """What `main` prints of so many files, by a process of its own."""
    environ = {**os.environ, "OPENCV_IO_MAX_IMAGE_PIXELS": str(MOST_PIXELS), "OPENCV_LOG_LEVEL": "OFF"}
    command = [sys.executable, "-m", __name__, str(files), str(seed)]
    done = subprocess.run(command, cwd=REPO, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    print(done.stdout.splitlines()[1])
    return told


def main(files: int, seed: int) -> None:
    found = compared(Decoder(Limits()), files, seed)
    told = {"right": sum(found.right.values()), "share": found.share, "different": [n for n, _ in found.different]}
    print(json.dumps(told))
    print(found)
    if len(sys.argv) > 3:
        folder = Path(sys.argv[3])
        for i, (name, data) in enumerate(found.different):
            (folder / f"different_{i}_{name}").write_bytes(data)
        for i, (name, why, data) in enumerate(found.lost):
            (folder / f"refused_{i}_{name}").write_bytes(data)
            print(i, name, why)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]), int(sys.argv[2]))
