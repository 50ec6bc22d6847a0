"""Vectors on the wire: lists of numbers, base64 of little-endian float32, or its bytes."""

from typing import Annotated, Any, Literal

import numpy as np
import pybase64
from pydantic import BeforeValidator, WithJsonSchema

from visage.faces import Floats

Form = Literal["numbers", "base64", "bytes"]

_MOST = 8192  # numbers; no recogniser has as many
_MOST_BYTES = 6 * _MOST  # of 4 a number, which base64 writes in 5⅓
_FLOAT = np.dtype("<f4")


def read_vector(value: Any) -> Floats:
    """float32 (D,) of unit length, from any form. Raises ValueError that says what is wrong."""
    vector = _numbers(value)
    if vector.ndim != 1 or not 1 <= len(vector) <= _MOST:
        raise ValueError(f"a vector has 1 to {_MOST} numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.sqrt(np.dot(vector, vector))
    if not np.isfinite(length):
        raise ValueError("a vector's numbers are finite, and not too large")
    if length < 1e-12:
        raise ValueError("a vector of length 0 has no direction")
    unit: Floats = (vector / length).astype(np.float32)
    return unit


def _numbers(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    if isinstance(value, str | bytes) and len(value) > _MOST_BYTES:
        raise ValueError(f"a vector has 1 to {_MOST} numbers")
    if isinstance(value, str):
        try:
            value = pybase64.b64decode(value, validate=True)
        except ValueError:
            raise ValueError("the base64 text is broken") from None
    if isinstance(value, bytes):
        if len(value) % 4:
            raise ValueError(f"float32 takes 4 bytes a number; {len(value)} bytes are not a multiple")
        return np.frombuffer(value, _FLOAT).astype(np.float64)
    if not isinstance(value, list) or len(value) > _MOST or not all(type(one) in (float, int) for one in value):
        raise ValueError(f"a list of at most {_MOST} numbers, base64 of little-endian float32, or its bytes")
    try:
        return np.array(value, np.float64)
    except OverflowError:
        raise ValueError("a vector's numbers are finite, and not too large") from None


def written_vector(vector: Floats, form: Form) -> Any:
    """float32 (D,) in the form asked for; as numbers widened to float64, which JSON prints whole."""
    match form:
        case "numbers":
            return vector.astype(np.float64)
        case "base64":
            return pybase64.b64encode_as_string(vector.astype(_FLOAT).tobytes())
        case _:
            return vector.astype(_FLOAT).tobytes()


Vector = Annotated[
    Any,
    BeforeValidator(read_vector),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": _MOST},
                {"type": "string", "description": "Base64 of little-endian float32"},
            ]
        }
    ),
]
