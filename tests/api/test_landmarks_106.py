"""`landmarks_106` on the wire: where it was asked for, last in a face, and never in the reference's own shapes."""

from collections.abc import Iterator
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest

from tests.support import Client, ConstantDetector, ConstantLandmarks, b64, constant_client, extract
from tests.wire import CROP, PHOTO

WITH = {"landmarks": True}
DETECTION = "bbox prob num_det scale size"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with constant_client(runtime=WITH) as client:
        yield client


def expected(at: int) -> list[list[int]]:
    """The diagonal of the square around a box, cut to whole pixels toward zero."""
    left, top, right, bottom = ConstantDetector.boxes[at].astype(np.float64)
    half = max(right - left, bottom - top) * 0.75
    corner = np.array([(left + right) / 2 - half, (top + bottom) / 2 - half])
    exact = corner + ConstantLandmarks.steps.astype(np.float64) * 2 * half
    whole: list[list[int]] = np.trunc(exact).astype(int).tolist()
    return whole


def near(given: Any, at: int) -> bool:
    """Pairs of whole numbers, none more than the rounding of a place on a pixel's edge away."""
    assert len(given) == 106 and all(len(pair) == 2 and all(type(x) is int for x in pair) for pair in given)
    return bool(np.abs(np.array(given) - expected(at)).max() <= 1 and np.mean(np.array(given) == expected(at)) > 0.9)


def faces_of(client: Client, **fields: Any) -> Any:
    return extract(client, PHOTO, **fields)["data"][0]["faces"]


def test_they_stand_last_and_only_where_they_were_asked_for(client: Client) -> None:
    asked = faces_of(client, return_landmarks_106=True, extract_embedding=False)
    assert [" ".join(face) for face in asked] == [f"{DETECTION} landmarks_106"] * 2
    assert all(near(face["landmarks_106"], at) for at, face in enumerate(asked))
    for fields in ({}, {"return_landmarks_106": False}, {"return_landmarks_106": None}):
        assert not any("landmarks_106" in face for face in faces_of(client, **fields))


def test_the_five_landmarks_are_asked_for_by_themselves(client: Client) -> None:
    (both, _), (five, _) = (faces_of(client, return_landmarks=True, return_landmarks_106=x) for x in (True, False))
    assert both.pop("landmarks_106") and both == five
    assert both["landmarks"] == ConstantDetector.landmarks[0].astype(int).tolist()


def test_api_ver_2_has_them_and_the_bare_lists_of_api_ver_1_have_not(client: Client) -> None:
    assert near(faces_of(client, return_landmarks_106=True, api_ver="2")[1]["landmarks_106"], 1)
    (faces,) = extract(client, PHOTO, return_landmarks_106=True, api_ver="1")
    assert len(faces) == 2 and not any("landmarks_106" in face for face in faces)


def test_msgpack_has_the_same_numbers(client: Client) -> None:
    body = msgpack.packb({"images": {"data": [PHOTO]}, "return_landmarks_106": True, "msgpack": True})
    answer = client.post("/extract", content=body, headers={"content-type": "application/msgpack"})
    packed = msgpack.unpackb(answer.content)["data"][0]["faces"]
    assert [face["landmarks_106"] for face in packed] == [
        face["landmarks_106"] for face in faces_of(client, return_landmarks_106=True)
    ]


def test_a_form_has_the_same_field(client: Client) -> None:
    files = [("files", ("a.jpg", PHOTO, "image/jpeg"))]
    answer = client.post("/multipart/extract", files=files, data={"return_landmarks_106": "true"}).json()
    assert answer["data"][0]["faces"] == faces_of(client, return_landmarks_106=True)


def test_a_crop_has_them_in_its_own_pixels(client: Client) -> None:
    asked = {"embed_only": True, "return_landmarks_106": True}
    (face,) = extract(client, CROP, **asked)["data"][0]["faces"]
    assert list(face)[-1] == "landmarks_106" and len(face["landmarks_106"]) == 106
    assert (face["landmarks_106"][0], face["landmarks_106"][-1]) == ([-28, -28], [140, 140])
    assert "landmarks_106" not in extract(client, CROP, embed_only=True)["data"][0]["faces"][0]
    assert "landmarks_106" not in extract(client, CROP, api_ver="1", **asked)["data"][0]


def test_the_service_s_default_is_asked_for_by_nobody_and_can_be_declined() -> None:
    with constant_client(runtime=WITH, DEF_RETURN_LANDMARKS_106="true") as client:
        assert all("landmarks_106" in face for face in faces_of(client))
        assert not any("landmarks_106" in face for face in faces_of(client, return_landmarks_106=False))


def test_without_a_network_they_are_null_and_it_is_said() -> None:
    with constant_client() as client:
        (image,) = extract(client, PHOTO, return_landmarks_106=True)["data"]
        silent = extract(client, PHOTO)["data"][0]
        (crop,) = extract(client, CROP, embed_only=True, return_landmarks_106=True)["data"]
    assert [face["landmarks_106"] for face in image["faces"]] == [None, None]
    said = ["return_landmarks_106 was asked for, but no network for it is loaded (LANDMARKS_NAME)"]
    assert image["warnings"] == said
    assert (crop["faces"][0]["landmarks_106"], crop["warnings"]) == (None, said)
    assert "warnings" not in silent


@pytest.mark.parametrize("compat", ["0.7", "0.9"])
@pytest.mark.parametrize("more", [{}, {"api_ver": "1"}, {"api_ver": "2"}, {"embed_only": True}])
def test_a_strict_client_sees_nothing_of_them(compat: str, more: dict[str, Any]) -> None:
    image = CROP if more.get("embed_only") else PHOTO
    with constant_client(runtime=WITH, COMPAT_API=compat, DEF_RETURN_LANDMARKS_106="true") as client:
        body = {"images": {"data": [b64(image)]}, "return_landmarks_106": True, **more}
        asked = client.post("/extract", json=body)
        info = client.get("/info")
    assert asked.status_code == 200 and "vec" in asked.text
    assert "landmarks_106" not in asked.text and "landmarks_106" not in info.text


def test_the_api_s_document_knows_field_and_key(client: Client) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("ExtractBody", "ExtractFields"):
        assert schemas[name]["properties"]["return_landmarks_106"]["type"] == "boolean"
    for name in ("DrawBody", "DrawFields"):
        assert schemas[name]["properties"]["draw_landmarks_106"]["type"] == "boolean"
    assert "landmarks_106" in schemas["FaceAnswer"]["properties"]
    assert "landmarks_106" not in schemas["FaceAnswer"]["required"]


def drawn(client: Client, **fields: Any) -> np.ndarray:
    body = {"images": {"data": [b64(PHOTO)]}, "draw_landmarks": False, "draw_scores": False, "draw_sizes": False}
    answer = client.post("/draw_detections", json={**body, **fields}, headers={"accept": "image/png"})
    assert answer.status_code == 200, answer.text
    return np.asarray(cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR))


def test_they_are_drawn_where_they_were_asked_for(client: Client) -> None:
    plain, dotted = drawn(client), drawn(client, draw_landmarks_106=True)
    for at in (0, 1):
        for x, y in expected(at)[::15]:
            assert (dotted[y, x] > 250).all(), (x, y)
    changed = (plain != dotted).any(axis=2)
    assert changed.any() and not changed[:, 400:].any()


def test_without_a_network_or_for_a_strict_client_nothing_is_drawn() -> None:
    for how in ({}, {"runtime": WITH, "COMPAT_API": "0.9"}):
        with constant_client(**how) as client:  # type: ignore[arg-type]
            assert (drawn(client) == drawn(client, draw_landmarks_106=True)).all()
