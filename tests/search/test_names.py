"""One rule for names, whoever makes a collection."""

import re

import pytest

from visage.api.v1 import bodies
from visage.errors import SearchError
from visage.search import names
from visage.search.names import hold_collection, is_collection


@pytest.mark.parametrize("name", ["a", "staff", "staff-2", "0_x", "x" * 63])
def test_names_that_are_some(name: str) -> None:
    assert is_collection(name) and re.fullmatch(bodies.COLLECTION, name)
    hold_collection(name)


@pytest.mark.parametrize("name", ["", "Staff", "No Such!", "-a", "_a", "a/b", "a\n", "ä", "x" * 64, "a.b", "a b"])
def test_names_that_are_none(name: str) -> None:
    assert not is_collection(name)
    with pytest.raises(SearchError, match="63 lower-case letters"):
        hold_collection(name)


def test_the_api_holds_to_the_same_patterns() -> None:
    assert (bodies.COLLECTION, bodies.ID) == (names.COLLECTION, names.ID)
