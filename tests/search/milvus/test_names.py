import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.search.milvus import names


@given(st.text(min_size=1, max_size=20))
def test_a_name_comes_back_and_is_one_that_milvus_takes(name: str) -> None:
    assert names.gallery(names.persons(name)) == name
    for table in (names.persons(name), names.vectors(name, "0a1b2c3d"), names.crops(name, "0a1b2c3d")):
        assert re.fullmatch("[a-z0-9_]+", table)
        assert names.belongs(table, name)


@pytest.mark.parametrize(("one", "other"), [("a", "a_"), ("a", "a_persons"), ("a", "a_vectors"), ("a-b", "a_b")])
def test_what_belongs_to_one_belongs_to_no_other(one: str, other: str) -> None:
    for a, b in ((one, other), (other, one)):
        tables = (names.persons(b), names.vectors(b, "0a1b2c3d"), names.crops(b, "0a1b2c3d"))
        assert not any(names.belongs(table, a) for table in tables)


@pytest.mark.parametrize("table", ["staff", "staff_persons", "visage_staff", "visage_a_ff_persons", "other_a_persons"])
def test_what_others_keep_in_milvus_is_no_gallery(table: str) -> None:
    assert names.gallery(table) is None
