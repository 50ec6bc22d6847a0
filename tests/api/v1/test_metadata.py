"""What is told of a person is given back as it was sent, or refused: over HTTP, with the store on disk."""

import json
import math
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import quote

import msgpack
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import Client, constant_client
from visage.api.v1 import metadata

PERSONS = "/v1/collections/staff/persons"
MSGPACK = "application/x-msgpack"
NAMES = count()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with constant_client(DATA_DIR=str(tmp_path_factory.mktemp("data"))) as client:
        assert client.post("/v1/collections", json={"name": "staff"}).status_code == 201
        yield client


def sent(client: Client, value: Any, *, packed: bool) -> Any:
    """The answer to an enrolment with these metadata, and the person's id."""
    name = f"p{next(NAMES)}"
    body = {"id": name, "metadata": value}
    content = msgpack.packb(body) if packed else json.dumps(body).encode()
    headers = {"content-type": MSGPACK if packed else "application/json"}
    return client.post(PERSONS, content=content, headers=headers), name


def alike(one: Any, other: Any) -> bool:
    """Of one kind, too, and of one sign: 1 is neither 1.0 nor true."""
    if type(one) is not type(other):
        return False
    match one:
        case dict():
            return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
        case list():
            return len(one) == len(other) and all(alike(a, b) for a, b in zip(one, other, strict=True))
        case float():
            return repr(one) == repr(other)
        case _:
            return bool(one == other)


def can_be_kept(value: Any) -> bool:
    match value:
        case dict():
            return all(isinstance(key, str) and can_be_kept(inner) for key, inner in value.items())
        case list():
            return all(can_be_kept(inner) for inner in value)
        case bool() | str() | None:
            return True
        case int():
            return -(2**63) <= value < 2**64
        case float():
            return math.isfinite(value)
        case _:
            return False


NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"]))


def nested(leaves: Any, keys: Any) -> Any:
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=8,
    )
    return st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values, max_size=4)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
BY_JSON = nested(LEAVES | st.integers(2**62, 2**80) | st.just(1e30), TEXTS)
BY_MSGPACK = nested(
    (LEAVES.filter(lambda one: not isinstance(one, int) or -(2**63) <= one < 2**64))
    | st.binary()
    | st.just(msgpack.ExtType(5, b"x"))
    | st.just(msgpack.Timestamp(1, 1)),
    TEXTS | st.integers(-(2**63), 2**64 - 1) | st.binary(),
)
examples = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(client: Client, value: Any, *, packed: bool) -> None:
    answer, name = sent(client, value, packed=packed)
    if can_be_kept(value):
        assert answer.status_code == 201, answer.text
        whole = client.get(f"{PERSONS}/{name}", headers={"accept": MSGPACK}).content
        assert alike(msgpack.unpackb(whole)["metadata"], value)
        assert alike(orjson.loads(client.get(f"{PERSONS}/{name}").content)["metadata"], value)
    else:
        assert answer.status_code == 422 and answer.json()["detail"][0]["loc"][0] == "body", answer.text


@given(BY_JSON)
@examples
def test_by_json_it_comes_back_as_it_was_sent_or_is_refused(client: Client, value: Any) -> None:
    check(client, value, packed=False)


@given(BY_MSGPACK)
@examples
def test_by_msgpack_it_comes_back_as_it_was_sent_or_is_refused(client: Client, value: Any) -> None:
    check(client, value, packed=True)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "Infinity"),
        (b"\x00", "base64"),
        (msgpack.ExtType(7, b""), "extension types (here 7)"),
        (msgpack.Timestamp(1, 1), "Timestamp"),
        (msgpack.Timestamp(1), "extension types (here -1)"),
    ],
)
@pytest.mark.parametrize("also", [{}, {1: 2}])
def test_what_json_cannot_say_is_told_by_its_key(client: Client, odd: Any, said: str, also: Any) -> None:
    if isinstance(odd, msgpack.Timestamp) and bool(also) != ("Timestamp" in said):
        pytest.skip("its class is of the parser that read it")
    answer, _ = sent(
        client, {"score": 1, "deep": [{"x": 1}, {"grade": odd}]} | ({"z": also} if also else {}), packed=True
    )
    (fault,) = answer.json()["detail"]
    assert answer.status_code == 422
    if fault["loc"] != ["body", "metadata", "z", "1"]:  # whichever is met first
        assert fault["loc"] == ["body", "metadata", "deep", 1, "grade"] and said in fault["msg"]


def test_so_are_keys_that_are_no_texts(client: Client) -> None:
    for key, name in ((1, "1"), (None, "None"), (2.5, "2.5"), (b"k", "a bytes")):
        answer, _ = sent(client, {"a": {key: "x"}}, packed=True)
        (fault,) = answer.json()["detail"]
        assert fault["loc"] == ["body", "metadata", "a", name] and "texts" in fault["msg"]


LARGE = ["18446744073709551616", "-9223372036854775809", "1" + "0" * 30, "12345678901234567890123", "9" * 300]
KEPT = [
    "18446744073709551615",
    "-9223372036854775808",
    "1e30",
    "12345678901234567890123.0",
    "1.5e300",
    "1E+25",
    "-1e19",
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("number", LARGE)
def test_whole_numbers_that_would_be_rounded_are_refused_by_name(client: Client, number: str, encoding: str) -> None:
    for text in (f'{{"metadata":{{"a":[1, {number}]}}}}', f'{{"metadata": {{"a": [1,{number} ]}}, "name": "1e30"}}'):
        answer = client.post(PERSONS, content=text.encode(encoding))
        (fault,) = answer.json()["detail"]
        assert fault["loc"] == ["body", "metadata", "a", 1] and "64 bits" in fault["msg"], answer.text


@pytest.mark.parametrize("number", KEPT)
def test_others_are_kept(client: Client, number: str) -> None:
    name = f"p{next(NAMES)}"
    text = f'{{"id": "{name}", "name": "{LARGE[0]}", "metadata": {{"a": {number}, "b": "{LARGE[3]}"}}}}'
    assert client.post(PERSONS, content=text.encode()).status_code == 201
    found = json.loads(client.get(f"{PERSONS}/{name}").content)["metadata"]
    assert alike(found, {"a": json.loads(number), "b": LARGE[3]})


def test_wherever_metadata_stand(client: Client) -> None:
    client.post(PERSONS, json={"id": "whole"})
    picture = b"\xff\xd8\xff\xe0\x00\x10JFIF"
    raw = f'{{"a": {LARGE[0]}}}'
    asked = quote(raw)
    answers = [
        client.post("/v1/collections", content=f'{{"name": "x", "metadata": {raw}}}'),
        client.patch("/v1/collections/staff", content=f'{{"metadata": {raw}}}'),
        client.patch(f"{PERSONS}/whole", content=f'{{"metadata": {raw}}}'),
        client.post("/v1/collections/staff/search", content=f'{{"vectors": [[1]], "where": {raw}}}'),
        client.post(f"{PERSONS}?metadata={asked}", content=picture, headers={"content-type": "image/jpeg"}),
        client.get(f"{PERSONS}?where={asked}"),
    ]
    for answer in answers:
        (fault,) = answer.json()["detail"]
        assert answer.status_code == 422 and fault["loc"][0] in ("body", "query") and "64 bits" in fault["msg"]
        assert fault["loc"][2:] == ["a"]
    vector = [0.0] * 511 + [1.0]
    rows = [f'{{"metadata": {raw}, "vectors": [{vector}]}}', f'{{"metadata": {{"a": 1e30}}, "vectors": [{vector}]}}']
    told = client.post("/v1/collections/staff/bulk", content="\n".join(rows)).text.splitlines()
    assert "metadata.a" in json.loads(told[0])["error"]["detail"]
    assert [json.loads(line).get("status") for line in told] == ["failed", "enrolled", None]
    assert client.get(f"{PERSONS}/whole").json()["metadata"] == {}


def test_a_hostile_object_is_left_after_what_may_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    monkeypatch.setattr(metadata, "_unsaid", lambda value, _: looked.append(value) or "")
    for hostile in ({"a": [0] * 10**6}, {str(i): i for i in range(10**6)}, {"a": [[0] * 10 for _ in range(10**5)]}):
        with pytest.raises(ValueError, match="65536 bytes"):
            metadata._object(hostile, type("Info", (), {"context": None})())
    assert len(looked) < 70_000


def test_a_literal_is_looked_for_only_where_a_number_may_have_been_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a second look at the whole body, pictures and all."""
    monkeypatch.setattr(metadata, "_LITERAL", None)
    info = type("Info", (), {"context": {"written": b"{}"}})()
    usual = {"a": 1, "b": 2**63, "c": 1.5, "d": 9e18, "e": "1" * 40, "f": [True, None, -1e17]}
    assert metadata._object(usual, info) is usual
    with pytest.raises(AttributeError):
        metadata._object({"a": 1e30}, info)
