"""A long body as it comes, cut into rows: lines of JSON, or msgpack objects one after the other."""

from collections.abc import Iterable

import orjson

from visage.api.encoding import read_json, read_msgpack
from visage.errors import RequestTooLarge

_MOST_ROW = 8 * 2**20  # bytes

# MessagePack's specification: first byte → bytes of its head, and where its length stands. Objects without a length.
_PLAIN = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5}
_PLAIN |= {0xD3: 9, 0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18}
# bin, str and ext of 8, 16 and 32 bits of length: bytes of the length, bytes more than it says
_SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
_SIZED |= {0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
# array and map: bytes of the count, objects an item
_MANY = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


# Stands for a row that was longer, whose bytes were let go of as they came. No other is empty.
_TOO_LONG = b""


class Rows:
    """Holds no more than one row that has not come to its end. Every byte is looked at once, however it comes."""

    def __init__(self, *, packed: bool) -> None:
        self.packed = packed
        self._cut: _Lines | _Objects = _Objects() if packed else _Lines()

    def feed(self, data: bytes) -> list[bytes]:
        """The rows that are whole now. Raises ValueError for what is no msgpack."""
        return self._cut.feed(data)

    def last(self) -> list[bytes]:
        """What stands without an end at the end of the body. Raises ValueError for half a msgpack object."""
        return self._cut.last()

    def read(self, row: bytes) -> object:
        """A row's value. Raises ValueError, RequestTooLarge."""
        if row == _TOO_LONG:
            raise RequestTooLarge(f"The row has more than {_MOST_ROW} bytes")
        try:
            return read_msgpack(row) if self.packed else read_json(row)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"no valid {'msgpack' if self.packed else 'JSON'}: {str(exc)[:200]}") from exc


class _Lines:
    """Those that hold more than blanks."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of the line that has no end yet
        self._length = 0  # of that line, as far as it came

    def feed(self, data: bytes) -> list[bytes]:
        first, *more = data.split(b"\n")
        self._hold(first)
        if not more:
            return []
        begun = self._pieces, self._length
        *whole, rest = more
        self._pieces, self._length = [], 0
        self._hold(rest)
        lines = [_TOO_LONG if len(line) > _MOST_ROW else line for line in whole if line.strip()]
        pieces, length = begun
        line = b"".join(pieces)
        if length > _MOST_ROW:
            return [_TOO_LONG, *lines]
        return [line, *lines] if line.strip() else lines

    def _hold(self, data: bytes) -> None:
        self._length += len(data)
        if self._length > _MOST_ROW:
            self._pieces.clear()
        else:
            self._pieces.append(data)

    def last(self) -> list[bytes]:
        return self.feed(b"\n")


class _Objects:
    """Remembers where in an unfinished object it stands."""

    def __init__(self) -> None:
        self._buffer = (
            bytearray()
        )  # from the unfinished object's first byte, of one that is too long from its next head
        self._at = 0  # the next head
        self._left = 1  # heads that are still to come
        self._too_long = False

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += data
        rows, start = [], 0
        while self._finds_end():
            too_long = self._too_long or self._at - start > _MOST_ROW
            rows.append(_TOO_LONG if too_long else bytes(self._buffer[start : self._at]))
            start, self._left, self._too_long = self._at, 1, False
        if len(self._buffer) - start > _MOST_ROW:
            start, self._too_long = min(self._at, len(self._buffer)), True
        del self._buffer[:start]
        self._at -= start
        return rows

    def last(self) -> list[bytes]:
        if self._buffer or self._too_long:
            raise ValueError("the body ends within a row")
        return []

    def _finds_end(self) -> bool:
        """Whether the object is here whole, up to `_at`. Raises ValueError."""
        buffer, at, left = self._buffer, self._at, self._left
        size = len(buffer)
        while left and at < size:
            first = buffer[at]
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
            else:
                width, fixed, each = _heads(first)
                if at + 1 + width > size:  # the length comes with the next piece
                    break
                length = int.from_bytes(buffer[at + 1 : at + 1 + width], "big")
                at += 1 + width + (fixed + length if not each else 0)
                left += each * length
            left -= 1
        self._at, self._left = at, left
        return not left and at <= size


def _heads(first: int) -> tuple[int, int, int]:
    """Bytes of the length, bytes more than it says, objects that it counts (0: it counts bytes). Raises ValueError."""
    if first in _SIZED:
        return *_SIZED[first], 0
    if first in _MANY:
        width, each = _MANY[first]
        return width, 0, each
    raise ValueError("the body is no msgpack")


def lines(values: Iterable[object]) -> bytes:
    """Each as a line of JSON; arrays as lists."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(value, option=options) for value in values)
