import json
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest
from fastapi.exceptions import RequestValidationError

from visage.api.encoding import JSON, MSGPACK, accepts, answer_type, is_msgpack, parse, render

JPEG, PNG = "image/jpeg", "image/png"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("  ", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("text/html", JSON),
        ("application/x-msgpack", MSGPACK),
        ("application/msgpack", MSGPACK),
        ("application/vnd.msgpack", MSGPACK),
        ("APPLICATION/X-MSGPACK", MSGPACK),
        ("application/x-msgpack; charset=binary", MSGPACK),
        ("application/x-msgpack, */*", MSGPACK),
        ("*/*, application/x-msgpack", MSGPACK),
        ("application/x-msgpack;q=0.9, application/json;q=0.5", MSGPACK),
        ("application/x-msgpack;q=0.5, application/json;q=0.9", JSON),
        ("application/x-msgpack;q=0.5, */*;q=0.1", MSGPACK),
        ("application/x-msgpack, application/json", JSON),
        ("application/x-msgpack;q=0", JSON),
        ("application/x-msgpack;q=0, application/json", JSON),
        ("text/html, application/x-msgpack;q=0.2", MSGPACK),
        ("nonsense", JSON),
        (",,,", JSON),
        (";;q=1", JSON),
        ("application/x-msgpack;q=high", MSGPACK),
        ("a/b/c, application/json", JSON),
        ("*", JSON),
    ],
)
def test_fault_06_an_answer_comes_in_the_form_that_accept_likes_best(header: str | None, expected: str) -> None:
    assert answer_type(header, wants_msgpack=False) == expected


@pytest.mark.parametrize("header", [None, "application/json", "*/*", "nonsense"])
def test_fault_06_the_msgpack_field_stands_over_accept(header: str | None) -> None:
    assert answer_type(header, wants_msgpack=True) == MSGPACK


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, JPEG),
        ("*/*", JPEG),
        ("image/*", JPEG),
        ("image/png", PNG),
        ("image/png, image/jpeg", JPEG),
        ("image/png;q=0.9, image/jpeg;q=0.1", PNG),
        ("image/webp, image/png;q=0.5, */*;q=0.1", PNG),
        ("text/html", JPEG),
        ("image/", JPEG),
    ],
)
def test_fault_06_a_picture_comes_in_the_form_that_accept_likes_best(header: str | None, expected: str) -> None:
    assert accepts(header, (JPEG, PNG), JPEG) == expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/msgpack", True),
        ("application/x-msgpack", True),
        ("application/vnd.msgpack", True),
        ("application/x-msgpack; charset=utf-8", True),
        (" Application/MsgPack ;charset=utf-8", True),
        ("application/json", False),
        ("application/msgpackage", False),
        ("", False),
    ],
)
def test_msgpack_requests_are_known_by_their_content_type_whatever_follows_it(
    content_type: str, expected: bool
) -> None:
    assert is_msgpack(content_type) is expected


def test_a_body_is_json_unless_it_says_msgpack() -> None:
    value = {"images": {"data": ["aGVsbG8="]}, "threshold": 0.5, "msgpack": None}
    for content_type in ("application/json", "application/json; charset=utf-8", "text/plain", ""):
        assert parse(json.dumps(value).encode(), content_type) == value
    assert parse(msgpack.packb(value), "application/msgpack") == value


def test_msgpack_carries_a_files_bytes_as_they_are() -> None:
    body = msgpack.packb({"images": {"data": [b"\xff\xd8\xff\x00"]}})
    assert parse(body, "application/x-msgpack") == {"images": {"data": [b"\xff\xd8\xff\x00"]}}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("value", [{"a": "Zürich 東京 😀"}, [1], {}, "x", 10, None])
def test_json_is_read_in_every_encoding_that_pythons_own_reader_tells(encoding: str, value: Any) -> None:
    body = json.dumps(value, ensure_ascii=False).encode(encoding)
    assert parse(body, JSON) == json.loads(body) == value


@pytest.mark.parametrize(
    "odd",
    [
        {1: "a"},
        {None: 1, 2.5: {True: [{b"k": 1}]}},
        {(1, 2): {3: 4}},
        msgpack.ExtType(42, b"abc"),
        msgpack.Timestamp(1, 5),
        {"deep": [{"x": msgpack.ExtType(5, bytes(100))}, {7: msgpack.Timestamp(-1)}]},
        {2**61 - 1: 1, 0: 2},
    ],
)
def test_what_nobody_reads_may_hold_what_msgpack_can_say(odd: Any) -> None:
    body = msgpack.packb({"images": {"data": [b"\xff\xd8"]}, "threshold": 0.5, "ignored": odd})
    found = parse(body, MSGPACK)
    assert list(found) == ["images", "threshold", "ignored"]
    assert found["images"] == {"data": [b"\xff\xd8"]} and found["threshold"] == 0.5


def test_other_keys_are_each_like_no_other() -> None:
    """Numbers can be chosen that all fall into one place of a dict."""
    found = parse(b"\x82\x01\x01\x01\x02", MSGPACK)
    assert len(found) == 2 and [str(key) for key in found] == ["1", "1"]


@pytest.mark.parametrize(
    ("body", "content_type", "kind"),
    [
        (b"", JSON, "json"),
        (b"\xef\xbb\xbf", JSON, "json"),
        (b"{\0\xd8", JSON, "json"),
        (b"\x81\x01", MSGPACK, "msgpack"),
        (b"\x81\xa1\xff\x01", MSGPACK, "msgpack"),
        (b"\x81\x01\x01\x01", MSGPACK, "msgpack"),
        (b"{", JSON, "json"),
        (b'{"a": NaN}', JSON, "json"),
        (b"\xff\xfe", JSON, "json"),
        (b"", MSGPACK, "msgpack"),
        (b"\x82\xa1a", MSGPACK, "msgpack"),
        (b"\xc1", MSGPACK, "msgpack"),
    ],
)
def test_a_broken_body_is_a_validation_error_that_names_the_remedy(body: bytes, content_type: str, kind: str) -> None:
    with pytest.raises(RequestValidationError) as error:
        parse(body, content_type)
    (fault,) = error.value.errors()
    assert (fault["type"], fault["loc"]) == (f"{kind}_invalid", ("body",))
    assert f"no valid {kind}" in fault["msg"]
    assert "Content-Type: application/x-msgpack" in fault["msg"]


VECTOR = np.array([0.1, -1.5, 3e-9], np.float32)


def test_float32_numbers_are_printed_as_64_bit_ones() -> None:
    answer = render({"vec": VECTOR.astype(np.float64), "norm": float(np.float32(0.1))}, JSON)
    assert answer.media_type == JSON
    assert answer.body == b'{"vec":[0.10000000149011612,-1.5,3.000000026176508e-9],"norm":0.10000000149011612}'
    assert json.loads(answer.body)["vec"] == [float(x) for x in VECTOR]


@pytest.mark.parametrize(("single", "marker", "width"), [(True, 0xCA, 4), (False, 0xCB, 8)])
def test_msgpack_carries_floats_in_single_or_double_width(single: bool, marker: int, width: int) -> None:
    value: dict[str, Any] = {"v": [0.1], "a": VECTOR.astype(np.float64), "n": {"p": 0.25}}
    answer = render(value, MSGPACK, single=single)
    assert answer.media_type == MSGPACK
    body = bytes(answer.body)
    assert body.startswith(b"\x83\xa1v\x91" + bytes([marker]))
    assert body.count(bytes([marker])) >= 5
    assert len(body) == len(b"\x83\xa1v\x91\xa1a\x93\xa1n\x81\xa1p") + 5 * (1 + width)


def test_single_is_the_width_that_clients_of_0_9_know() -> None:
    assert render([0.1], MSGPACK).body == b"\x91\xca" + np.array(0.1, ">f4").tobytes()


def test_whole_numbers_flags_and_nothing_stay_what_they_are_in_both_forms() -> None:
    value = {"i": 7, "t": True, "n": None, "s": "ä", "l": [], "d": {}}
    assert orjson.loads(render(value, JSON).body) == value
    unpacked = msgpack.unpackb(bytes(render(value, MSGPACK).body))
    assert unpacked == value
    assert type(unpacked["i"]) is int and unpacked["t"] is True
