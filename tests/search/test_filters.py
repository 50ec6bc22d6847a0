import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.errors import SearchError
from visage.search.filters import parse

ANNA = {"city": "Oslo", "age": 30, "tags": ["a", "b"], "member": True, "left": None}


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        (None, True),
        ({}, True),
        ({"city": "Oslo"}, True),
        ({"city": "Rome"}, False),
        ({"city": "Oslo", "age": 31}, False),
        ({"age": {"gte": 30, "lt": 31}}, True),
        ({"age": {"gt": 30}}, False),
        ({"age": {"lte": 29.5}}, False),
        ({"age": {"gt": "3"}}, False),
        ({"city": {"gte": "Os", "lt": "Ot"}}, True),
        ({"city": {"gt": 1}}, False),
        ({"tags": "a"}, True),
        ({"tags": ["a", "b"]}, True),
        ({"tags": {"in": ["x", "b"]}}, True),
        ({"tags": {"ne": "a"}}, False),
        ({"city": {"in": ["Rome", "Oslo"]}}, True),
        ({"city": {"in": []}}, False),
        ({"member": True}, True),
        ({"member": 1}, False),
        ({"age": {"eq": 30.0}}, True),
        ({"left": None}, True),
        ({"gone": None}, False),
        ({"gone": {"ne": 1}}, True),
        ({"gone": {"lt": 1}}, False),
        ({"gone": {"exists": False}}, True),
        ({"left": {"exists": True}}, True),
        ({"or": [{"city": "Rome"}, {"age": 30}]}, True),
        ({"or": [{"city": "Rome"}, {"age": 31}]}, False),
        ({"city": "Oslo", "or": [{"age": 31}, {"or": [{"member": True}]}]}, True),
    ],
)
def test_a_filter_holds_as_it_reads(where: Any, holds: bool) -> None:
    assert parse(where).holds(ANNA) is holds


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ([], "a filter is an object"),
        ({"age": {"above": 3}}, "'above'"),
        ({"age": {}}, "nothing is asked of 'age'"),
        ({"age": {"gt": None}}, "takes a number or a text"),
        ({"age": {"gt": True}}, "takes a number or a text"),
        ({"age": {"in": "ab"}}, "takes a list"),
        ({"age": {"in": list(range(10_001))}}, "at most 10000"),
        ({"age": {"exists": "yes"}}, "true or false"),
        ({"or": {"age": 3}}, "list of filters"),
        ({"or": []}, "list of filters"),
        ({"or": ["x"]}, "a filter is an object"),
        ({str(i): i for i in range(257)}, "256 conditions"),
        ({"and": [{"city": "Oslo"}, {"age": 3}]}, "no operator 'and'"),
        ({"AND": [{"city": "Oslo"}]}, "no operator 'AND'"),
        ({"OR": [{"city": "Oslo"}]}, "no operator 'OR'"),
        ({"not": {"city": "Oslo"}}, "no operator 'not'"),
        ({"nor": [{"city": "Oslo"}]}, "no operator 'nor'"),
        ({"or": [{"must_not": [{"city": "Oslo"}]}]}, "no operator 'must_not'"),
        ({"$and": [{"city": "Oslo"}]}, "no operator '\\$and'"),
        ({"$or": [{"city": "Oslo"}]}, '"or" takes a list'),
        ({"$where": "1"}, "no operator '\\$where'"),
        ({"age": {"$gte": 3}}, "no operator '\\$gte'"),
    ],
)
def test_what_is_not_understood_is_told(where: Any, said: str) -> None:
    with pytest.raises(SearchError, match=said):
        parse(where)


def test_a_key_that_is_named_like_an_operator_may_be_asked_of_as_any_other() -> None:
    for where in ({"not": "x"}, {"and": {"eq": "x"}}, {"any": {"in": ["x"]}}, {"all": ["x"]}, {"filter": {"ne": 1}}):
        ((key, _),) = where.items()
        assert parse(where).holds({key: ["x"]} if key == "all" else {key: "x"}), where


def test_a_filter_without_bottom_is_refused() -> None:
    where: dict[str, Any] = {"city": "Oslo"}
    for _ in range(8):
        where = {"or": [where]}
    with pytest.raises(SearchError, match="8 deep"):
        parse(where)


def same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def equal(found: Any, asked: Any) -> bool:
    """What `eq` says, read as it is written: the value itself, or an element of the list."""
    return same(found, asked) or (isinstance(found, list | tuple) and any(same(one, asked) for one in found))


SCALARS = st.sampled_from(
    [None, True, False, 0, 1, 2, 0.0, 1.0, -0.0, 2**53, 2.0**53, 2**53 + 1, "", "1", "a", math.nan]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(VALUES, st.lists(VALUES, max_size=5))
def test_what_is_looked_up_is_what_would_be_compared(found: Any, choices: list[Any]) -> None:
    metadata = {"x": found}
    assert parse({"x": {"in": choices}}).holds(metadata) is any(equal(found, one) for one in choices)
    for one in choices:
        assert parse({"x": {"eq": one}}).holds(metadata) is equal(found, one)
        assert parse({"x": {"ne": one}}).holds(metadata) is not equal(found, one)


class Counted(str):
    """A text that counts how often it is compared."""

    compared = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)


def test_long_lists_are_not_compared_each_with_each() -> None:
    wanted = parse({"or": [{"x": {"in": [Counted(f"{i}/{j}") for j in range(1000)]}} for i in range(20)]})
    metadata = {"x": [Counted(i) for i in range(3000)]}
    Counted.compared = 0
    assert not wanted.holds(metadata)
    assert Counted.compared < 50_000  # each with each: 60 million
