"""/v1/detect, /v1/embeddings, /v1/compare."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest

from tests.galleries import gallery_client
from tests.support import Client, ConstantDetector, ConstantEmbedder, b64
from tests.wire import CROP, PHOTO, TEXT
from visage.faces import Detections, Embedding, Floats, ImageBatch, Pixels

PACKED = "application/x-msgpack"


class CountingEmbedder(ConstantEmbedder):
    """The mean colours of a crop, so that pictures differ; counts what it embeds."""

    def __init__(self) -> None:
        self.crops = 0

    def predict(self, crops: Pixels, /) -> list[Embedding]:
        self.crops += len(crops)
        raw = crops.reshape(len(crops), -1, 3).mean(axis=1).astype(np.float32) + 1
        return [Embedding(v / np.linalg.norm(v), float(np.linalg.norm(v))) for v in raw]


class Finds(ConstantDetector):
    """The two faces, but none where the first pixel's blue is 5, and one where it is 8."""

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        found = super().detect(images, thresholds)
        blue = images.pixels[:, 0, 0, 0].tolist()
        return [one[: {5: 0, 8: 1}.get(b, 2)] for one, b in zip(found, blue, strict=True)]


def plain(blue: int, green: int = 0, red: int = 0) -> bytes:
    """A picture of one colour, PNG."""
    return bytes(cv2.imencode(".png", np.full((480, 640, 3), (blue, green, red), np.uint8))[1])


NOBODY, ONE, TWO = plain(5), plain(8), plain(200)


@pytest.fixture
def embedder() -> CountingEmbedder:
    return CountingEmbedder()


@pytest.fixture
def client(tmp_path: Path, embedder: CountingEmbedder) -> Iterator[Client]:
    runtime = {"embedder": embedder, "detector": Finds()}
    with gallery_client(tmp_path / "data", runtime=runtime, SAME_THRESHOLD="0.4") as client:
        yield client


def post(client: Client, path: str, status: int = 200, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_faces_come_with_their_quality_largest_first(client: Client) -> None:
    answer = post(client, "/v1/detect", images=[b64(PHOTO), b64(TEXT)])
    first, second = answer["images"]
    assert [face["size"] for face in first["faces"]] == pytest.approx([100.7, 30])
    assert first["status"] == "ok" and (first["width"], first["height"]) == (640, 480)
    face = first["faces"][1]
    assert face["box"] == [300, 120, 330, 150] and len(face["landmarks"]) == 5
    assert set(face) == {"box", "score", "landmarks", "size", "quality"}
    assert face["quality"]["verdict"] == "poor" and "size 30 is below 40" in face["quality"]["reasons"]
    assert {"kind": "size", "value": 30, "limit": 40} in face["quality"]["causes"]
    assert len(face["quality"]["causes"]) == len(face["quality"]["reasons"])
    assert {"score", "size", "sharpness", "yaw", "pitch", "roll"} < set(face["quality"])
    assert second["status"] == "failed" and second["error"]["type"] == "urn:visage:image-undecodable"
    assert answer["models"] == {"det": "constant_detector@dddddddddddd"} and answer["took_ms"] > 0


def test_what_is_not_asked_for_is_not_embedded(client: Client, embedder: CountingEmbedder) -> None:
    post(client, "/v1/detect", images=[b64(PHOTO)])
    assert embedder.crops == 0
    post(client, "/v1/embeddings", images=[b64(PHOTO)], limit=1)
    assert embedder.crops == 1


def test_more_is_told_where_it_is_asked_for(client: Client) -> None:
    asked = post(client, "/v1/detect", images=[b64(PHOTO)], attributes=True, crops=True, landmarks=False, limit=1)
    [face] = asked["images"][0]["faces"]
    assert (face["gender"], face["age"], face["mask"]) == (1, 31, False) and "landmarks" not in face
    crop = cv2.imdecode(np.frombuffer(base64.b64decode(face["crop"]), np.uint8), cv2.IMREAD_COLOR)
    assert crop.shape == (112, 112, 3)
    assert set(asked["models"]) == {"det", "ga", "mask"} or set(asked["models"]) == {"det"}


def test_vectors_have_unit_length_in_every_form(client: Client) -> None:
    numbers = post(client, "/v1/embeddings", images=[b64(PHOTO)])["images"][0]["faces"][0]
    text = post(client, "/v1/embeddings", images=[b64(PHOTO)], vectors="base64")["images"][0]["faces"][0]
    packed = client.post(
        "/v1/embeddings",
        content=msgpack.packb({"images": [PHOTO]}),
        headers={"Content-Type": PACKED, "Accept": PACKED},
    )
    assert packed.headers["content-type"] == PACKED
    face = msgpack.unpackb(packed.content)["images"][0]["faces"][0]
    assert np.linalg.norm(numbers["embedding"]) == pytest.approx(1) and numbers["norm"] > 1
    assert isinstance(face["embedding"], bytes)
    for written in (base64.b64decode(text["embedding"]), face["embedding"]):
        np.testing.assert_array_equal(np.frombuffer(written, "<f4"), np.float32(numbers["embedding"]))


def test_a_picture_is_the_body_with_the_fields_in_the_query(client: Client) -> None:
    headers = {"Content-Type": "image/jpeg"}
    answer = client.post("/v1/embeddings?limit=1&landmarks=false", content=PHOTO, headers=headers)
    [face] = answer.json()["images"][0]["faces"]
    assert "landmarks" not in face and "embedding" in face
    assert client.post("/v1/detect?limit=x", content=PHOTO, headers=headers).status_code == 422


def test_a_picture_may_be_a_path_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PHOTO)
    with gallery_client(tmp_path / "data", ROOT_IMAGES_DIR=str(tmp_path)) as client:
        found = post(client, "/v1/detect", images=[{"url": "a.jpg"}, {"url": "../b.jpg"}])["images"]
    assert found[0]["status"] == "ok" and found[1]["error"]["type"] == "urn:visage:path-forbidden"


def test_too_many_pictures_are_refused(tmp_path: Path) -> None:
    with gallery_client(tmp_path / "data", MAX_IMAGES="1") as client:
        assert post(client, "/v1/detect", 413, images=[b64(CROP)] * 2)["type"] == "urn:visage:request-too-large"


def test_two_pictures_are_compared_by_their_largest_faces(client: Client, embedder: CountingEmbedder) -> None:
    answer = post(client, "/v1/compare", a={"image": b64(TWO)}, b={"image": b64(ONE)})
    assert answer["a"]["why"] == "the largest of 2 faces" and answer["a"]["faces"] == 2
    assert answer["b"]["why"] == "the only face" and answer["b"]["faces"] == 1
    assert answer["a"]["box"] == [100, 100, 200.7, 230] and answer["a"]["index"] == 0
    assert (answer["threshold"], answer["threshold_from"]) == (0.4, "settings")
    assert answer["similarity"] == pytest.approx(
        float(np.dot([201, 1, 1], [9, 1, 1]) / np.linalg.norm([201, 1, 1]) / np.linalg.norm([9, 1, 1])), abs=1e-3
    )
    assert answer["same"] is True
    assert embedder.crops == 2  # one of each, of three faces


def test_vectors_are_compared_without_any_network(client: Client, embedder: CountingEmbedder) -> None:
    answer = post(client, "/v1/compare", a={"vector": [3, 4]}, b={"vector": [4, 3]}, threshold=0.97)
    assert answer["similarity"] == pytest.approx(0.96) and answer["same"] is False
    assert answer["threshold_from"] == "request" and answer["a"] == {"kind": "vector"}
    assert embedder.crops == 0 and answer["models"] == {}
    mismatch = post(client, "/v1/compare", 409, a={"vector": [1, 0]}, b={"vector": [1, 0, 0]})
    assert mismatch["type"] == "urn:visage:embedding-mismatch"


def test_no_face_names_the_side(client: Client) -> None:
    problem = post(client, "/v1/compare", 422, a={"image": b64(ONE)}, b={"image": b64(NOBODY)})
    assert problem["type"] == "urn:visage:no-face" and problem["side"] == "b" and "Image b" in problem["detail"]
    broken = post(client, "/v1/compare", 422, a={"image": b64(TEXT)}, b={"image": b64(ONE)})
    assert broken["type"] == "urn:visage:image-undecodable" and broken["detail"].startswith("Image a: ")


@pytest.mark.parametrize("side", [{}, {"image": "x", "vector": [1]}])
def test_a_side_is_one_of_the_two(client: Client, side: dict[str, Any]) -> None:
    problem = post(client, "/v1/compare", 422, a=side, b={"vector": [1]})
    assert problem["type"] == "urn:visage:validation"


def test_without_a_threshold_the_caller_must_say_one(tmp_path: Path) -> None:
    with gallery_client(tmp_path / "data") as client:
        problem = post(client, "/v1/compare", 422, a={"vector": [1, 0]}, b={"vector": [1, 0]})
        assert problem["type"] == "urn:visage:threshold-unknown" and "SAME_THRESHOLD" in problem["detail"]
        assert post(client, "/v1/compare", a={"vector": [1, 0]}, b={"vector": [1, 0]}, threshold=0.3)["same"] is True


def test_without_a_recogniser_there_are_no_vectors(tmp_path: Path) -> None:
    with gallery_client(tmp_path / "data", runtime={"recognition": False}) as client:
        assert post(client, "/v1/detect", images=[b64(PHOTO)])["images"][0]["status"] == "ok"
        for path, body in (
            ("/v1/embeddings", {"images": [b64(PHOTO)]}),
            ("/v1/collections", {"name": "staff"}),
        ):
            assert "REC_NAME" in post(client, path, 501, **body)["detail"]


def test_problems_are_whole_under_compat_api(tmp_path: Path) -> None:
    with gallery_client(tmp_path / "data", COMPAT_API="0.9") as client:
        assert client.get("/v1/collections/none").json()["type"] == "urn:visage:collection-missing"
        assert set(client.post("/extract", json={}).json()) == {"detail"}
