"""A picture's file as the body, the fields in the query."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import cv2
import msgpack
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import Client, ConstantDetector, b64, constant_client, extract
from tests.wire import CROP, PHOTO, PROBLEM, TEXT, Message, called, constant_app, jpeg, opened

DET, REC = "constant_detector", "constant_embedder"
JPEG = [("content-type", "image/jpeg")]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with constant_client(MAX_IMAGE_BYTES="300000", MAX_IMAGE_PIXELS="1000000", MAX_BODY_BYTES="600000") as client:
        yield client


def send(
    client: Client, data: bytes, query: str = "", path: str = "/extract", kind: str = "image/jpeg", **headers: str
) -> Any:
    return client.post(f"{path}?{query}", content=data, headers={"content-type": kind, **headers})


def faults(answer: Any) -> list[dict[str, Any]]:
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM), answer.text
    assert len(answer.content) < 2000
    return list(answer.json()["detail"])


FIELDS = {
    "threshold": 0.8,
    "limit_faces": 1,
    "min_face_size": 50,
    "max_size": [320, 320],
    "return_face_data": True,
    "return_landmarks": True,
    "extract_embedding": False,
    "extract_ga": True,
    "detect_masks": True,
    "verbose_timings": True,
    "api_ver": "2",
    "det_name": DET,
    "rec_name": REC,
}


def text_of(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value).lower()


def steady(answer: Any) -> Any:
    """An answer without what the clock put there."""
    if isinstance(answer, dict):
        return {key: None if key.endswith("_ms") else steady(value) for key, value in answer.items()}
    return [steady(item) for item in answer] if isinstance(answer, list) else answer


@pytest.mark.parametrize("fields", [{}, FIELDS, *({name: value} for name, value in FIELDS.items()), {"api_ver": 1}])
@pytest.mark.parametrize("compat", ["", "0.7", "0.9"])
def test_the_answer_is_that_of_one_image_in_json(fields: dict[str, Any], compat: str) -> None:
    query = "&".join(f"{name}={text_of(value)}" for name, value in fields.items())
    with constant_client(COMPAT_API=compat) as client:
        bare = send(client, PHOTO, query)
        assert bare.status_code == 200, bare.text
        assert steady(bare.json()) == steady(extract(client, PHOTO, **fields))
        assert list(bare.json()) == list(extract(client, PHOTO, **fields))


def test_a_crop_too_and_msgpack_by_field_and_by_header(client: Client) -> None:
    assert send(client, CROP, "embed_only=true").json()["data"][0]["faces"][0]["size"] == 112
    for answer in (send(client, PHOTO, "msgpack=true"), send(client, PHOTO, accept="application/x-msgpack")):
        assert answer.headers["content-type"] == "application/x-msgpack"
        assert len(msgpack.unpackb(answer.content)["data"][0]["faces"]) == 2


@pytest.mark.parametrize(
    "kind", ["image/jpeg", "image/png", "IMAGE/X-Whatever", "image/*", "image/jpeg; q=1", "application/octet-stream"]
)
def test_the_bytes_say_what_the_picture_is_and_not_the_header(client: Client, kind: str) -> None:
    for path in ("/extract", "/draw_detections"):
        assert send(client, PHOTO, path=path, kind=kind).status_code == 200


def test_every_format_that_is_read_is_read_here(client: Client) -> None:
    for form in ("PNG", "WEBP", "BMP", "GIF", "TIFF"):
        file = io.BytesIO()
        PIL.Image.new("RGB", (64, 48)).save(file, form)
        assert send(client, file.getvalue(), kind=f"image/{form.lower()}").json()["data"][0]["status"] == "ok"


@pytest.mark.parametrize("space", ["", " ", "\r\n\t "])
@pytest.mark.parametrize("path", ["/extract", "/draw_detections"])
def test_octets_may_be_json_too(client: Client, path: str, space: str) -> None:
    body = (space + json.dumps({"images": {"data": [b64(PHOTO)]}})).encode()
    octets = send(client, body, "threshold=rubbish", path, "application/octet-stream")
    plain = send(client, body, "", path, "application/json")
    assert octets.status_code == 200
    if path == "/extract":
        assert steady(octets.json()) == steady(plain.json()) and octets.json()["data"][0]["faces"]
    else:
        assert octets.content == plain.content


OTHER_TYPES = [
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "binary/octet-stream",
    "application/x-jpeg",
    "imagejpeg",
    "application/json",
    "application/octet",
]


@pytest.mark.parametrize("kind", OTHER_TYPES)
@pytest.mark.parametrize("path", ["/extract", "/draw_detections", "/v1/detect", "/v1/embeddings"])
def test_a_picture_is_known_whatever_is_said_of_it(client: Client, path: str, kind: str) -> None:
    assert send(client, PHOTO, path=path, kind=kind).status_code == 200
    (fault,) = faults(send(client, PHOTO, "det_name=none_such" if path[1] != "v" else "limit=-1", path, kind))
    assert fault["loc"][0] == "query"
    body = b'{"images": {}}'
    if path == "/extract":  # the query is a picture's only
        assert send(client, body, "threshold=rubbish", kind=kind).json()["data"] == []


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "ICO", "PPM"])
def test_so_is_one_of_every_format_that_is_read(client: Client, form: str) -> None:
    file = io.BytesIO()
    PIL.Image.new("RGB", (64, 48), (9, 99, 199)).save(file, form)
    for kind in ("application/x-www-form-urlencoded", ""):
        (image,) = send(client, file.getvalue(), kind=kind).json()["data"]
        assert image["status"] == "ok", image


def test_no_type_at_all(client: Client) -> None:
    request = client.build_request("POST", "/extract", content=PHOTO)
    assert "content-type" not in request.headers
    assert len(client.send(request).json()["data"][0]["faces"]) == 2


@pytest.mark.parametrize("kind", OTHER_TYPES)
@pytest.mark.parametrize("body", [b"\x80\x81\x82\x83", TEXT, b"images=a&threshold=0.5", b"%FF%D8%FF%E0%00%10JFIF", b""])
def test_what_is_neither_is_told_how_pictures_are_sent(client: Client, kind: str, body: bytes) -> None:
    if kind == "binary/octet-stream":  # as application/octet-stream: whatever it is, it is a file
        assert send(client, body, kind=kind).json()["data"][0]["error"]["type"] == "urn:visage:image-undecodable"
        return
    (fault,) = faults(send(client, body, kind=kind))
    assert fault["loc"] == ["body"]
    assert "--data-binary @a.jpg -H 'Content-Type: image/jpeg'" in fault["msg"]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "image/jpeg", "application/octet-stream", ""])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("path", ["/extract", "/draw_detections", "/v1/detect"])
def test_a_picture_that_curl_took_line_breaks_out_of_names_the_cure(
    client: Client, path: str, form: str, kind: str
) -> None:
    file = io.BytesIO()
    PIL.Image.effect_noise((64, 48), 90).convert("RGB").save(file, form)
    (fault,) = faults(send(client, file.getvalue().translate(None, b"\0\r\n"), path=path, kind=kind))
    assert (fault["type"], fault["loc"]) == ("picture_stripped", ["body"])
    assert "--data-binary" in fault["msg"]


@pytest.mark.parametrize("path", ["/extract", "/draw_detections", "/v1/detect"])
def test_json_that_says_it_is_a_picture_is_told_what_to_say(client: Client, path: str) -> None:
    for body in (b'{"images": {}}', b'\xef\xbb\xbf {"images": []}'):
        (fault,) = faults(send(client, body, path=path))
        assert fault["loc"] == ["header", "content-type"] and "application/json" in fault["msg"]


def test_where_no_picture_is_taken_that_is_what_is_said(client: Client) -> None:
    for path in ("/v1/compare", "/v1/collections"):
        for kind in ("image/jpeg", "application/x-www-form-urlencoded"):
            (fault,) = faults(send(client, PHOTO, path=path, kind=kind))
            assert "it is a picture's file" in fault["msg"] and "base64" in fault["msg"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "image-undecodable"),
        (TEXT, "image-undecodable"),
        (PHOTO[:200], "image-undecodable"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(40), "unsupported-format"),
        (PHOTO + bytes(300_000), "image-too-large"),
        (jpeg(1001, 1000), "image-too-large"),
    ],
    ids=["empty", "text", "header", "jxl", "bytes", "pixels"],
)
def test_a_bad_picture_fails_as_in_json(client: Client, data: bytes, kind: str) -> None:
    answer = send(client, data)
    assert answer.status_code == 200
    (image,) = answer.json()["data"]
    assert (image["status"], image["faces"], image["error"]["type"]) == ("failed", [], f"urn:visage:{kind}")
    bare = send(client, data, path="/draw_detections")
    plain = client.post("/draw_detections", json={"images": {"data": [b64(data)]}})
    assert (bare.status_code, bare.json()["type"]) == (plain.status_code, plain.json()["type"])
    assert bare.status_code in {413, 415, 422}


def test_a_picture_that_is_cut_short_is_used_as_far_as_it_goes(client: Client) -> None:
    (image,) = send(client, PHOTO[:-2000]).json()["data"]
    assert len(image["faces"]) == 2 and "damaged" in image["warnings"][0]


def test_a_body_over_the_limit_is_refused_told_beforehand_or_not(client: Client) -> None:
    for path in ("/extract", "/draw_detections"):
        told = send(client, bytes(600_001), path=path)
        parts = client.post(path, content=iter([bytes(100_000)] * 7), headers={"content-type": "image/jpeg"})
        for answer in (told, parts):
            assert (answer.status_code, answer.json()["type"]) == (413, "urn:visage:request-too-large")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("threshold=much", "threshold"),
        ("threshold=nan", "threshold"),
        ("threshold=0", "threshold"),
        ("threshold=0.5&threshold=2", "threshold"),
        ("max_size=320", "max_size"),
        ("max_size=a,b", "max_size"),
        ("max_size=0,0", "max_size"),
        ("max_size=1&max_size=2&max_size=3", "max_size"),
        ("max_size=320&max_size=b", "max_size"),
        ("limit_faces=-1", "limit_faces"),
        ("limit_faces=1.5", "limit_faces"),
        ("limit_faces=" + "9" * 400, "limit_faces"),
        ("limit_faces=%00", "limit_faces"),
        ("return_landmarks=perhaps", "return_landmarks"),
        ("return_landmarks=%ff%fe", "return_landmarks"),
        ("img_req_headers={}", "img_req_headers"),
        ("det_name=none_such", "det_name"),
        ("rec_name=none_such", "rec_name"),
    ],
)
def test_wrong_fields_are_refused_with_the_place(client: Client, query: str, name: str) -> None:
    found = faults(send(client, PHOTO, query))
    assert {tuple(fault["loc"][:2]) for fault in found} == {("query", name)}
    assert list(found[0]) == ["loc", "msg", "type", "input"]


@pytest.mark.parametrize("size", ["320,240", "320&max_size=240", "1,1&max_size=320,240", "1&max_size=320,240"])
def test_a_size_may_come_one_number_at_a_time(client: Client, size: str) -> None:
    assert "max_size" in send(client, PHOTO, f"max_size={size}").json()["data"][0]["warnings"][0]


def test_on_the_drawing_route_too_and_all_at_once(client: Client) -> None:
    found = faults(send(client, PHOTO, "threshold=2&draw_scores=perhaps", "/draw_detections"))
    assert [fault["loc"] for fault in found] == [["query", "threshold"], ["query", "draw_scores"]]
    assert faults(send(client, PHOTO, "det_name=none_such", "/draw_detections"))[0]["loc"] == ["query", "det_name"]


@pytest.mark.parametrize("version", ["0.7", "0.9"])
def test_under_compat_a_refusal_has_fastapis_shape_only(version: str) -> None:
    with constant_client(COMPAT_API=version) as client:
        answer = send(client, PHOTO, "threshold=much")
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/json")
        assert list(answer.json()) == ["detail"] and answer.json()["detail"][0]["loc"] == ["query", "threshold"]
        assert send(client, PHOTO, path="/draw_detections").status_code == 200


@pytest.mark.parametrize(
    "query", ["", "&&&", "=", "%", "%zz=%", "a", "use_rotation=1", "images=x", "threshold=", "threshold=null", "ä=ö"]
)
def test_unknown_fields_are_ignored_and_empty_ones_are_the_default(client: Client, query: str) -> None:
    assert len(send(client, PHOTO, query).json()["data"][0]["faces"]) == 2


def test_a_query_without_end_is_refused(client: Client) -> None:
    for query in ("a=&" * 3000, "x" * 9000):
        assert faults(send(client, PHOTO, query))[0]["loc"] == ["query"]
    assert send(client, PHOTO, "a=&" * 2000).status_code == 200


def sending(*parts: bytes) -> Callable[[], Awaitable[Message]]:
    """A server's `receive`: the parts, then nothing more."""
    left = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    left.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


async def statuses(queries: Sequence[bytes]) -> list[int]:
    async with opened(constant_app(LOG_LEVEL="ERROR")) as app:
        sent = [await called(app, "/extract", sending(PHOTO), JPEG, query=query) for query in queries]
    return [message["status"] for messages in sent for message in messages if "status" in message]


names = st.sampled_from([b"threshold", b"max_size", b"limit_faces", b"msgpack", b"api_ver", b"det_name", b"x"])
queries = st.lists(st.tuples(names, st.binary(max_size=20)).map(b"=".join), max_size=3).map(b"&".join)


@given(st.lists(queries, min_size=20, max_size=40))
@settings(deadline=None, max_examples=10)
def test_whatever_a_query_holds_is_used_or_refused(several: list[bytes]) -> None:
    answers = asyncio.run(statuses(several))
    assert len(answers) == len(several) and set(answers) <= {200, 422}


@pytest.mark.parametrize("step", [997, 10_000, 10**6])
def test_chunks_of_any_size_are_one_picture(step: int) -> None:
    async def go() -> bytes:
        parts = [PHOTO[i : i + step] for i in range(0, len(PHOTO), step)]
        async with opened(constant_app()) as app:
            sent = await called(app, "/extract", sending(*parts), JPEG)
        return b"".join(message.get("body", b"") for message in sent)

    assert asyncio.run(go()).count(b'"bbox"') == 2


def test_drawn_as_in_json_with_the_fields_of_the_query(client: Client) -> None:
    plain = client.post("/draw_detections", json={"images": {"data": [b64(PHOTO)]}, "limit_faces": 1})
    bare = send(client, PHOTO, "limit_faces=1", "/draw_detections")
    assert (bare.status_code, bare.content) == (200, plain.content)
    png = send(client, PHOTO, path="/draw_detections", accept="image/png")
    picture = cv2.imdecode(np.frombuffer(png.content, np.uint8), cv2.IMREAD_COLOR)
    assert tuple(picture[int(ConstantDetector.boxes[0][3]), 200]) == (0, 255, 0)


def test_the_same_vector_as_by_json(real: Client, hopper: bytes) -> None:
    bare = send(real, hopper).json()["data"][0]["faces"]
    plain = extract(real, hopper)["data"][0]["faces"]
    assert bare == plain
