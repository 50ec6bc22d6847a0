"""Which persons are meant, by their metadata: the `where` of lists and searches.

    {"city": "Oslo", "age": {"gte": 18, "lt": 30}, "tags": {"in": ["a", "b"]}, "or": [{…}, {…}]}

Keys are those of the metadata, and all of them must hold. A value is compared for equality; an object names operators:
`eq ne gt gte lt lte in exists`. `or` holds where one of its filters does (metadata of that name cannot be asked for).
A list in the metadata meets `eq` and `in` where one of its elements does, too. Only numbers have an order among numbers
and texts among texts: what cannot be compared does not hold. Of a key that is not there only `ne` and
`{"exists": false}` hold.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from visage.errors import SearchError
from visage.search.base import Metadata

Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "exists"]

# A filter is written by hand or by a form; one that is deeper or longer is an attack or a mistake.
_DEEPEST = 8
_LONGEST = 256
_MOST_CHOICES = 10_000

_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_OPERATORS = ("eq", "ne", *_ORDERS, "in", "exists")


class Filter(Protocol):
    """Whether a person's metadata meet it."""

    def holds(self, metadata: Metadata, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key."""

    key: str
    operator: Operator
    value: Any

    def holds(self, metadata: Metadata, /) -> bool:
        there = self.key in metadata
        found = metadata.get(self.key)
        match self.operator:
            case "exists":
                return there is self.value
            case "ne":
                return not (there and _equal(found, self.value))
            case "eq":
                return there and _equal(found, self.value)
            case "in":
                return there and any(_equal(found, choice) for choice in self.value)
            case _:
                return there and _ordered(found, self.value) and _ORDERS[self.operator](found, self.value)


@dataclass(frozen=True, slots=True)
class Every:
    """All of them; with none it holds for everybody."""

    parts: tuple[Filter, ...]

    def holds(self, metadata: Metadata, /) -> bool:
        return all(part.holds(metadata) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    """One of them at least."""

    parts: tuple[Filter, ...]

    def holds(self, metadata: Metadata, /) -> bool:
        return any(part.holds(metadata) for part in self.parts)


def parse(where: Metadata | None) -> Every:
    """The filter that `where` describes. Raises SearchError: what is not understood, and what would be."""
    count = [0]
    return _every({} if where is None else where, 1, count)


def _every(where: Any, depth: int, count: list[int]) -> Every:
    if not isinstance(where, Mapping):
        raise SearchError(f'a filter is an object of keys and values, {{"city": "Oslo"}}, and not {_shown(where)}')
    if depth > _DEEPEST:
        raise SearchError(f"a filter may be {_DEEPEST} deep")
    return Every(tuple(part for key, asked in where.items() for part in _parts(key, asked, depth, count)))


def _parts(key: str, asked: Any, depth: int, count: list[int]) -> list[Filter]:
    if key == "or":
        if not isinstance(asked, Sequence) or isinstance(asked, str | bytes) or not asked:
            raise SearchError(f'"or" takes a list of filters, and not {_shown(asked)}')
        return [Either(tuple(_every(one, depth + 1, count) for one in asked))]
    asks = asked if isinstance(asked, Mapping) else {"eq": asked}
    count[0] += len(asks)
    if count[0] > _LONGEST:
        raise SearchError(f"a filter may have {_LONGEST} conditions")
    if not asks:
        raise SearchError(f"nothing is asked of {key!r}: name an operator, one of {', '.join(_OPERATORS)}")
    return [_condition(key, name, value) for name, value in asks.items()]


def _condition(key: str, name: str, value: Any) -> Condition:
    if name not in _OPERATORS:
        raise SearchError(f"{key!r}: no operator {name!r}, only {', '.join(_OPERATORS)}")
    if name == "in" and (not isinstance(value, list | tuple) or len(value) > _MOST_CHOICES):
        raise SearchError(f'{key!r}: "in" takes a list of at most {_MOST_CHOICES} values, and not {_shown(value)}')
    if name == "exists" and not isinstance(value, bool):
        raise SearchError(f'{key!r}: "exists" takes true or false, and not {_shown(value)}')
    if name in _ORDERS and not (_is_number(value) or isinstance(value, str)):
        raise SearchError(f"{key!r}: {name!r} takes a number or a text, and not {_shown(value)}")
    return Condition(key, cast(Operator, name), value)


def _equal(found: Any, asked: Any) -> bool:
    if _same(found, asked):
        return True
    return isinstance(found, list | tuple) and any(_same(element, asked) for element in found)


def _same(one: Any, other: Any) -> bool:
    """Equal, and true is not 1."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _ordered(one: Any, other: Any) -> bool:
    return (_is_number(one) and _is_number(other)) or (isinstance(one, str) and isinstance(other, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
