"""The pictures that a TIFF file holds, and a copy of the file in which one of them is first and plain.

Decoders differ in what they make of orientation, XMP, alpha and white that is 0. They get a copy that has none of them;
what the tags said is done afterwards, here.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from visage.errors import ImageError
from visage.images.directories import Directory, Layout, directory_at, layout_of
from visage.images.jpeg_header import START, header_of
from visage.images.turning import ORIENTATION

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, PLANAR, EXTRA, FORMAT = 277, 284, 338, 339
STRIPS, STRIP_LENGTHS = 273, 279
_SUBFILE, _OLD_SUBFILE, _SUBDIRECTORIES, _XMP = 254, 255, 330, 700
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_LENGTHS = 322, 323, 324, 325
_REDUCED, _OLD_REDUCED = 1, 2
_OLD_JPEG, _JPEG_PLACE, _JPEG_LENGTH = 6, 513, 514
_OF_A_PAGE = 1 | 2  # bits of NewSubfileType that a picture may have; others are masks and the like
_MOST_PAGES = 64
_MOST_PIECES = 1_000_000

# Colours that are a sensor's, not a picture's: colour filter array, linear raw, depth (DNG).
_RAW = frozenset({32803, 34892, 51177})


@dataclass(frozen=True, slots=True)
class Page:
    """One directory that holds a picture; `reduced`: it says that it is a smaller copy of another one.

    `jpeg`: the whole file that it consists of, if it is of TIFF 6.0's first kind of JPEG and lies in one piece.
    """

    directory: Directory
    width: int
    height: int
    reduced: bool
    jpeg: bytes

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def raw(self) -> bool:
        return self.directory.number(PHOTOMETRIC, 1) in _RAW

    @property
    def orientation(self) -> int:
        told = self.directory.numbers(ORIENTATION, 2)
        return told[0] if len(told) == 1 else 1

    @property
    def tile(self) -> tuple[int, int]:
        """(width, height) of what a decoder makes room for at a time, besides the picture."""
        return self.directory.number(_TILE_WIDTH, 1), self.directory.number(_TILE_HEIGHT, 1)

    @property
    def tiled(self) -> bool:
        return self.directory.number(_TILE_WIDTH, 0) > 0

    @property
    def whole(self) -> bool:
        """Whether all of its pixels' data lies inside the file."""
        places, lengths = (_TILES, _TILE_LENGTHS) if self.tiled else (STRIPS, STRIP_LENGTHS)
        begins = self.directory.numbers(places, _MOST_PIECES)
        sizes = self.directory.numbers(lengths, _MOST_PIECES)
        pieces = zip(begins, sizes, strict=False)
        return bool(begins) and all(begin + size <= len(self.directory.data) for begin, size in pieces)

    def alone(self, values: Mapping[int, int]) -> bytes:
        """The file with this page first, upright as it is stored, and the first number of these tags as given.

        Nothing but entries is written over: what a broken entry points to may be pixels.
        """
        directory, layout = self.directory, self.directory.layout
        file = bytearray(directory.data)
        struct.pack_into(layout.place, file, 8 if layout.big else 4, directory.at)
        for entry in directory.entries:
            if entry.tag == ORIENTATION:
                directory.rewrite(file, entry, (1,))
            elif entry.tag == _XMP:  # in which Pillow would look for an orientation
                struct.pack_into(layout.order + "H", file, entry.at, _XMP + 1)
            elif entry.tag in values:
                rest = directory.numbers(entry.tag)[1:]
                directory.rewrite(file, entry, (values[entry.tag], *rest))
        return bytes(file)


def pages_of(data: bytes) -> list[Page]:
    """The pictures to try, in this order: the first page's full picture before its smaller copies.

    Raises ValueError for what is no TIFF, or has no first page.
    """
    layout = layout_of(data)
    first = _page(directory_at(data, layout, layout.first))
    family = [first, *_parts(first.directory)]
    if first.reduced:
        family += _following(first.directory, layout)
        return sorted(family, key=lambda page: (page.reduced, -page.pixels))
    larger = [page for page in family[1:] if not page.reduced and page.pixels > first.pixels]
    return [*sorted(larger, key=lambda page: -page.pixels), first]


def _page(directory: Directory) -> Page:
    subfile, old = directory.number(_SUBFILE, 0), directory.number(_OLD_SUBFILE, 0)
    reduced, inner = bool(subfile & _REDUCED) or old == _OLD_REDUCED, _old_jpeg(directory)
    width, height = directory.number(WIDTH, 0), directory.number(HEIGHT, 0)
    if inner and not width * height:  # cameras leave it to the JPEG to tell its size
        try:
            header = header_of(inner)
            width, height = header.width, header.height
        except ImageError:
            pass
    return Page(directory, width, height, reduced, inner)


def _old_jpeg(directory: Directory) -> bytes:
    if directory.number(COMPRESSION, 1) != _OLD_JPEG:
        return b""
    for place, length in ((_JPEG_PLACE, _JPEG_LENGTH), (STRIPS, STRIP_LENGTHS)):
        begin, size = directory.numbers(place), directory.numbers(length)
        if len(begin) == len(size) == 1 and directory.data.startswith(START, begin[0]):
            return directory.data[begin[0] : begin[0] + size[0]]
    return b""


def _parts(directory: Directory) -> Iterator[Page]:
    for at in directory.numbers(_SUBDIRECTORIES, _MOST_PAGES):
        yield from _picture(directory.data, directory.layout, at)


def _following(directory: Directory, layout: Layout) -> Iterator[Page]:
    seen, at = {directory.at}, directory.following
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.add(at)
        try:
            found = directory_at(directory.data, layout, at)
        except ValueError:
            return
        yield from _picture(directory.data, layout, at)
        yield from _parts(found)
        at = found.following


def _picture(data: bytes, layout: Layout, at: int) -> Iterator[Page]:
    try:
        directory = directory_at(data, layout, at)
    except ValueError:
        return
    if not directory.number(_SUBFILE, 0) & ~_OF_A_PAGE:
        yield _page(directory)
