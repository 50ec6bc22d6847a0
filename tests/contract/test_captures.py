"""Key by key what the published versions answered to the same requests (spec/captures)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from tests.support import Client, b64, constant_client
from tests.wire import CROP, PHOTO, TEXT

GOOD, BAD = b64(PHOTO), b64(TEXT)
FULL = {
    "extract_ga": True,
    "detect_masks": True,
    "return_landmarks": True,
    "return_face_data": True,
    "verbose_timings": True,
}
DETECT = {"extract_embedding": False}

# README.md of the captures: key → (images, fields).
REQUESTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({"data": [GOOD, BAD]}, {}),
    "api_ver_1": ({"data": [GOOD, BAD]}, {"api_ver": "1"}),
    "api_ver_2": ({"data": [GOOD, BAD]}, {"api_ver": "2"}),
    "full_v2": ({"data": [GOOD]}, {**FULL, "api_ver": "2"}),
    "full_v1": ({"data": [GOOD]}, {**FULL, "api_ver": "1"}),
    "detect_only_v2": ({"data": [GOOD]}, {**DETECT, "api_ver": "2"}),
    "embed_only": ({"data": [b64(CROP), BAD]}, {"embed_only": True, "api_ver": "2"}),
    "embed_only_v1": ({"data": [b64(CROP)]}, {"embed_only": True, "api_ver": "1"}),
    "limit1": ({"data": [GOOD]}, {**DETECT, "limit_faces": 1, "api_ver": "2"}),
    "no_images": ({}, {"api_ver": "2"}),
    "landmarks_no_emb": ({"data": [GOOD]}, {**DETECT, "return_landmarks": True, "api_ver": "2"}),
}
NOT_SENT_TO_09 = {"api_ver_1", "full_v1", "embed_only_v1"}  # `api_ver` 1 was ignored there and is honoured here
NO_MASKS = {"detect_masks": False}  # unknown to 0.7, whose mask_prob is the detector's
TIMES = {"total_ms", "took_ms", "read_imgs_ms", "embed_all_ms"}


def same(known: Any, got: Any, where: str = "") -> None:
    """Keys, their order, types, nulls, values; only what a clock or a JPEG encoder says may differ."""
    assert type(known) is type(got), f"{where}: {got!r} is no {type(known).__name__}"
    if isinstance(known, dict):
        assert list(known) == list(got), where
        for key in known:
            if key in TIMES:
                assert type(got[key]) is type(known[key]) and got[key] >= 0, f"{where}.{key}"
            else:
                same(known[key], got[key], f"{where}.{key}")
    elif known == ["<512 floats>"]:
        assert len(got) == 512 and all(type(x) is float for x in got), where
        assert sum(x * x for x in got) == pytest.approx(1), where
    elif isinstance(known, list):
        assert len(known) == len(got), where
        for i, (one, other) in enumerate(zip(known, got, strict=True)):
            same(one, other, f"{where}[{i}]")
    elif isinstance(known, str) and (known.endswith(" chars>") or known.startswith("Traceback")):
        assert got and "\n" not in got, where
        if known.startswith("/9j/"):
            assert got.startswith("/9j/4AAQSkZJRgABAQ"), where
    elif where.endswith((".mask_probs.mask", ".mask_probs.no_mask")):  # the tests' constants are no float32
        assert np.float32(known) == np.float32(got), where
    else:
        assert known == got, where


def asked(client: Client, key: str, **more: Any) -> Any:
    images, fields = REQUESTS[key]
    answer = client.post("/extract", json={"images": images, **fields, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def captured_09(spec: Path) -> dict[str, Any]:
    return dict(json.loads((spec / "captures" / "wire-0.9.5.json").read_text("utf-8")))


@pytest.fixture(scope="module")
def captured_07(spec: Path) -> dict[str, Any]:
    return dict(json.loads((spec / "captures" / "wire-0.7.0.json").read_text("utf-8")))


@pytest.fixture(scope="module")
def compat_09() -> Iterator[Client]:
    with constant_client(COMPAT_API="0.9") as client:
        yield client


@pytest.fixture(scope="module")
def compat_07() -> Iterator[Client]:
    with constant_client(COMPAT_API="0.7") as client:
        yield client


@pytest.fixture(scope="module")
def ours() -> Iterator[Client]:
    with constant_client() as client:
        yield client


def healed_09(known: Any) -> Any:
    """The capture of `embed_only` with a failed crop that says so outside too (fault 9)."""
    for entry in known["data"]:
        failed = entry["faces"][0]
        if failed["status"] == "failed":
            entry["status"], entry["traceback"] = "failed", failed["traceback"]
    return known


def without(found: dict[str, Any], *additions: str) -> dict[str, Any]:
    """`found` less the documented additions, each of which must be there."""
    assert set(additions) <= set(found)
    return {key: value for key, value in found.items() if key not in additions}


@pytest.mark.parametrize("key", sorted(set(REQUESTS) - NOT_SENT_TO_09))
def test_compat_09_answers_exactly_as_version_095(compat_09: Client, captured_09: dict[str, Any], key: str) -> None:
    known = captured_09[key]["body"]
    same(healed_09(known) if key == "embed_only" else known, asked(compat_09, key), key)


@pytest.mark.parametrize("key", sorted(set(REQUESTS) - {"embed_only"}))
def test_compat_07_answers_exactly_as_version_07(compat_07: Client, captured_07: dict[str, Any], key: str) -> None:
    same(captured_07[key]["body"], asked(compat_07, key, **NO_MASKS), key)


def test_compat_07_says_of_a_failed_crop_that_it_failed(compat_07: Client, captured_07: dict[str, Any]) -> None:
    known, got = captured_07["embed_only"]["body"], asked(compat_07, "embed_only")
    assert list(known) == list(got)
    same(known["data"][0], got["data"][0])
    failed = got["data"][1]
    assert list(failed) == [*known["data"][1], "status", "traceback"]
    assert failed["status"] == "failed" and failed["vec"] is None


@pytest.mark.parametrize("key", ["api_ver_1", "full_v1"])
def test_api_ver_1_is_honoured_without_any_setting(ours: Client, captured_07: dict[str, Any], key: str) -> None:
    same(captured_07[key]["body"], asked(ours, key, **NO_MASKS), key)


def test_the_services_own_default_may_be_api_ver_1(captured_07: dict[str, Any]) -> None:
    with constant_client(DEF_API_VER="1") as client:
        same(captured_07["default"]["body"], asked(client, "default"))
        assert list(asked(client, "api_ver_2")) == ["took", "data", "models"]


@pytest.mark.parametrize("key", ["default", "no_images"])
def test_ours_adds_models_and_error_only(ours: Client, captured_09: dict[str, Any], key: str) -> None:
    images, fields = REQUESTS[key]
    got = ours.post("/extract", json={"images": images, **{k: v for k, v in fields.items() if k != "api_ver"}}).json()
    assert got["models"] == {"det": "constant_detector@dddddddddddd", "rec": "constant_embedder@eeeeeeeeeeee"}
    for image in got["data"]:
        if image["status"] == "failed":
            error = image.pop("error")
            assert list(error) == ["type", "title", "detail"]
            assert error["type"] == "urn:visage:image-undecodable" and error["detail"] == image["traceback"]
    same(captured_09[key]["body"], without(got, "models"), key)


@pytest.mark.parametrize("key", ["api_ver_2", "full_v2", "detect_only_v2", "limit1", "landmarks_no_emb"])
def test_api_ver_2_adds_the_names_of_07_to_each_face(ours: Client, captured_09: dict[str, Any], key: str) -> None:
    got = asked(ours, key)
    for image in got["data"]:
        image.pop("error", None)
        for i, face in enumerate(image["faces"]):
            assert list(face)[-2:] == ["det", "mask_prob"]
            probs = face.get("mask_probs")
            assert face.pop("det") == face["num_det"] == i
            assert face.pop("mask_prob") == (probs["mask"] if probs else None)
    same(captured_09[key]["body"], without(got, "models"), key)


def test_crops_without_any_setting_have_the_shape_of_095(ours: Client, captured_09: dict[str, Any]) -> None:
    images, _ = REQUESTS["embed_only"]
    got = ours.post("/extract", json={"images": images, "embed_only": True}).json()
    got["data"][1].pop("error")
    got["data"][1]["faces"][0].pop("error")
    same(healed_09(captured_09["embed_only"]["body"]), without(got, "models"))


@pytest.mark.parametrize("version", ["0.7", "0.9"])
def test_a_missing_file_is_named_as_it_was_asked_for(version: str) -> None:
    with constant_client(COMPAT_API=version) as client:
        got = client.post("/extract", json={"images": {"urls": ["no/such.jpg"]}, "api_ver": "2"}).json()
    (image,) = got["data"]
    assert list(image) == ["status", "took_ms", "faces", "traceback"]
    assert image["traceback"] == "File: 'no/such.jpg' not found"


def test_min_face_size_keeps_each_face_with_its_image(compat_09: Client, captured_09: dict[str, Any]) -> None:
    got = compat_09.post(
        "/extract",
        json={"images": {"data": [GOOD, GOOD]}, "min_face_size": 50, "extract_embedding": False},
    ).json()
    large = captured_09["min_face_size_2imgs"]["body"]["data"][0]["faces"][0]
    assert [image["faces"] for image in got["data"]] == [[large], [large]]


@pytest.mark.parametrize("name", ["compat_07", "compat_09", "ours"])
def test_no_accept_header_means_json(request: pytest.FixtureRequest, name: str) -> None:
    client = request.getfixturevalue(name)
    sent = client.build_request("POST", "/extract", json={"images": {"data": [GOOD]}})
    del sent.headers["accept"]
    answer = client.send(sent)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


@pytest.mark.parametrize("version", ["0.7", "0.9"])
def test_info_has_the_keys_of_its_version(
    captured_07: dict[str, Any], captured_09: dict[str, Any], version: str
) -> None:
    known = (captured_07 if version == "0.7" else captured_09)["info"]["body"]
    with constant_client(COMPAT_API=version) as client:
        got = client.get("/info").json()
    assert list(got) == list(known)
    for part in ("models", "defaults"):
        assert list(got[part]) == list(known[part])
        for key, value in known[part].items():
            assert value is None or got[part][key] is None or type(got[part][key]) is type(value), key


def test_info_without_a_setting_only_adds(ours: Client, captured_09: dict[str, Any]) -> None:
    got = ours.get("/info").json()
    assert list(got) == [*captured_09["info"]["body"], "visage"]
    assert got["visage"]["loaded"] == {
        "det": "constant_detector@dddddddddddd",
        "rec": "constant_embedder@eeeeeeeeeeee",
    }


@pytest.mark.parametrize("name", ["compat_07", "compat_09", "ours"])
def test_pictures_and_health(request: pytest.FixtureRequest, name: str) -> None:
    client = request.getfixturevalue(name)
    draw = client.post("/draw_detections", json={"images": {"data": [GOOD]}})
    upload = client.post("/multipart/draw_detections", files={"file": ("a.jpg", PHOTO)}, data={"use_rotation": "1"})
    for answer in (draw, upload):
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.content[:4].hex() == "ffd8ffe0"
    bad = client.post("/multipart/draw_detections", files={"file": ("a.jpg", TEXT)})
    assert bad.status_code == 422 and isinstance(bad.json()["detail"], str)
    assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("version", "width"), [("0.7", b"\xcb"), ("0.9", b"\xca"), (None, b"\xca")], ids=["0.7", "0.9", "ours"]
)
def test_msgpack_floats_have_the_width_of_the_version(version: str | None, width: bytes) -> None:
    with constant_client(**({"COMPAT_API": version} if version else {})) as client:
        answer = client.post(
            "/extract",
            json={"images": {"data": [GOOD]}, "api_ver": "2"},
            headers={"accept": "application/x-msgpack"},
        )
    assert answer.headers["content-type"] == "application/x-msgpack"
    assert list(msgpack.unpackb(answer.content))[:2] == ["took", "data"]
    for key in (b"\xa4norm", b"\xa4prob", b"\xa8total_ms"):
        at = answer.content.index(key) + len(key)
        assert answer.content[at : at + 1] == width, key
    at = answer.content.index(b"\xa3vec") + 4
    assert answer.content[at : at + 4] == b"\xdc\x02\x00" + width  # an array of 512


def test_a_msgpack_request_carries_raw_bytes(ours: Client) -> None:
    answer = ours.post(
        "/extract",
        content=msgpack.packb({"images": {"data": [PHOTO, TEXT]}, "msgpack": True}),
        headers={"content-type": "application/msgpack"},
    )
    assert answer.headers["content-type"] == "application/x-msgpack"
    assert [(i["status"], len(i["faces"])) for i in msgpack.unpackb(answer.content)["data"]] == [
        ("ok", 2),
        ("failed", 0),
    ]


def test_msgpack_and_json_say_the_same(ours: Client) -> None:
    body = {"images": {"data": [GOOD, BAD]}, **FULL}
    packed = msgpack.unpackb(ours.post("/extract", json={**body, "msgpack": True}).content)
    plain = ours.post("/extract", json=body).json()
    for image in (*packed["data"], *plain["data"]):
        image.pop("took_ms")
        for face in image["faces"]:
            face["mask_probs"] = {key: np.float32(value) for key, value in face["mask_probs"].items()}
    assert packed["data"] == plain["data"]
