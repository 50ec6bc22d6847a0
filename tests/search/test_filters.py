from typing import Any

import pytest

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
    ],
)
def test_what_is_not_understood_is_told(where: Any, said: str) -> None:
    with pytest.raises(SearchError, match=said):
        parse(where)


def test_a_filter_without_bottom_is_refused() -> None:
    where: dict[str, Any] = {"city": "Oslo"}
    for _ in range(8):
        where = {"or": [where]}
    with pytest.raises(SearchError, match="8 deep"):
        parse(where)
