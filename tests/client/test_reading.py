from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from visage_client.errors import BadAnswer
from visage_client.reading import read
from visage_client.vectors import Vector, packed, unpacked


@dataclass(frozen=True)
class Inner:
    x: float


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    many: tuple[Inner, ...] = ()
    maybe: Inner | None = None
    when: datetime | None = None
    data: bytes | None = None
    vector: Vector | None = None
    word: Literal["a", "b"] = "a"
    plain: Mapping[str, Any] = field(default_factory=dict)


def test_values_are_read_by_their_annotations() -> None:
    made = read(
        Outer,
        {
            "name": "n",
            "inner": {"x": 1, "later": True},
            "many": [{"x": 2}],
            "maybe": None,
            "when": "2026-01-02T03:04:05Z",
            "data": "AQI=",
            "vector": [1, 2],
            "plain": {"k": [1]},
            "unknown": 1,
        },
    )
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert made == Outer("n", Inner(1.0), (Inner(2.0),), None, when, b"\x01\x02", array("f", [1, 2]), "a", {"k": [1]})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "Outer is an object, not list"),
        ({"name": "n"}, "Outer has no 'inner'"),
        ({"name": "n", "inner": None}, "Inner is an object, not NoneType"),
        ({"name": "n", "inner": {"x": "wide"}}, "wide"),
        ({"name": "n", "inner": {"x": 1}, "when": "yesterday"}, "yesterday"),
        ({"name": "n", "inner": {"x": 1}, "data": "?"}, "base64"),
        ({"name": "n", "inner": {"x": 1}, "vector": 7}, "a vector is"),
        ({"name": "n", "inner": {"x": 1}, "many": 7}, "iterable"),
    ],
)
def test_what_is_no_such_value_is_a_bad_answer_that_says_so(value: Any, said: str) -> None:
    with pytest.raises(BadAnswer, match=f"Outer.*{said}|{said}"):
        read(Outer, value)


def test_a_vector_is_four_bytes_a_number_little_endian() -> None:
    assert packed([1.0, -2.0]) == b"\x00\x00\x80?\x00\x00\x00\xc0"
    assert unpacked(b"\x00\x00\x80?\x00\x00\x00\xc0") == unpacked("AACAPwAAAMA=") == unpacked([1, -2])


@pytest.mark.parametrize("vector", [[], "text", [[1.0]], [1.0, "a"], [None], [1e300]])
def test_what_is_no_row_of_numbers_is_refused(vector: Any) -> None:
    if vector == [1e300]:
        assert packed(vector) == packed([float("inf")])  # the service refuses it by name
    else:
        with pytest.raises((ValueError, TypeError)):
            packed(vector)
