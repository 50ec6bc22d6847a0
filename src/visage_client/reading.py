"""Plain values → frozen dataclasses, by their annotations.

A key that is not known is passed over and one that is absent takes its default, so that a client and a service of
different versions understand each other.
"""

import base64
from array import array
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from visage_client.errors import BadAnswer
from visage_client.vectors import unpacked

T = TypeVar("T")

_Reader = Callable[[Any], Any]


def read(kind: type[T], value: object) -> T:
    """`value` as a `kind`. Raises BadAnswer that names what is wrong."""
    try:
        made: T = _reader_of(kind)(value)
    except (TypeError, ValueError, LookupError) as exc:
        raise BadAnswer(
            f"what answers is no visage of a version that this client knows: {kind.__name__}: {exc}"
        ) from exc
    return made


def _reader_of(kind: Any) -> _Reader:
    return _reader(kind)


@cache
def _reader(kind: Any) -> _Reader:
    """How a value of this annotation is read."""
    if hasattr(kind, "__dataclass_fields__"):
        return _object(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (only,) = (one for one in inner if one is not NoneType)
        some = _reader(only)
        return lambda value: None if value is None else some(value)
    if origin is tuple:
        return _row(inner)
    if array in (kind, origin):
        return unpacked
    if origin is Literal:
        return str
    return _PLAIN.get(origin or kind, _same)


def _object(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    plan = [
        (field.name, _reader(hints[field.name]), field.default is MISSING and field.default_factory is MISSING)
        for field in fields(kind)
    ]

    def made(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"{kind.__name__} is an object, not {type(value).__name__}")
        known = {}
        for name, reader, needed in plan:
            if name in value:
                known[name] = reader(value[name])
            elif needed:
                raise LookupError(f"{kind.__name__} has no {name!r}")
        return kind(**known)

    return made


def _row(inner: tuple[Any, ...]) -> _Reader:
    """tuple[X, ...] or tuple[X, X]; the length is not checked, a box is what the service says it is."""
    each = _reader(inner[0])
    return lambda value: tuple(each(one) for one in value)


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else bytes(value)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"an object is wanted, not {type(value).__name__}")
    return dict(value)


def _same(value: Any) -> Any:
    return value


_PLAIN: dict[Any, _Reader] = {
    float: float,
    str: str,
    int: int,
    bool: bool,
    bytes: _bytes,
    datetime: datetime.fromisoformat,
    Mapping: _mapping,
}
