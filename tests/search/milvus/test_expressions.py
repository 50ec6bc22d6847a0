from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.search.milvus.fake import holds
from visage.errors import SearchError
from visage.search.filters import parse
from visage.search.milvus.expressions import among, at_least, both, text


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({}, ""),
        ({"city": "Oslo"}, '(metadata["city"] == "Oslo" or json_contains(metadata["city"], "Oslo"))'),
        ({"age": {"gte": 18, "lt": 30.5}}, '(metadata["age"] >= 18) and (metadata["age"] < 30.5)'),
        (
            {"or": [{"a": {"gt": "x"}}, {"b": {"lte": -1}}]},
            '(((metadata["a"] > "x")) or ((metadata["b"] <= -1)))',
        ),
        # What versions of Milvus differ in is left to the filter itself.
        ({"a": True}, ""),
        ({"a": -1}, ""),
        ({"a": None}, ""),
        ({"a": [1]}, ""),
        ({"a": {"ne": 1}}, ""),
        ({"a": {"exists": True}}, ""),
        ({"a": 2**60}, ""),
        ({"a": {"lt": float("inf")}}, ""),
        ({"a": {"lt": 1e300}}, ""),
        ({"a": {"in": []}}, ""),
        ({"a": {"in": list(range(101))}}, ""),
        ({'quo"te': 1}, ""),
        ({"a": "new\nline"}, ""),
        ({"or": [{"a": 1}, {"b": {"ne": 1}}]}, ""),
        ({"a": {"gt": 1, "ne": 2}}, '(metadata["a"] > 1)'),
    ],
)
def test_of_a_filter_milvus_is_asked_what_no_version_takes_otherwise(where: Any, said: str) -> None:
    assert at_least(parse(where)) == said


def test_in_is_any_of_them() -> None:
    said = at_least(parse({"a": {"in": ["x", 1]}}))
    assert [holds(said, {"metadata": {"a": value}}) for value in ("x", 1, ["y", 1], "y", 2)] == [True] * 3 + [False] * 2


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, -1.5, 2.0, 1e300]),
    st.sampled_from(["", "a", "b", "ab", 'q"', "1"]),
)
METADATA = st.dictionaries(st.sampled_from(["a", "b", 'c"']), VALUES | st.lists(VALUES, max_size=3), max_size=3)
ORDERED = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, 2.0]), st.sampled_from(["a", "ab"]))
ASKED = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(["eq", "ne"]), VALUES, min_size=1),
    st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), ORDERED, min_size=1),
    st.fixed_dictionaries({"in": st.lists(VALUES, max_size=3)}),
    st.fixed_dictionaries({"exists": st.booleans()}),
)
KEYS = st.sampled_from(["a", "b", 'c"'])
WHERE = st.recursive(
    st.dictionaries(KEYS, ASKED, max_size=2),
    lambda inner: st.builds(
        lambda one, other: {**one, "or": other}, st.dictionaries(KEYS, ASKED, max_size=1), st.lists(inner, min_size=1)
    ),
    max_leaves=4,
)


@given(WHERE, METADATA)
def test_whoever_is_meant_is_among_those_whom_milvus_is_asked_for(where: Any, metadata: Any) -> None:
    wanted = parse(where)
    if wanted.holds(metadata):
        assert holds(at_least(wanted), {"metadata": metadata})


def test_texts_are_quoted_and_control_characters_refused() -> None:
    assert text('a "b" \\ é') == '"a \\"b\\" \\\\ é"'
    assert among("id", ["a", 'b"']) == 'id in ["a", "b\\""]'
    assert among("owner", [1, 2]) == "owner in [1, 2]"
    for bad in ("a\nb", "\x00", "\x7f"):
        with pytest.raises(SearchError, match="control characters"):
            text(bad)


def test_both_leaves_out_what_asks_for_nothing() -> None:
    assert (both("", ""), both("a > 1", ""), both("a > 1", "b or c")) == ("", "a > 1", "(a > 1) and (b or c)")
