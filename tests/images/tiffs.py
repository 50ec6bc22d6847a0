"""TIFF files written from the specification (TIFF 6.0, BigTIFF), so that what they must show is known."""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_KINDS = {"B": 1, "H": 3, "I": 4, "Q": 16}
Tags = Mapping[int, tuple[str, Sequence[int]]]


@dataclass(frozen=True)
class Layout:
    """How a file is laid out: byte order, BigTIFF, tiles (height, width), rows a strip, planes apart, compression."""

    order: str = "<"
    big: bool = False
    tile: tuple[int, int] | None = None
    rows: int = 0
    apart: bool = False
    deflated: bool = False
    predicted: bool = False


@dataclass(frozen=True)
class Picture:
    """Samples (H, W) or (H, W, N) and what the tags say of them; `bits`: where they are fewer than the array's."""

    samples: Array
    photometric: int
    extra: tuple[int, ...] = ()
    bits: int = 0
    more: Tags | None = None


def written(
    *pictures: tuple[Picture, Tags], layout: Layout = Layout(), parts: Sequence[tuple[Picture, Tags]] = ()
) -> bytes:
    """A file of these pages, each with its further tags; `parts` are sub-directories of the first."""
    file = bytearray(_head(layout, 0))
    places = []
    below = [_page(file, layout, picture, tags) for picture, tags in parts]
    for i, (picture, tags) in enumerate(pictures):
        tied = {**tags, 330: ("Q" if layout.big else "I", [at for at, _ in below])} if below and not i else tags
        places.append(_page(file, layout, picture, tied))
    file[: len(_head(layout, 0))] = _head(layout, places[0][0])
    place = layout.order + ("Q" if layout.big else "I")
    for (_, end), (following, _) in pairwise(places):
        struct.pack_into(place, file, end, following)
    return bytes(file)


def _head(layout: Layout, first: int) -> bytes:
    mark = b"II" if layout.order == "<" else b"MM"
    if layout.big:
        return mark + struct.pack(layout.order + "HHHQ", 43, 8, 0, first)
    return mark + struct.pack(layout.order + "HI", 42, first)


def _page(file: bytearray, layout: Layout, picture: Picture, more: Tags) -> tuple[int, int]:
    """Where the directory begins, and where the place of the next one is to stand."""
    samples = np.atleast_3d(picture.samples)
    height, width, count = samples.shape
    bits = picture.bits or samples.dtype.itemsize * 8
    blocks = [_packed(block, layout, bits) for block in _blocks(samples, layout)]
    offsets = []
    for block in blocks:
        offsets.append(len(file))
        file += block
    file += bytes(len(file) % 2)
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits] * count),
        259: ("H", [8 if layout.deflated else 1]),
        262: ("H", [picture.photometric]),
        277: ("H", [count]),
        284: ("H", [2 if layout.apart else 1]),
        339: ("H", [{"u": 1, "b": 1, "i": 2, "f": 3}[samples.dtype.kind]] * count),
        **({317: ("H", [2])} if layout.predicted else {}),
        **({338: ("H", picture.extra)} if picture.extra else {}),
        **(picture.more or {}),
        **more,
    }
    if layout.tile:
        tags |= {322: ("I", [layout.tile[1]]), 323: ("I", [layout.tile[0]])}
    else:
        tags |= {278: ("I", [layout.rows or height])}
    tags |= {324 if layout.tile else 273: ("I", offsets), 325 if layout.tile else 279: ("I", [len(b) for b in blocks])}
    return _directory(file, layout, tags)


def _directory(file: bytearray, layout: Layout, tags: Tags) -> tuple[int, int]:
    counts, size, room, place = ("Q", 20, 8, "Q") if layout.big else ("H", 12, 4, "I")
    at = len(file)
    end = at + struct.calcsize("=" + counts) + size * len(tags)
    beyond, body = b"", struct.pack(layout.order + counts, len(tags))
    for tag, (form, values) in sorted(tags.items()):
        raw = struct.pack(f"{layout.order}{len(values)}{form}", *values)
        if len(raw) > room:
            raw, beyond = (
                struct.pack(layout.order + place, end + room + len(beyond)),
                beyond + raw + bytes(len(raw) % 2),
            )
        body += struct.pack(layout.order + "HH" + place, tag, _KINDS[form], len(values)) + raw.ljust(room, b"\0")
    file += body + bytes(room) + beyond
    return at, end


def _blocks(samples: Array, layout: Layout) -> Iterator[Array]:
    planes = np.split(samples, samples.shape[2], axis=2) if layout.apart else [samples]
    for plane in planes:
        if layout.tile is None:
            rows = layout.rows or len(plane)
            yield from (plane[y : y + rows] for y in range(0, len(plane), rows))
            continue
        high, wide = layout.tile
        for y in range(0, plane.shape[0], high):
            for x in range(0, plane.shape[1], wide):
                tile = np.zeros((high, wide, plane.shape[2]), plane.dtype)
                part = plane[y : y + high, x : x + wide]
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile


def _packed(block: Array, layout: Layout, bits: int) -> bytes:
    if bits < block.dtype.itemsize * 8:
        rows = block.reshape(len(block), -1)
        digits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        raw = np.packbits(digits.astype(np.uint8).reshape(len(block), -1), axis=1).tobytes()
    else:
        if layout.predicted:
            block = np.concatenate([block[:, :1], block[:, 1:] - block[:, :-1]], axis=1)
        raw = block.astype(block.dtype.newbyteorder(layout.order)).tobytes()
    return zlib.compress(raw) if layout.deflated else raw
