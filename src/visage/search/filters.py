"""Which persons are meant, by their metadata: the `where` of lists and searches.

    {"city": "Oslo", "age": {"gte": 18, "lt": 30}, "tags": {"in": ["a", "b"]}, "or": [{…}, {…}]}

Keys are those of the metadata, and all of them must hold. A value is compared for equality; an object names operators:
`eq ne gt gte lt lte in exists`. `or` holds where one of its filters does (metadata of that name cannot be asked for,
nor of one that begins with $: that is another language's operator).
A list in the metadata meets `eq` and `in` where one of its elements does, too. Only numbers have an order among numbers
and texts among texts: what cannot be compared does not hold. Of a key that is not there only `ne` and
`{"exists": false}` hold.
"""

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
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
# What joins filters elsewhere. As a key of the metadata it would be there for nobody, and nobody would be found.
_JOINS = frozenset(("and", "or", "not", "nor", "xor", "all", "any", "must", "must_not", "should", "filter"))


class Subject:
    """A person's metadata, as conditions look at them: of a list is found out once what it equals."""

    __slots__ = ("_equals", "metadata")

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        self._equals: dict[str, frozenset[Hashable]] = {}

    def equals(self, key: str) -> frozenset[Hashable]:
        """What the value there meets `eq` of: itself, and of a list each element."""
        known = self._equals.get(key)
        if known is None:
            found = self.metadata[key]
            several = [found, *found] if isinstance(found, list | tuple) else [found]
            known = self._equals[key] = frozenset(_as_key(one) for one in several if _equals_itself(one))
        return known


class Filter(Protocol):
    """Whether a person's metadata meet it."""

    def of(self, subject: Subject, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key; `choices`: what `eq`, `ne` and `in` ask for, to be looked up."""

    key: str
    operator: Operator
    value: Any
    choices: frozenset[Hashable] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        asked = self.value if self.operator == "in" else [self.value]
        object.__setattr__(self, "choices", frozenset(_as_key(one) for one in asked if _equals_itself(one)))

    def of(self, subject: Subject, /) -> bool:
        there = self.key in subject.metadata
        match self.operator:
            case "exists":
                return there is self.value
            case "ne":
                return not (there and self._meets(subject))
            case "eq" | "in":
                return there and self._meets(subject)
            case _:
                found = subject.metadata.get(self.key)
                return there and _ordered(found, self.value) and _ORDERS[self.operator](found, self.value)

    def _meets(self, subject: Subject) -> bool:
        return not self.choices.isdisjoint(subject.equals(self.key))


@dataclass(frozen=True, slots=True)
class Every:
    """All of them; with none it holds for everybody."""

    parts: tuple[Filter, ...]

    def holds(self, metadata: Metadata, /) -> bool:
        return self.of(Subject(metadata))

    def of(self, subject: Subject, /) -> bool:
        return all(part.of(subject) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    """One of them at least."""

    parts: tuple[Filter, ...]

    def of(self, subject: Subject, /) -> bool:
        return any(part.of(subject) for part in self.parts)


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
    if key.startswith("$") or (key.lower() in _JOINS and _holds_filters(asked)):
        raise SearchError(
            f'no operator {_shown(key)}: what stands in one object holds together, "or" takes a list of filters, and a '
            f"key is asked of with {', '.join(_OPERATORS)}"
        )
    asks = asked if isinstance(asked, Mapping) else {"eq": asked}
    count[0] += len(asks)
    if count[0] > _LONGEST:
        raise SearchError(f"a filter may have {_LONGEST} conditions")
    if not asks:
        raise SearchError(f"nothing is asked of {key!r}: name an operator, one of {', '.join(_OPERATORS)}")
    return [_condition(key, name, value) for name, value in asks.items()]


def _holds_filters(asked: Any) -> bool:
    """Whether it is a filter or a list with one: neither is what the metadata of a key would be compared with."""
    if isinstance(asked, Mapping):
        return not all(name in _OPERATORS for name in asked)
    return isinstance(asked, list | tuple) and any(isinstance(one, Mapping) for one in asked)


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


def _as_key(value: Any) -> Hashable:
    """The same for what is equal, so that thousands of choices and elements meet in a set; true is not 1."""
    return isinstance(value, bool), _frozen(value)


def _frozen(value: Any) -> Hashable:
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(_frozen(one) for one in value)
    if isinstance(value, Mapping):
        return "object", frozenset((key, _frozen(one)) for key, one in value.items())
    return cast(Hashable, value)


def _equals_itself(value: Any) -> bool:
    return bool(value == value)  # noqa: PLR0124 - NaN does not, but a set would find it


def _ordered(one: Any, other: Any) -> bool:
    return (_is_number(one) and _is_number(other)) or (isinstance(one, str) and isinstance(other, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
