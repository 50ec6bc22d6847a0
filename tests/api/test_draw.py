"""The routes that answer a picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support import Client, b64, constant_client
from tests.wire import PHOTO, PROBLEM, TEXT, jpeg
from visage.api import answers
from visage.errors import ImageTooLarge

GOOD = b64(PHOTO)
GREEN = (0, 255, 0)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with constant_client(MAX_IMAGE_BYTES="300000", MAX_IMAGE_PIXELS="1000000") as client:
        yield client


def drawn(client: Client, **fields: Any) -> np.ndarray:
    """The picture without losses."""
    answer = client.post(
        "/draw_detections", json={"images": {"data": [GOOD]}, **fields}, headers={"accept": "image/png"}
    )
    assert answer.status_code == 200, answer.text
    return np.asarray(cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR))


def uploaded(client: Client, data: bytes, **fields: str) -> Any:
    return client.post("/multipart/draw_detections", files={"file": ("a.jpg", data)}, data=fields)


def test_boxes_stand_where_the_faces_are(client: Client) -> None:
    picture = drawn(client)
    assert picture.shape == (480, 640, 3)
    for _, top, right, bottom in ((100, 100, 200, 230), (300, 120, 330, 150)):
        for x, y in ((right, top), (right, (top + bottom) // 2), (right, bottom)):
            assert tuple(picture[y, x]) == GREEN


def test_landmarks_scores_and_sizes_can_be_left_out(client: Client) -> None:
    everything, nothing = drawn(client), drawn(client, draw_landmarks=False, draw_scores=False, draw_sizes=False)
    assert tuple(everything[140, 130]) == (0, 0, 255)  # the first point is red
    assert np.array_equal(nothing[110:220, 105:195], cv2.imdecode(np.frombuffer(PHOTO, np.uint8), 1)[110:220, 105:195])
    for one in ("draw_landmarks", "draw_scores", "draw_sizes"):
        assert not np.array_equal(drawn(client, **{one: False}), everything)


def test_only_the_faces_asked_for_are_drawn(client: Client) -> None:
    assert tuple(drawn(client, limit_faces=1)[150, 330]) != GREEN
    assert tuple(drawn(client, min_face_size=50)[150, 330]) != GREEN
    assert tuple(drawn(client, threshold=0.8)[150, 330]) != GREEN
    assert tuple(drawn(client, threshold=0.8)[230, 200]) == GREEN


def test_faces_without_a_mask_are_red_where_masks_are_looked_for(client: Client) -> None:
    assert tuple(drawn(client, detect_masks=True)[230, 200]) == (0, 0, 255)


def test_only_the_first_image_is_drawn(client: Client) -> None:
    answer = client.post("/draw_detections", json={"images": {"data": [GOOD, b64(TEXT)]}})
    assert answer.status_code == 200


def test_form_fields_mean_what_they_mean_in_json(client: Client) -> None:
    plain = client.post("/draw_detections", json={"images": {"data": [GOOD]}, "limit_faces": 1, "draw_scores": False})
    form = uploaded(client, PHOTO, limit_faces="1", draw_scores="false", use_rotation="true", threshold="")
    assert form.status_code == 200 and form.content == plain.content


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        (TEXT, 422, "image-undecodable"),
        (b"", 422, "image-undecodable"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(40), 415, "unsupported-format"),
        (PHOTO + bytes(300_000), 413, "image-too-large"),
        (jpeg(1001, 1000), 413, "image-too-large"),
    ],
    ids=["text", "empty", "jxl", "bytes", "pixels"],
)
def test_a_bad_picture_has_a_status_of_its_own(client: Client, data: bytes, status: int, kind: str) -> None:
    plain = client.post("/draw_detections", json={"images": {"data": [b64(data)]}})
    for answer in (uploaded(client, data), plain):
        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
        problem = answer.json()
        assert list(problem) == ["type", "title", "status", "detail"]
        assert (problem["type"], problem["status"]) == (f"urn:visage:{kind}", status)


@pytest.mark.parametrize(("width", "height"), [(65_501, 2), (2, 65_501), (300_000, 3)])
def test_a_picture_that_fits_into_no_jpeg_is_told_to_be_asked_for_as_png(
    client: Client, width: int, height: int
) -> None:
    long = b64(cv2.imencode(".png", np.full((height, width, 3), 40, np.uint8))[1].tobytes())
    answer = client.post("/draw_detections", json={"images": {"data": [long]}})
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
    assert answer.json()["type"] == "urn:visage:image-too-large"
    assert f"{width}×{height}" in answer.json()["detail"] and "Accept: image/png" in answer.json()["detail"]

    picture = client.post("/draw_detections", json={"images": {"data": [long]}}, headers={"accept": "image/png"})
    assert picture.status_code == 200
    assert cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR).shape == (height, width, 3)


def test_the_longest_side_of_a_jpeg_is_drawn(client: Client) -> None:
    long = b64(cv2.imencode(".png", np.full((1, 65_500, 3), 40, np.uint8))[1].tobytes())
    answer = client.post("/draw_detections", json={"images": {"data": [long]}})

    assert answer.status_code == 200
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).shape == (1, 65_500, 3)


def test_every_picture_that_the_service_writes_knows_its_encoder_s_limits() -> None:
    with pytest.raises(ImageTooLarge, match=r"2×65501 pixels, and a JPEG is written with at most 65500 a side"):
        answers.jpeg(np.zeros((65_501, 2, 3), np.uint8), 90)
    with pytest.raises(ImageTooLarge, match=r"1000001×1 pixels, and a PNG is written with at most 1000000 a side"):
        answers.png(np.zeros((1, 1_000_001, 3), np.uint8))


def test_an_encoder_that_fails_never_answers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, np.empty(0, np.uint8)))
    for write in (
        lambda: answers.jpeg(np.zeros((2, 2, 3), np.uint8), 90),
        lambda: answers.png(np.zeros((2, 2, 3), np.uint8)),
    ):
        with pytest.raises(RuntimeError, match="OpenCV does not write"):
            write()


def test_where_the_picture_comes_from_has_its_statuses(tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(PHOTO)
    known = {
        "good.jpg": 200,
        "none.jpg": 502,
        "../x.jpg": 403,
        "http://127.0.0.1/x": 403,
        "http://nowhere.invalid/": 502,
    }
    with constant_client(ROOT_IMAGES_DIR=str(tmp_path)) as client:
        got = {url: client.post("/draw_detections", json={"images": {"urls": [url]}}).status_code for url in known}
    assert got == known


@pytest.mark.parametrize("images", [{}, {"data": []}, {"data": None, "urls": None}, {"urls": []}])
def test_one_image_is_needed(client: Client, images: dict[str, Any]) -> None:
    answer = client.post("/draw_detections", json={"images": images})
    assert answer.status_code == 422 and isinstance(answer.json()["detail"], list)


def test_a_form_needs_a_file(client: Client) -> None:
    for form in ({"data": {"file": "text"}}, {"data": {"threshold": "0.5"}}, {"json": {}}, {}):
        answer = client.post("/multipart/draw_detections", **form)
        assert answer.status_code == 422 and isinstance(answer.json()["detail"], list)


def test_under_compat_a_bad_picture_says_its_detail_only() -> None:
    with constant_client(COMPAT_API="0.9") as client:
        answer = uploaded(client, TEXT)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/json")
    assert answer.json() == {"detail": "Can't decode file, possibly not an image"}


def test_a_one_pixel_picture_can_be_drawn_on(real: Client) -> None:
    for width, height in ((1, 1), (1, 4000), (4000, 1)):
        assert uploaded(real, jpeg(width, height)).status_code == 200
