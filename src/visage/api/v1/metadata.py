"""What callers tell of a person or a collection: a JSON object that is given back exactly as it came, or refused."""

import math
import re
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Any

import orjson
from pydantic import BeforeValidator, ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from visage.api.encoding import Extension, as_utf8

_MOST_BYTES = 65_536  # of JSON
# Objects and lists within one another. Answers put metadata a few levels down, and JSON's writer stops at 254.
_DEEPEST = 32
_MOST_KEY = 100  # characters of a key that an error repeats
_TOO_LONG = f"at most {_MOST_BYTES} bytes of JSON"
_TOO_LARGE = "a whole number of more than 64 bits would not be kept exactly: send it as text"
# From here on the reader of JSON makes doubles of whole numbers, of which it keeps 16 digits.
_WHOLE = 2.0**63
# A whole number of so many digits as it is written, with neither a point nor an exponent.
_LITERAL = re.compile(rb"""(?<![\w.+"-])-?[0-9]{19,400}(?![\w."])""")

_Path = tuple[str | int, ...]


def _object(value: Any, info: ValidationInfo) -> Any:
    """An object, or in a query its JSON text. In the validation's context `written` is the JSON that it stands in."""
    written: bytes | None = (info.context or {}).get("written")
    if isinstance(value, str):
        written = value.encode("utf-8", "surrogatepass")
        try:
            value = orjson.loads(written)
        except orjson.JSONDecodeError:
            raise ValueError('a JSON object: {"city": "Oslo"}') from None
    for path, said in _faults(value, _Whole(written)):
        error = PydanticCustomError("metadata_value", "{said}", {"said": said})
        raise ValidationError.from_exception_data("metadata", [InitErrorDetails(type=error, loc=path, input=None)])
    if len(orjson.dumps(value)) > _MOST_BYTES:
        raise ValueError(_TOO_LONG)
    return value


class _Whole:
    """Whether a number was written as a whole one that is too large to be kept; of msgpack, which has none, never."""

    def __init__(self, written: bytes | None) -> None:
        self._written = written
        self._found: frozenset[float] | None = None

    def was(self, number: float) -> bool:
        if self._written is None or abs(number) < _WHOLE:
            return False
        if self._found is None:
            text = as_utf8(self._written)
            self._found = frozenset(float(one.group()) for one in _LITERAL.finditer(text))
        return number in self._found


def _faults(value: Any, whole: _Whole) -> Iterator[tuple[_Path, str]]:
    """Where there is something that JSON cannot say, or not as it was sent, and why; level by level, and no further
    than what has the size allowed can be.
    """
    waiting: deque[tuple[_Path, Any]] = deque([((), value)])
    met = 0
    while waiting:
        path, one = waiting.popleft()
        if isinstance(one, dict | list | tuple):
            met += len(one)
            if met > _MOST_BYTES:
                yield (), _TOO_LONG
                return
            if len(path) == _DEEPEST:
                yield (), f"at most {_DEEPEST} objects or lists within one another"
        if isinstance(one, dict):
            for key, inner in one.items():
                if not isinstance(key, str):
                    yield (*path, str(key)[:_MOST_KEY]), "the keys of an object are texts"
                waiting.append(((*path, str(key)[:_MOST_KEY]), inner))
        elif isinstance(one, list | tuple):
            waiting.extend(((*path, i), inner) for i, inner in enumerate(one))
        elif said := _unsaid(one, whole):
            yield path, said


def _unsaid(value: Any, whole: _Whole) -> str:
    """Why a value that is neither object nor list cannot be told in JSON as it was sent; "" where it can."""
    said = ""
    match value:
        case str() | bool() | None:
            pass
        case int():
            said = "" if -(2**63) <= value < 2**64 else _TOO_LARGE
        case float() if not math.isfinite(value):
            said = "JSON has no NaN and no Infinity: leave the key out, or send null"
        case float():
            said = _TOO_LARGE if whole.was(value) else ""
        case bytes():
            said = "JSON has no bytes: send them as base64 text"
        case Extension(code):
            said = f"JSON has no extension types (here {code}): send a text or a number"
        case _:
            said = f"JSON has no {type(value).__name__}: send a text or a number"
    return said


Metadata = Annotated[dict[str, Any], BeforeValidator(_object)]
