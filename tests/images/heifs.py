"""HEIF files with other brands and properties than their encoder gave them (ISO/IEC 14496-12, 23008-12)."""

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + size]
        at += size


def changed(data: bytes, **how: Callable[[bytes], bytes]) -> bytes:
    """The same boxes, those that are named with another body."""
    return b"".join(box(name, how.get(name.decode(), lambda body: body)(body)) for name, body in boxes(data))


def branded(data: bytes, major: bytes, *others: bytes) -> bytes:
    """The file under these brands; `others`: as many as it had, or its own."""
    size = struct.unpack_from(">I", data)[0]
    own = b"".join(others).ljust(size - 16, b"\0") if others else data[16:size]
    return box(b"ftyp", major + bytes(4) + own) + data[size:]


def with_properties(data: bytes, *properties: bytes) -> bytes:
    """The primary item, which must be the first, has these boxes as properties besides, in this order."""
    added = b"".join(properties)
    grown = len(added) + len(properties)

    def ipma(body: bytes) -> bytes:
        assert body[:4] == bytes(4)
        count = body[10]
        known = max(number & 0x7F for number in body[11 : 11 + count])
        more = bytes(0x80 | known + 1 + i for i in range(len(properties)))
        return body[:10] + bytes([count + len(properties)]) + body[11 : 11 + count] + more + body[11 + count :]

    def iloc(body: bytes) -> bytes:
        """Version 0 with offsets and lengths of four bytes, and no or a four-byte base."""
        assert body[0] == 0 and body[4] == 0x44
        base, moved, at = body[5] >> 4, bytearray(body), 8
        for _ in range(struct.unpack_from(">H", body, 6)[0]):
            extents = struct.unpack_from(">H", body, at + 4 + base)[0]
            for i in range(extents):
                place = at + 6 + base + 8 * i
                struct.pack_into(">I", moved, place, struct.unpack_from(">I", moved, place)[0] + grown)
            at += 6 + base + 8 * extents
        return bytes(moved)

    def iprp(body: bytes) -> bytes:
        return changed(body, ipco=lambda known: known + added, ipma=ipma)

    return changed(data, meta=lambda body: body[:4] + changed(body[4:], iprp=iprp, iloc=iloc))


def clap(width: Fraction | int, height: Fraction | int, right: Fraction | int = 0, below: Fraction | int = 0) -> bytes:
    """A clean aperture of that size, its middle so far to the right of and below the picture's."""
    numbers = [Fraction(value) for value in (width, height, right, below)]
    return box(b"clap", b"".join(struct.pack(">iI", n.numerator, n.denominator) for n in numbers))


def irot(quarters: int) -> bytes:
    """So many quarter turns to the left."""
    return box(b"irot", bytes([quarters]))


def imir(axis: int) -> bytes:
    """0 exchanges top and bottom, 1 left and right."""
    return box(b"imir", bytes([axis]))
