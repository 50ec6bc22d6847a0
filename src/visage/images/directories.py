"""The directories of a TIFF file (TIFF 6.0, BigTIFF), in which EXIF blocks are written as well.

Only what is asked for is read, and nothing is believed: whatever does not lie inside the data raises ValueError.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MOST_ENTRIES = 4096
_SHORT = 3
# Types of whole numbers by their code: how `struct` calls them.
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_WIDTHS = {**{kind: struct.calcsize("=" + form) for kind, form in _NUMBERS.items()}, 2: 1, 7: 1, 11: 4}


@dataclass(frozen=True, slots=True)
class Layout:
    """`order` of bytes as `struct` calls it, whether the file is a BigTIFF, and where its first directory begins."""

    order: str
    big: bool
    first: int

    @property
    def place(self) -> str:
        """What `struct` reads a place in the file with."""
        return self.order + ("Q" if self.big else "I")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a directory: `at` is where it begins, `values` where the first of its `count` values lies."""

    at: int
    tag: int
    kind: int
    count: int
    values: int


@dataclass(frozen=True, slots=True)
class Directory:
    """`at` is where it begins; `entries` stand in the file's order; `following`: where the next one begins, or 0."""

    data: bytes
    layout: Layout
    at: int
    entries: tuple[Entry, ...]
    following: int

    def numbers(self, tag: int, most: int = 16) -> tuple[int, ...]:
        """The first `most` whole numbers of `tag`; none where it is missing, of another type or outside the data."""
        for entry in self.entries:
            if entry.tag == tag and entry.kind in _NUMBERS:
                form = f"{self.layout.order}{min(entry.count, most)}{_NUMBERS[entry.kind]}"
                return _unpacked(form, self.data, entry.values)
        return ()

    def number(self, tag: int, default: int) -> int:
        return next(iter(self.numbers(tag, 1)), default)

    def rewrite(self, file: bytearray, entry: Entry, values: tuple[int, ...]) -> None:
        """Make `entry` of `file` hold these short numbers, if they fit into the entry itself."""
        room, count = (8, "Q") if self.layout.big else (4, "I")
        if 2 * len(values) <= room:
            body = struct.pack(f"{self.layout.order}{len(values)}H", *values).ljust(room, b"\0")
            struct.pack_into(f"{self.layout.order}HH{count}", file, entry.at, entry.tag, _SHORT, len(values))
            file[entry.at + 4 + room : entry.at + 4 + 2 * room] = body


def layout_of(data: bytes) -> Layout:
    """What the first bytes say. Raises ValueError for what is no TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    try:
        if order and struct.unpack_from(order + "H", data, 2) == (42,):
            return Layout(order, big=False, first=struct.unpack_from(order + "I", data, 4)[0])
        if order and struct.unpack_from(order + "HHH", data, 2) == (43, 8, 0):
            return Layout(order, big=True, first=struct.unpack_from(order + "Q", data, 8)[0])
    except struct.error:
        pass
    raise ValueError("no TIFF")


def directory_at(data: bytes, layout: Layout, at: int) -> Directory:
    """The directory that begins at `at`, as far as its entries lie inside the data.

    Raises ValueError where none begins there.
    """
    head, size, room = ("Q", 20, 8) if layout.big else ("H", 12, 4)
    count = next(iter(_unpacked(layout.order + head, data, at)), _MOST_ENTRIES + 1)
    if count > _MOST_ENTRIES:
        raise ValueError("no directory")
    start = at + struct.calcsize("=" + head)
    end = start + count * size
    following = next(iter(_unpacked(layout.place, data, end)), 0)
    return Directory(data, layout, at, tuple(_entries(data, layout, range(start, end, size), room)), following)


def _entries(data: bytes, layout: Layout, places: range, room: int) -> Iterator[Entry]:
    form = f"{layout.order}HH{'Q' if layout.big else 'I'}"
    for at in places:
        if at + places.step > len(data):
            return
        tag, kind, count = struct.unpack_from(form, data, at)
        values = at + places.step - room
        if count * _WIDTHS.get(kind, 8) > room:
            (values,) = struct.unpack_from(layout.place, data, values)
        yield Entry(at, tag, kind, count, values)


def _unpacked(form: str, data: bytes, at: int) -> tuple[int, ...]:
    """The numbers at `at`; none where they do not lie inside the data."""
    return struct.unpack_from(form, data, at) if at + struct.calcsize(form) <= len(data) else ()
