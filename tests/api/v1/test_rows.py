"""Rows out of a stream, wherever its pieces are cut."""

import json
import sys
import tracemalloc
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.api.v1.rows import _MOST_ROW, Rows
from visage.errors import RequestTooLarge

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20),
    max_leaves=30,
)


def fed(rows: Rows, data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found = []
    for start, end in pairwise(edges):
        found += rows.feed(data[start:end])
    return found + rows.last()


@given(st.lists(VALUES, max_size=5), st.lists(st.integers(0, 10_000), max_size=6))
def test_msgpack_objects_come_out_whole(values: list[Any], cuts: list[int]) -> None:
    data = b"".join(msgpack.packb(value) for value in values)
    assert [msgpack.unpackb(row) for row in fed(Rows(packed=True), data, cuts)] == values


@given(
    st.lists(st.dictionaries(st.text(), st.integers(-(2**53), 2**53)), max_size=5),
    st.lists(st.integers(0, 1000), max_size=6),
)
def test_lines_come_out_whole(values: list[Any], cuts: list[int]) -> None:
    rows = Rows(packed=False)
    data = b"\n\r\n".join(json.dumps(value).encode() for value in values)
    assert [rows.read(row) for row in fed(rows, data, cuts)] == values


def test_a_long_row_is_looked_through_once() -> None:
    """The work is counted in calls of the interpreter's tracer: seconds would be the machine's."""
    for packed, data in ((True, msgpack.packb([1] * 2**18)), (False, b'"' + b"x" * 2**20 + b'"\n')):
        whole = _lines_run(Rows(packed=packed), [data])
        pieces = _lines_run(Rows(packed=packed), [data[i : i + 1024] for i in range(0, len(data), 1024)])
        assert pieces < 1.2 * whole + 40 * len(data) / 1024


def test_a_long_line_is_not_copied_with_every_piece() -> None:
    rows = Rows(packed=False)
    tracemalloc.start()
    try:
        for _ in range(4096):
            rows.feed(b"x" * 1024)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        rows.feed(b"x" * 1024)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 100_000  # a copy of the line: 4 MiB


def _lines_run(rows: Rows, pieces: list[bytes]) -> int:
    count = 0

    def trace(*_: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        found = [row for piece in pieces for row in rows.feed(piece)]
    finally:
        sys.settrace(old)
    assert len(found) == 1
    return count


def test_what_is_no_msgpack_is_said() -> None:
    with pytest.raises(ValueError, match="no msgpack"):
        Rows(packed=True).feed(b"\xc1")
    rows = Rows(packed=True)
    assert rows.feed(b"\x92\x01") == []
    with pytest.raises(ValueError, match="within a row"):
        rows.last()
    with pytest.raises(ValueError, match="no valid JSON"):
        Rows(packed=False).read(b"{")


@pytest.mark.parametrize("packed", [False, True], ids=["lines", "msgpack"])
@pytest.mark.parametrize("piece", [2**20, 2**16 + 1, 10 * _MOST_ROW])
def test_a_row_that_is_too_long_fails_alone_and_is_not_held(packed: bool, piece: int) -> None:
    long: Any = [b"x" * 2**20] * 10 if packed else ["x" * 2**20] * 10
    write = msgpack.packb if packed else lambda value: json.dumps(value).encode() + b"\n"
    data = b"".join(map(write, ["before", long, "between", long, "after"]))
    rows = Rows(packed=packed)
    found: list[bytes] = []
    held = 0
    for start in range(0, len(data), piece):
        found += rows.feed(data[start : start + piece])
        cut: Any = rows._cut
        held = max(held, len(cut._buffer) if packed else sum(map(len, cut._pieces)))
    found += rows.last()
    assert [rows.read(found[i]) for i in (0, 2, 4)] == ["before", "between", "after"] and len(found) == 5
    for i in (1, 3):
        with pytest.raises(RequestTooLarge, match=f"{_MOST_ROW} bytes"):
            rows.read(found[i])
    assert held <= _MOST_ROW


def test_a_body_that_ends_within_a_row_that_is_too_long_ends_within_a_row() -> None:
    rows = Rows(packed=True)
    assert rows.feed(msgpack.packb(b"x" * (2 * _MOST_ROW))[:-1]) == []
    with pytest.raises(ValueError, match="within a row"):
        rows.last()
