"""Vectors: float32, 4 bytes a number, little-endian on the wire, whatever they are in the program."""

import base64
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

_BYTES = ("B", "b", "c")  # how memoryviews and arrays call them


class _Array(Protocol):
    """A NumPy array, or what looks like one."""

    def tolist(self) -> Any: ...


if TYPE_CHECKING:
    Vector: TypeAlias = array[float]
else:  # Python 3.11 cannot say it
    Vector = array
"""What answers hold: `array('f')`. `numpy.asarray(vector)` is the same memory."""

VectorLike: TypeAlias = Sequence[float] | Vector | memoryview | bytes | bytearray | _Array
"""What is sent: numbers of any kind, one row of them; or bytes of little-endian float32."""


def packed(vector: VectorLike) -> bytes:
    """Bytes of little-endian float32. Raises ValueError for what is no row of numbers."""
    numbers: Any = vector
    if not isinstance(vector, list | tuple):
        if is_bytes(vector):
            return _held(bytes(vector))  # type: ignore[arg-type] # as `is_bytes` has told
        if hasattr(vector, "tolist"):
            numbers = _row(vector.tolist())
        elif isinstance(vector, str | Mapping | Set):
            raise ValueError(f"a vector is a row of numbers, and not {type(vector).__name__}")
    try:
        made = array("f", numbers)
    except (TypeError, OverflowError) as exc:
        raise ValueError(f"a vector is a row of numbers, not {type(vector).__name__} of others: {exc}") from exc
    if not made:
        raise ValueError("a vector has at least one number")
    return _little(made).tobytes()


def listed(vectors: object) -> list[VectorLike]:
    """The vectors, one as one of them. Raises TypeError for what is neither a vector nor a row of such."""
    if is_bytes(vectors) or isinstance(vectors, array | memoryview):
        return [vectors]  # type: ignore[list-item] # as the line above has told
    if isinstance(vectors, str | Mapping | Set) or not isinstance(vectors, Iterable):
        raise TypeError(f"vectors are given as one or as a list of them, and not as {type(vectors).__name__}")
    if getattr(vectors, "ndim", None) == 0:
        raise TypeError("vectors are given as one or as a list of them, and not as a single number")
    found = list(vectors)
    if found and (isinstance(found[0], Real) or getattr(found[0], "ndim", None) == 0):
        return [found]
    return found


def is_bytes(vector: object) -> bool:
    """Whether it holds the bytes of numbers rather than numbers."""
    if isinstance(vector, memoryview):
        return vector.format in _BYTES
    return isinstance(vector, bytes | bytearray) or (isinstance(vector, array) and vector.typecode in _BYTES)


def unpacked(value: object) -> Vector:
    """Of bytes, their base64 text, or numbers. Raises ValueError, TypeError."""
    if isinstance(value, str):
        value = base64.b64decode(value, validate=True)
    made = array("f")
    if isinstance(value, bytes):
        made.frombytes(value)
        return _little(made)
    if not isinstance(value, Iterable):
        raise TypeError(f"a vector is bytes, base64 or numbers, not {type(value).__name__}")
    made.extend(value)
    return made


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    """Of unit vectors: the cosine. Raises ValueError for vectors of different lengths."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def _row(numbers: Any) -> Any:
    """Of an array of one row that row."""
    one = isinstance(numbers, list) and len(numbers) == 1 and isinstance(numbers[0], list)
    return numbers[0] if one else numbers


def _held(data: bytes) -> bytes:
    if not data or len(data) % 4:
        raise ValueError(f"bytes of a vector are little-endian float32, four a number; here are {len(data)}")
    return data


def _little(numbers: Vector) -> Vector:
    """Swapped on machines whose float32 is the other way round."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
