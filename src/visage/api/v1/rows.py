"""A long body as it comes, cut into rows: lines of JSON, or msgpack objects one after the other."""

from collections.abc import Iterable

import orjson
import ormsgpack

from visage.errors import RequestTooLarge

_MOST_ROW = 8 * 2**20  # bytes
_LONG = 2**18  # bytes of an unfinished row that are not looked through again with each piece

# MessagePack's specification: first byte → bytes of its head, and where its length stands. Objects without a length.
_PLAIN = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5}
_PLAIN |= {0xD3: 9, 0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18}
# bin, str and ext of 8, 16 and 32 bits of length: bytes of the length, bytes more than it says
_SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
_SIZED |= {0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
# array and map: bytes of the count, objects an item
_MANY = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


class Rows:
    """Holds no more than one row that has not come to its end."""

    def __init__(self, *, packed: bool) -> None:
        self._packed = packed
        self._rest = b""
        self._enough = 0  # bytes from which on a long unfinished row is looked at again

    def feed(self, data: bytes) -> list[bytes]:
        """The rows that are whole now. Raises RequestTooLarge, and ValueError for what is no msgpack."""
        buffer = self._rest + data
        if self._packed and len(buffer) < self._enough:
            rows: list[bytes] = []
            self._rest = buffer
        elif self._packed:
            rows, taken = _objects(buffer)
            self._rest = buffer[taken:]
            self._enough = 2 * len(self._rest) if len(self._rest) > _LONG else 0
        else:
            *rows, self._rest = buffer.split(b"\n")
        if len(self._rest) > _MOST_ROW:
            raise RequestTooLarge(f"A row has more than {_MOST_ROW} bytes")
        return [row for row in rows if self._packed or row.strip()]

    def last(self) -> list[bytes]:
        """What stands without an end at the end of the body. Raises ValueError for half a msgpack object."""
        rest, self._rest = self._rest, b""
        if self._packed and rest:
            rows, taken = _objects(rest)
            if taken < len(rest):
                raise ValueError("the body ends within a row")
            return rows
        return [rest] if rest.strip() else []

    def read(self, row: bytes) -> object:
        """A row's value. Raises ValueError."""
        try:
            return ormsgpack.unpackb(row) if self._packed else orjson.loads(row)
        except (ormsgpack.MsgpackDecodeError, orjson.JSONDecodeError, RecursionError) as exc:
            raise ValueError(f"no valid {'msgpack' if self._packed else 'JSON'}: {str(exc)[:200]}") from exc


def _objects(buffer: bytes) -> tuple[list[bytes], int]:
    """The whole objects at the start, and how many bytes they take."""
    rows, start = [], 0
    while (end := _end(buffer, start)) is not None:
        rows.append(buffer[start:end])
        start = end
    return rows, start


def _end(buffer: bytes, at: int) -> int | None:
    """Where the object that begins `at` ends; None where that has not come yet. Raises ValueError."""
    left = 1  # objects that are still to come
    size = len(buffer)
    while left:
        if at >= size:
            return None
        first = buffer[at]
        left -= 1
        if first <= 0x7F or first >= 0xE0:
            at += 1
        elif first <= 0x8F:
            at, left = at + 1, left + 2 * (first & 0x0F)
        elif first <= 0x9F:
            at, left = at + 1, left + (first & 0x0F)
        elif first <= 0xBF:
            at += 1 + (first & 0x1F)
        elif first in _PLAIN:
            at += _PLAIN[first]
        elif first in _SIZED:
            width, more = _SIZED[first]
            at += 1 + width + more + int.from_bytes(buffer[at + 1 : at + 1 + width], "big")
        elif first in _MANY:
            width, each = _MANY[first]
            left += each * int.from_bytes(buffer[at + 1 : at + 1 + width], "big")
            at += 1 + width
        else:
            raise ValueError("the body is no msgpack")
    return at if at <= size else None


def lines(values: Iterable[object]) -> bytes:
    """Each as a line of JSON; arrays as lists."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(value, option=options) for value in values)
