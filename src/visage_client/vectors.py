"""Vectors: float32, 4 bytes a number, little-endian on the wire, whatever they are in the program."""

import base64
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable


@runtime_checkable
class _Array(Protocol):
    """A NumPy array, or what looks like one."""

    def tolist(self) -> Any: ...


if TYPE_CHECKING:
    Vector: TypeAlias = array[float]
else:  # Python 3.11 cannot say it
    Vector = array
"""What answers hold: `array('f')`. `numpy.asarray(vector)` is the same memory."""

VectorLike: TypeAlias = Sequence[float] | Vector | memoryview | _Array
"""What is sent: numbers of any kind, one row of them."""


def packed(vector: VectorLike) -> bytes:
    """Bytes of little-endian float32. Raises ValueError for what is no row of numbers."""
    numbers = vector.tolist() if isinstance(vector, _Array) else vector
    try:
        made = array("f", numbers)
    except (TypeError, OverflowError) as exc:
        raise ValueError(f"a vector is a row of numbers, not {type(vector).__name__} of others: {exc}") from exc
    if not made:
        raise ValueError("a vector has at least one number")
    return _little(made).tobytes()


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


def _little(numbers: Vector) -> Vector:
    """Swapped on machines whose float32 is the other way round."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
