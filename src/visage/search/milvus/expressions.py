"""What Milvus is asked for, in its language of expressions."""

import json
import math
import re
from collections.abc import Iterable

from visage.errors import SearchError
from visage.search.filters import Condition, Either, Every, Filter

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MOST_CHOICES = 100
# Whole numbers that a double holds exactly.
_LARGEST = 2**53


def text(value: str) -> str:
    """As a literal. Raises SearchError: Milvus Lite reads no control characters."""
    if _CONTROL.search(value):
        raise SearchError(f"{value!r} holds control characters; Milvus cannot be asked for those")
    return json.dumps(value, ensure_ascii=False)


def among(field: str, values: Iterable[str] | Iterable[int]) -> str:
    return f"{field} in [{', '.join(text(v) if isinstance(v, str) else str(v) for v in values)}]"


def both(*parts: str) -> str:
    """All of them; an empty one asks for nothing."""
    there = [part for part in parts if part]
    return there[0] if len(there) == 1 else " and ".join(f"({part})" for part in there)


def at_least(wanted: Filter) -> str:
    """An expression that everybody meets who meets the filter, and maybe others; "" where there is none that helps.

    The word on who is meant is the filter's own (`Filter.holds`): how Milvus compares numbers with booleans, and what
    it makes of nulls, of numbers that a double does not hold, and of a key that is not there, differs between its
    versions; Milvus Lite reads no negative number in `json_contains`.
    """
    return _superset(wanted) or ""


def _superset(wanted: Filter) -> str | None:
    match wanted:
        case Every(parts):
            found = [one for part in parts if (one := _superset(part)) is not None]
            return " and ".join(f"({one})" for one in found) or None
        case Either(parts):
            every = [_superset(part) for part in parts]
            return " or ".join(f"({one})" for one in every if one) if all(every) else None
        case Condition():
            return _condition(wanted)
        case _:
            return None


def _condition(wanted: Condition) -> str | None:
    if wanted.operator == "in":
        if len(wanted.value) > _MOST_CHOICES:
            return None
        every = [_condition(Condition(wanted.key, "eq", choice)) for choice in wanted.value]
        return " or ".join(f"({one})" for one in every if one) if every and all(every) else None
    path, value = _path(wanted.key), _literal(wanted.value)
    if path is None or value is None:
        return None
    match wanted.operator:
        case "eq" if not value.startswith("-"):
            return f"{path} == {value} or json_contains({path}, {value})"
        case "gt" | "gte" | "lt" | "lte":
            return f"{path} {({'gt': '>', 'gte': '>=', 'lt': '<', 'lte': '<='})[wanted.operator]} {value}"
        case _:
            return None


def _path(key: str) -> str | None:
    return None if _CONTROL.search(key) or set(key) & {'"', "\\", "'"} or not key else f'metadata["{key}"]'


def _literal(value: object) -> str | None:
    """None: of such values nothing is said that holds for every version of Milvus."""
    if isinstance(value, str):
        return None if _CONTROL.search(value) else text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return str(value) if abs(value) <= _LARGEST else None
    written = repr(value)
    return written if math.isfinite(value) and "e" not in written else None
