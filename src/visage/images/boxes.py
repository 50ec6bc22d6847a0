"""Boxes of ISO base media files (ISO/IEC 14496-12): which picture of a HEIF file is the one, and how it is to be shown.

Nothing is believed: what does not lie inside the data is not there.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MOST_BOXES = 10_000
# An item of these types is made of others (ISO/IEC 23008-12, 6.6).
_DERIVED = frozenset({b"grid", b"iovl", b"iden"})


@dataclass(frozen=True, slots=True)
class Box:
    """One box; `body` without its head."""

    name: bytes
    body: memoryview


@dataclass(frozen=True, slots=True)
class Still:
    """The primary picture: what its pixels are coded as, and its properties in the order in which they apply."""

    coded: bytes
    properties: tuple[tuple[bytes, bytes], ...]


def boxes(data: memoryview) -> Iterator[Box]:
    """The boxes that lie in `data`, the last one as far as it goes."""
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(data):
            return
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        end = len(data) if size == 0 else at + max(size, head)
        yield Box(name, data[at + head : end])
        at = end


def brands(data: bytes) -> tuple[bytes, ...]:
    """What the file says it is: the major brand, then those that it is compatible with."""
    size = max(16, min(int.from_bytes(data[:4], "big"), 4096, len(data)))
    return (data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4)))


def still(data: bytes) -> Still | None:
    """The primary picture of the file; None where it has none, as a video or a sequence may, or where that is lost."""
    meta = _first(boxes(memoryview(data)), b"meta")
    if meta is None:
        return None
    inside = list(boxes(meta[4:]))
    try:
        primary = _number(_needed(inside, b"pitm"), 4, wide=_needed(inside, b"pitm")[0] > 0)
        types = dict(_types(_needed(inside, b"iinf")))
        return Still(_coded(types, primary), tuple(_properties(_needed(inside, b"iprp"), primary)))
    except (LookupError, struct.error):
        return None


def _first(found: Iterator[Box], name: bytes) -> memoryview | None:
    return next((box.body for box in found if box.name == name), None)


def _needed(found: list[Box], name: bytes) -> memoryview:
    body = _first(iter(found), name)
    if not body:
        raise LookupError(name)
    return body


def _number(body: memoryview, at: int, *, wide: bool) -> int:
    found: int = struct.unpack_from(">I" if wide else ">H", body, at)[0]
    return found


def _types(items: memoryview) -> Iterator[tuple[int, bytes]]:
    for box in boxes(items[8 if items[0] else 6 :]):
        if box.name == b"infe" and len(box.body) >= 12 and box.body[0] >= 2:
            wide = box.body[0] > 2
            at = 10 if wide else 8
            yield _number(box.body, 4, wide=wide), bytes(box.body[at : at + 4])


def _coded(types: dict[int, bytes], primary: int) -> bytes:
    own = types[primary]
    if own not in _DERIVED:
        return own
    return next((kind for kind in types.values() if kind in (b"av01", b"hvc1")), own)


def _properties(body: memoryview, item: int) -> Iterator[tuple[bytes, bytes]]:
    inside = list(boxes(body))
    known = list(boxes(_needed(inside, b"ipco")))
    for box in inside:
        if box.name == b"ipma":
            for index in _associated(box.body, item):
                if 0 < index <= len(known):
                    yield known[index - 1].name, bytes(known[index - 1].body)


def _associated(body: memoryview, item: int) -> Iterator[int]:
    wide_item, wide_index = body[0] > 0, bool(body[3] & 1)
    at = 8
    for _ in range(min(_number(body, 4, wide=True), _MOST_BOXES)):
        found = _number(body, at, wide=wide_item)
        at += 4 if wide_item else 2
        count, at = body[at], at + 1
        for _ in range(count):
            index = _number(body, at, wide=False) & 0x7FFF if wide_index else body[at] & 0x7F
            at += 2 if wide_index else 1
            if found == item:
                yield index
