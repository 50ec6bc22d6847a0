import json
import struct
from typing import Any

import msgpack
import numpy as np
import orjson
import ormsgpack
import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from visage.api.encoding import JSON, MSGPACK, answer_type, parse, render
from visage.api.problems import validation_problem

single_floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
double_floats = st.floats(-1e30, 1e30, allow_nan=False)
vectors = hnp.arrays(np.float32, st.integers(0, 20), elements=single_floats)
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)


def answers(floats: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What answers are made of: objects, lists, numbers, texts and vectors."""
    leaves = plain | floats | vectors | vectors.map(lambda vector: vector.astype(np.float64))
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5)
    )


def listed(value: Any) -> Any:
    """The value as plain Python, arrays as lists."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64).tolist()
    if isinstance(value, dict):
        return {key: listed(inner) for key, inner in value.items()}
    return [listed(inner) for inner in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(answers(single_floats))
def test_json_and_msgpack_answers_say_the_same(answer: Any) -> None:
    """orjson prints a float32 array shortest for 32 bits, so what the answers' vectors are widened for is here, too."""
    widened = _widened(answer)
    from_json = orjson.loads(render(widened, JSON).body)
    assert from_json == json.loads(render(widened, JSON).body) == listed(answer)
    for single in (True, False):
        packed = bytes(render(widened, MSGPACK, single=single).body)
        assert ormsgpack.unpackb(packed) == msgpack.unpackb(packed) == listed(answer)


def _widened(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    if isinstance(value, dict):
        return {key: _widened(inner) for key, inner in value.items()}
    return [_widened(inner) for inner in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(answers(double_floats))
def test_double_floats_in_msgpack_lose_nothing_and_single_ones_no_more_than_they_must(answer: Any) -> None:
    double = msgpack.unpackb(bytes(render(answer, MSGPACK, single=False).body))
    single = msgpack.unpackb(bytes(render(answer, MSGPACK, single=True).body))
    assert double == listed(answer)
    assert single == _rounded(listed(answer))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return struct.unpack("f", struct.pack("f", value))[0]
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


bodies = st.recursive(
    plain | double_floats,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
)


@settings(deadline=None)
@given(bodies)
def test_a_body_reads_back_as_it_was_written_by_other_libraries(value: Any) -> None:
    assert parse(json.dumps(value).encode(), JSON) == value
    assert parse(msgpack.packb(value), MSGPACK) == value


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.sampled_from([JSON, MSGPACK, "", "text/plain"]))
def test_any_bytes_are_a_value_or_a_fault_that_can_be_told(body: bytes, content_type: str) -> None:
    try:
        parse(body, content_type)
    except RequestValidationError as fault:
        answer = json.loads(validation_problem(fault.errors()).body)
        assert answer["status"] == 422
        assert answer["detail"][0]["loc"] == ["body"]


@pytest.mark.parametrize(
    ("deep", "content_type"),
    [(b"[" * 100_000, JSON), (b'{"a":' * 50_000, JSON), (b"\x91" * 100_000, MSGPACK), (b"\x81\xa1a" * 50_000, MSGPACK)],
)
def test_a_bottomless_body_is_refused(deep: bytes, content_type: str) -> None:
    with pytest.raises(RequestValidationError):
        parse(deep, content_type)


told = st.recursive(
    plain | st.floats() | st.binary(max_size=300) | st.integers() | st.text(max_size=400),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


@settings(deadline=None)
@given(told, st.booleans())
def test_whatever_was_sent_can_be_repeated_in_a_validation_problem_and_shortly(value: Any, compat: bool) -> None:
    fault = {"loc": ("body", 0), "msg": "no", "type": "odd", "input": value}
    answer = json.loads(validation_problem([fault], compat=compat).body)
    assert len(json.dumps(answer["detail"][0]["input"], ensure_ascii=False)) < 3000


accept_headers = st.text(max_size=30) | st.lists(
    st.sampled_from(["application/x-msgpack", "*/*", "a/b", ";q=0.5", ";q=", ",", "/", '"', "\\", " ", "image/", "="]),
    max_size=8,
).map("".join)


@settings(deadline=None, max_examples=300)
@given(accept_headers)
def test_any_accept_header_has_an_answer(header: str) -> None:
    assert answer_type(header, wants_msgpack=False) in (JSON, MSGPACK)
