"""Forms: files and fields."""

import asyncio
import base64
import os
import quopri
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request

from tests.support import Client, b64, constant_client
from tests.wire import CROP, PHOTO, TEXT
from visage.api.bodies import read_form
from visage.api.schemas import ExtractFields


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with constant_client(MAX_IMAGES="4") as client:
        yield client


def send(client: Client, *files: bytes, name: str = "files", **fields: str) -> Any:
    parts = [(name, (f"{i}.jpg", data, "image/jpeg")) for i, data in enumerate(files)]
    return client.post("/multipart/extract", files=parts, data=fields)


def test_several_files_are_answered_in_order(client: Client) -> None:
    answer = send(client, PHOTO, TEXT, PHOTO)
    assert answer.status_code == 200
    assert [len(image["faces"]) for image in answer.json()["data"]] == [2, 0, 2]
    assert answer.json()["data"][1]["status"] == "failed"


def test_a_form_is_answered_as_json_is(client: Client) -> None:
    fields = {"return_landmarks": "true", "threshold": "0.8", "extract_ga": "1", "api_ver": "2"}
    form = send(client, PHOTO, **fields).json()
    body = {
        "images": {"data": [b64(PHOTO)]},
        "return_landmarks": True,
        "threshold": 0.8,
        "extract_ga": True,
        "api_ver": "2",
    }
    plain = client.post("/extract", json=body).json()
    assert form["data"][0]["faces"] == plain["data"][0]["faces"]
    assert list(form) == list(plain)


def test_the_name_of_a_file_field_is_free(client: Client) -> None:
    """`file` from the reference's drawing route, `image` from habit."""
    for name in ("file", "files", "image"):
        assert len(send(client, PHOTO, name=name).json()["data"]) == 1


def test_crops_lists_and_msgpack_can_be_asked_for_in_a_form(client: Client) -> None:
    assert send(client, CROP, embed_only="true").json()["data"][0]["faces"][0]["size"] == 112
    assert isinstance(send(client, PHOTO, api_ver="1").json(), list)
    assert send(client, PHOTO, msgpack="true").headers["content-type"] == "application/x-msgpack"


@pytest.mark.parametrize("size", ["320,320", "[320, 320]", "320, 320"])
def test_a_size_in_a_form_is_two_numbers(client: Client, size: str) -> None:
    assert "max_size" in send(client, PHOTO, max_size=size).json()["data"][0]["warnings"][0]


@pytest.mark.parametrize(
    "fields",
    [
        {"threshold": "much"},
        {"threshold": "nan"},
        {"max_size": "320"},
        {"max_size": "a,b"},
        {"limit_faces": "-1"},
        {"min_face_size": "9" * 400},
        {"limit_faces": "9" * 400},
        {"return_landmarks": "perhaps"},
        {"img_req_headers": "{}"},
    ],
)
def test_wrong_fields_are_refused_with_the_place(client: Client, fields: dict[str, str]) -> None:
    answer = send(client, PHOTO, **fields)
    assert answer.status_code == 422
    (field,) = fields
    assert {tuple(fault["loc"][:2]) for fault in answer.json()["detail"]} == {("body", field)}
    assert len(answer.content) < 2000


@pytest.mark.parametrize("count", [5, 6, 40])
def test_more_files_than_allowed_are_too_large(client: Client, count: int) -> None:
    assert send(client, *[PHOTO] * 4).status_code == 200
    answer = send(client, *[TEXT] * count)
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:visage:request-too-large" and "MAX_IMAGES" in answer.json()["detail"]


BOUND = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"no boundary"),
        (BOUND, b""),
        (BOUND, b"garbage"),
        (BOUND, b"--x\r\ngarbage\r\n--x--"),
        (BOUND, b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n"),
        ("application/x-www-form-urlencoded", b"files=a&threshold=0.5"),
        ("application/json", b"{}"),
        ("", b"a"),
    ],
)
@pytest.mark.parametrize("path", ["/multipart/extract", "/multipart/draw_detections"])
def test_what_is_no_form_with_a_file_is_refused(client: Client, path: str, content_type: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers={"content-type": content_type})
    assert answer.status_code == 422, answer.text
    assert isinstance(answer.json()["detail"], list)


@pytest.mark.filterwarnings("ignore:Exception ignored in.*SpooledTemporaryFile")  # Starlette leaves it to the collector
def test_a_form_that_is_cut_off_is_refused(client: Client) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\ncut off'
    answer = client.post("/multipart/extract", content=body, headers={"content-type": BOUND})
    assert answer.status_code == 422


@pytest.mark.parametrize("sizes", [(0,), (1, 0, 2), (3_000_000,), (70_000, 0, 1_500_000, 13)])
@pytest.mark.parametrize("step", [1000, 65_536, 10**8])
def test_files_of_any_size_come_whole_in_order_and_touch_no_disk(
    sizes: tuple[int, ...], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", None)
    files = [(b"\r\n--x" + os.urandom(size))[:size] for size in sizes]
    head = b'--bound\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    field = b'--bound\r\nContent-Disposition: form-data; name="threshold"\r\n\r\n0.5\r\n'
    body = b"".join(head + data + b"\r\n" for data in files) + field + b"--bound--\r\n"
    messages: list[Any] = [
        {"type": "http.request", "body": body[i : i + step], "more_body": i + step < len(body)}
        for i in range(0, len(body), step)
    ]

    async def receive() -> Any:
        return messages.pop(0)

    headers = [(b"content-type", b"Multipart/Form-Data; boundary=bound")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    fields, read = asyncio.run(read_form(request, ExtractFields, 4))
    assert read == files and fields.threshold == 0.5


def test_a_form_of_very_many_or_very_long_fields_is_refused(client: Client) -> None:
    many = {f"field{i}": "x" for i in range(500)}
    assert send(client, PHOTO, **many).status_code == 422
    assert send(client, PHOTO, threshold="1" * 2_000_000).status_code == 422


def test_a_file_name_is_nobodys_path(client: Client) -> None:
    parts = {"files": ("../../etc/passwd\x00.jpg", PHOTO, "text/plain")}
    assert len(client.post("/multipart/extract", files=parts).json()["data"][0]["faces"]) == 2


def form(*parts: tuple[str, bytes]) -> bytes:
    """Each of a head, but for the disposition's beginning, and a body."""
    disposition = "Content-Disposition: form-data; "
    whole = (f"--x\r\n{disposition}{head}\r\n\r\n".encode() + body + b"\r\n" for head, body in parts)
    return b"".join(whole) + b"--x--\r\n"


def found(client: Client, *parts: tuple[str, bytes]) -> list[int]:
    """How many faces each file has."""
    answer = client.post("/multipart/extract", content=form(*parts), headers={"content-type": BOUND})
    assert answer.status_code == 200, answer.text
    return [len(image["faces"]) for image in answer.json()["data"]]


@pytest.mark.parametrize(
    "head",
    [
        "name=\"file\"; filename*=UTF-8''a%20b.jpg",
        "name=file; FileName*=utf-8'en'%e2%82%ac.jpg",
        'name="file"; filename*0="a"; filename*1="b.jpg"',
        "name=\"file\"; filename*0*=UTF-8''a; filename*1=b.jpg",
        "filename*=UTF-8''a.jpg; name=\"file\"",
        'name="file"; filename="a.jpg"; filename*=UTF-8\'\'b.jpg',
        'name="file"\r\nContent-Type: image/jpeg',
        'name="file"\r\ncontent-type:IMAGE/PNG; q=1',
        'name="file"\r\nContent-Type: application/octet-stream',
        'name="file"\r\nContent-Type: text/plain',
        'name="file"',
    ],
)
def test_a_part_is_a_file_by_its_name_its_type_or_its_bytes(client: Client, head: str) -> None:
    assert found(client, (head, PHOTO), ('name="threshold"', b"0.5")) == [2]
    answer = client.post("/multipart/draw_detections", content=form((head, PHOTO)), headers={"content-type": BOUND})
    assert answer.status_code == 200


def test_what_a_text_says_of_a_file_makes_none_of_it(client: Client) -> None:
    parts = [('name="api_ver"\r\nContent-Type: text/plain', b"2"), ('name="note"', b"; filename*=a")]
    assert found(client, *parts, ('name="a"; filename="a"', PHOTO)) == [2]


def test_a_picture_in_a_text_part_is_known_wherever_the_body_is_cut() -> None:
    body = form(('name="file"', PHOTO), ('name="threshold"', b"0.5"), ('name="file"', b"\xff\xd8"))
    for step in (1, 7, 10**6):
        messages: list[Any] = [
            {"type": "http.request", "body": body[i : i + step], "more_body": i + step < len(body)}
            for i in range(0, len(body), step)
        ]

        async def receive(messages: list[Any] = messages) -> Any:
            return messages.pop(0)

        request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", BOUND.encode())]}, receive)
        fields, read = asyncio.run(read_form(request, ExtractFields, 4))
        assert read == [PHOTO, b"\xff\xd8"] and fields.threshold == 0.5


def test_files_without_a_name_count_as_others_do(client: Client) -> None:
    for head in ('name="f"', 'name="f"\r\nContent-Type: image/jpeg', "name=\"f\"; filename*=UTF-8''a"):
        answer = client.post("/multipart/extract", content=form(*[(head, PHOTO)] * 5), headers={"content-type": BOUND})
        assert answer.status_code == 413


LINES = base64.encodebytes(PHOTO)


@pytest.mark.parametrize(
    ("encoding", "sent"),
    [
        ("base64", LINES),
        ("BASE64", LINES.replace(b"\n", b"\r\n")),
        (" Base64 ", base64.b64encode(PHOTO)),
        ("quoted-printable", quopri.encodestring(PHOTO)),
        ("binary", PHOTO),
        ("8bit", PHOTO),
        ("7BIT", PHOTO),
        ("base64", PHOTO),
    ],
)
@pytest.mark.parametrize(
    "head", ['name="file"; filename="a.jpg"', 'name="file"\r\nContent-Type: image/jpeg', 'name="a"']
)
def test_a_transfer_encoding_is_undone(client: Client, head: str, encoding: str, sent: bytes) -> None:
    threshold = ('name="threshold"\r\nContent-Transfer-Encoding: base64', base64.b64encode(b"0.8"))
    assert found(client, (f"{head}\r\nContent-Transfer-Encoding: {encoding}", sent), threshold) == [1]


def test_an_encoding_that_is_not_known_is_named(client: Client) -> None:
    part = ('name="file"; filename="a.jpg"\r\nContent-Transfer-Encoding: x-uuencode', b"begin 644 a.jpg")
    answer = client.post("/multipart/extract", content=form(part), headers={"content-type": BOUND})
    assert answer.status_code == 422 and "x-uuencode" in answer.json()["detail"][0]["msg"]
    broken = ('name="file"; filename="a.jpg"\r\nContent-Transfer-Encoding: base64', b"A")
    assert found(client, broken, ('name="file"; filename="b.jpg"', PHOTO)) == [0, 2]


def test_base64_in_a_text_field_is_no_file(client: Client) -> None:
    """As in the reference, whose forms have files; the answer says how one is sent."""
    part = ('name="file"', base64.b64encode(PHOTO))
    answer = client.post("/multipart/extract", content=form(part), headers={"content-type": BOUND})
    assert answer.status_code == 422 and "-F files=@picture.jpg" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize("sizes", [["320", "240"], ["320,240"], ["1,1", "320,240"], ["[320", "240]"]])
def test_a_size_may_come_one_number_at_a_time(client: Client, sizes: list[str]) -> None:
    parts = [('name="max_size"', size.encode()) for size in sizes]
    body = form(*parts, ('name="file"; filename="a"', PHOTO))
    answer = client.post("/multipart/extract", content=body, headers={"content-type": BOUND})
    assert "max_size" in answer.json()["data"][0]["warnings"][0]
