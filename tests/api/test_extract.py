"""/extract: what it takes, what it refuses, and how."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.support import Client, ConstantDetector, b64, constant_client, extract
from tests.wire import PHOTO, PROBLEM, TEXT, jpeg
from visage.faces import Detections, Floats, ImageBatch

GOOD = b64(PHOTO)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with constant_client(MAX_IMAGES="4", MAX_IMAGE_BYTES="300000", MAX_IMAGE_PIXELS="1000000") as client:
        yield client


def post(client: Client, body: bytes | str, content_type: str = "application/json", path: str = "/extract") -> Any:
    return client.post(path, content=body, headers={"content-type": content_type})


def check_invalid(answer: Any) -> list[dict[str, Any]]:
    """A 422 that clients of FastAPI and of RFC 9457 understand."""
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM), answer.text
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail"]
    assert (problem["type"], problem["status"]) == ("urn:visage:validation", 422)
    assert problem["detail"]
    for fault in problem["detail"]:
        assert list(fault) == ["loc", "msg", "type", "input"] and fault["loc"][0] == "body"
    return list(problem["detail"])


NESTED = [100, 990, 1000, 1020, 100_000]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"{}",
        b'{"images": null}',
        b'{"images": []}',
        b'{"images": {"data": "x"}}',
        b'{"images": {"data": [1]}}',
        b'{"images": {"data": [null]}}',
        b'{"images": {"urls": [{}]}}',
        b'{"images": {}, "limit_faces": -1}',
        b'{"images": {}, "limit_faces": 1.5}',
        b'{"images": {}, "limit_faces": 99999999999999999999}',
        b'{"images": {}, "min_face_size": -1}',
        b'{"images": {}, "max_size": [640]}',
        b'{"images": {}, "max_size": [640, 0]}',
        b'{"images": {}, "max_size": "640,480"}',
        b'{"images": {}, "return_landmarks": "perhaps"}',
        b'{"images": {}, "img_req_headers": {"a": []}}',
        b'{"images": {"data": ["\\ud800"]}}',
    ],
)
def test_what_is_no_request_is_refused_with_the_place(client: Client, body: bytes) -> None:
    check_invalid(post(client, body))


@pytest.mark.parametrize("depth", NESTED)
def test_deeply_nested_json_is_refused(client: Client, depth: int) -> None:
    nest = b"[" * depth + b"]" * depth
    check_invalid(post(client, b'{"images": ' + nest + b"}"))
    check_invalid(post(client, b'{"images": {}, "threshold": ' + nest + b"}"))
    check_invalid(post(client, nest))


@pytest.mark.parametrize("depth", NESTED)
def test_deeply_nested_msgpack_is_refused(client: Client, depth: int) -> None:
    check_invalid(post(client, b"\x91" * depth + b"\x90", "application/msgpack"))
    check_invalid(post(client, b"\x81\xa6images" + b"\x91" * depth + b"\x90", "application/msgpack"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xdc",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc7\x01\x05\x00",
        b'{"images": {}}',
        msgpack.packb({1: 2}),
        msgpack.packb({"images": {"data": [PHOTO]}})[:-100],
    ],
)
def test_broken_msgpack_is_refused(client: Client, body: bytes) -> None:
    check_invalid(post(client, body, "application/msgpack"))


def test_a_list_of_many_wrong_items_is_told_once(client: Client) -> None:
    for field in ("data", "urls"):
        faults = check_invalid(post(client, json.dumps({"images": {field: [1] * 50_000}})))
        assert len(faults) <= 2
    headers = {f"x{i}": None for i in range(50_000)}
    assert len(check_invalid(post(client, json.dumps({"images": {}, "img_req_headers": headers})))) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"picture": {"data": [GOOD]}},
        {"images": [GOOD]},
        {"images": GOOD},
        {"images": {"data": GOOD}},
        {"images": {}, "threshold": GOOD},
        {"images": {}, "threshold": {"a": GOOD}},
    ],
)
def test_a_refusal_does_not_repeat_the_picture(client: Client, body: Any) -> None:
    for answer in (post(client, json.dumps(body)), post(client, msgpack.packb(body), "application/msgpack")):
        check_invalid(answer)
        assert len(answer.content) < 1500


def test_raw_bytes_are_not_repeated_either(client: Client) -> None:
    answer = post(client, msgpack.packb({"images": {"data": PHOTO}}), "application/msgpack")
    check_invalid(answer)
    assert len(answer.content) < 1500


@pytest.mark.parametrize("version", ["0.7", "0.9"])
def test_under_compat_a_refusal_has_fastapis_shape_only(version: str) -> None:
    with constant_client(COMPAT_API=version, MAX_IMAGES="1") as client:
        answer = post(client, b"{}")
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/json")
        assert list(answer.json()) == ["detail"] and answer.json()["detail"][0]["loc"] == ["body", "images"]
        large = client.post("/extract", json={"images": {"data": [GOOD] * 2}})
        assert large.status_code == 413 and list(large.json()) == ["detail"]
        assert isinstance(large.json()["detail"], str)


def test_a_form_is_told_where_to_go(client: Client) -> None:
    (fault,) = post(client, PHOTO, "multipart/form-data; boundary=x").json()["detail"]
    assert fault["loc"] == ["header", "content-type"]
    assert "/multipart/extract" in fault["msg"]


def test_unknown_fields_are_ignored_and_null_is_the_default(client: Client) -> None:
    fields = dict.fromkeys(
        (
            "threshold",
            "max_size",
            "limit_faces",
            "min_face_size",
            "embed_only",
            "return_landmarks",
            "api_ver",
            "msgpack",
        )
    )
    answer = extract(client, PHOTO, use_rotation=True, nonsense={"deep": [1]}, **fields)
    assert len(answer["data"][0]["faces"]) == 2 and "took" in answer


def test_api_ver_may_be_a_number(client: Client) -> None:
    assert isinstance(extract(client, PHOTO, api_ver=1), list)
    assert "det" in extract(client, PHOTO, api_ver=2)["data"][0]["faces"][0]


def test_more_images_than_allowed_are_too_large(client: Client) -> None:
    assert len(extract(client, *[PHOTO] * 4)["data"]) == 4
    for images in ({"data": [GOOD] * 5}, {"urls": ["a.jpg"] * 5}, {"data": [GOOD] * 2, "urls": ["a.jpg"] * 5}):
        for path in ("/extract", "/draw_detections"):
            answer = client.post(path, json={"images": images})
            assert answer.status_code == 413
            assert answer.json()["type"] == "urn:visage:request-too-large" and "MAX_IMAGES" in answer.json()["detail"]


def test_an_image_over_the_limit_fails_alone(client: Client) -> None:
    many_bytes = PHOTO + bytes(300_000)
    many_pixels = jpeg(1001, 1000)
    answer = extract(client, PHOTO, many_bytes, many_pixels, jpeg(1000, 1000))
    assert [image["status"] for image in answer["data"]] == ["ok", "failed", "failed", "ok"]
    assert [image["error"]["type"] for image in answer["data"][1:3]] == ["urn:visage:image-too-large"] * 2
    assert "1001×1000" in answer["data"][2]["traceback"]


def test_the_bytes_limit_holds_for_raw_bytes_and_files_too(tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(PHOTO + bytes(300_000))
    with constant_client(MAX_IMAGE_BYTES="300000", ROOT_IMAGES_DIR=str(tmp_path)) as client:
        packed = post(client, msgpack.packb({"images": {"data": [PHOTO + bytes(300_000)]}}), "application/msgpack")
        local = client.post("/extract", json={"images": {"urls": ["large.jpg"]}})
        for answer in (packed, local):
            (image,) = answer.json()["data"]
            assert image["error"]["type"] == "urn:visage:image-too-large"


def test_base64_comes_in_many_dresses(client: Client) -> None:
    dresses = [
        "data:image/jpeg;base64," + GOOD,
        "a,b,c," + GOOD,
        "\n".join(GOOD[i : i + 76] for i in range(0, len(GOOD), 76)),
        GOOD.replace("+", "-").replace("/", "_").rstrip("="),
    ]
    for text in dresses:
        (image,) = client.post("/extract", json={"images": {"data": [text]}}).json()["data"]
        assert len(image["faces"]) == 2


def test_order_is_by_score_or_by_size_under_a_limit() -> None:
    class Sized(ConstantDetector):
        boxes = np.array([[0, 0, 30, 30], [0, 0, 90, 90], [0, 0, 60, 60]], np.float32)
        scores = np.array([0.9, 0.8, 0.7], np.float32)
        landmarks = np.repeat(ConstantDetector.landmarks[:1], 3, axis=0)

    with constant_client(runtime={"detector": Sized()}) as client:

        def sizes(**fields: Any) -> list[tuple[int, int]]:
            faces = extract(client, PHOTO, extract_embedding=False, **fields)["data"][0]["faces"]
            return [(face["size"], face["num_det"]) for face in faces]

        assert sizes() == [(30, 0), (90, 1), (60, 2)]
        assert sizes(limit_faces=2) == [(90, 0), (60, 1)]
        assert sizes(min_face_size=60) == [(90, 1), (60, 2)]
        assert sizes(limit_faces=2, min_face_size=61) == [(90, 0)]
        assert sizes(limit_faces=99) == [(90, 0), (60, 1), (30, 2)]


def test_what_no_network_can_answer_is_null_and_said() -> None:
    with constant_client(runtime={"attributes": False}) as client:
        (image,) = extract(client, PHOTO, extract_ga=True, detect_masks=True)["data"]
    face = image["faces"][0]
    assert (face["gender"], face["age"], face["mask"], face["mask_probs"]) == (None, None, None, None)
    assert [warning.split()[0] for warning in image["warnings"]] == ["extract_ga", "detect_masks"]


def test_a_max_size_that_cannot_be_had_is_said(client: Client) -> None:
    (image,) = extract(client, PHOTO, max_size=[320, 320])["data"]
    assert "max_size" in image["warnings"][0]


def test_a_failed_network_fails_the_request_with_a_number_and_no_more() -> None:
    class Broken(ConstantDetector):
        def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
            raise RuntimeError("secret /srv/weights.onnx")

    for more, keys in (({}, ["type", "title", "status", "detail", "incident"]), ({"COMPAT_API": "0.9"}, ["detail"])):
        with capture_logs() as lines, constant_client(runtime={"detector": Broken()}, **more) as client:
            answer = client.post("/extract", json={"images": {"data": [GOOD]}})
            assert client.get("/health").status_code == 200
        (told,) = [line for line in lines if line["event"] == "unforeseen error"]
        assert (answer.status_code, list(answer.json())) == (500, keys)
        assert told["incident"] in answer.json()["detail"] and told["exc_info"]
        assert told["request_id"] == answer.headers["x-request-id"]
        assert "secret" not in answer.text


def test_many_faces_and_images_keep_their_order(real: Client, hopper: bytes, group: bytes) -> None:
    answer = extract(real, *[hopper, group, TEXT] * 4, extract_embedding=False)
    counts = [len(image["faces"]) for image in answer["data"]]
    assert counts == [1, counts[1], 0] * 4 and counts[1] >= 20


def test_the_same_picture_has_the_same_vector_by_every_way(real: Client, hopper: bytes) -> None:
    plain = extract(real, hopper)["data"][0]["faces"][0]["vec"]
    packed = post(real, msgpack.packb({"images": {"data": [hopper]}, "msgpack": True}), "application/msgpack")
    form = real.post("/multipart/extract", files={"files": ("a.jpg", hopper)})
    for other in (msgpack.unpackb(packed.content), form.json()):
        assert np.dot(plain, other["data"][0]["faces"][0]["vec"]) > 0.99999
