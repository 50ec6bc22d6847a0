"""The requests of the reference's own clients (demo_client.py, ifr_clients), sent as they send them."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pydantic
import pytest
import requests

from tests.support import Client, Server, b64, constant_client, served
from tests.wire import CROP, PHOTO, TEXT


@pytest.fixture(scope="module")
def server(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    images = folder / "images" / "test_images"
    images.mkdir(parents=True)
    (images / "Stallone.jpg").write_bytes(PHOTO)
    with served(folder, MODELS_DIR=str(models_dir), ROOT_IMAGES_DIR=str(folder / "images")) as server:
        yield server


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


class _Answer(pydantic.BaseModel):
    """The clients' own model ignores what it does not know and wants every field, be it null."""

    model_config = pydantic.ConfigDict(extra="ignore")


class Took(_Answer):
    total_ms: float | None


class FaceAnswer(_Answer):
    num_det: int | None
    prob: float | None
    size: int | None
    bbox: list[int] | None
    landmarks: list[list[Any]] | None
    norm: float | None
    vec: list[Any] | None
    facedata: str | None


class ImageAnswer(_Answer):
    status: str
    took_ms: float | None
    faces: list[FaceAnswer] | None


class RecognitionAnswer(_Answer):
    took: Took
    data: list[ImageAnswer]


def request_of(images: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body that `IFRClient.extract` of 0.9.5 makes."""
    return {
        "images": images,
        "threshold": 0.6,
        "extract_ga": False,
        "extract_embedding": True,
        "return_face_data": False,
        "return_landmarks": False,
        "embed_only": False,
        "limit_faces": 0,
        "msgpack": True,
    } | fields


def packed(session: requests.Session, server: Server, body: dict[str, Any]) -> Any:
    answer = session.post(
        f"{server.url}/extract",
        data=msgpack.dumps(body),
        timeout=120,
        headers={"content-type": "application/msgpack", "accept": "application/x-msgpack"},
    )
    assert answer.headers["content-type"] == "application/x-msgpack"
    return msgpack.loads(answer.content)


def plain(session: requests.Session, server: Server, body: dict[str, Any]) -> Any:
    answer = session.post(f"{server.url}/extract", json=body, timeout=120)
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_msgpack_with_raw_bytes(session: requests.Session, server: Server, hopper: bytes) -> None:
    content = packed(session, server, request_of({"data": [hopper, TEXT, hopper]}))
    assert [len(image["faces"]) for image in content["data"]] == [1, 0, 1]
    face = content["data"][0]["faces"][0]
    assert np.linalg.norm(face["vec"]) == pytest.approx(1, abs=1e-5)


def test_json_with_base64_says_the_same(session: requests.Session, server: Server, hopper: bytes) -> None:
    one = plain(session, server, request_of({"data": [b64(hopper)]}, msgpack=False))["data"][0]["faces"][0]
    other = packed(session, server, request_of({"data": [hopper]}))["data"][0]["faces"][0]
    assert one["bbox"] == other["bbox"] and list(one) == list(other)
    assert np.dot(one["vec"], other["vec"]) > 0.99999


def test_the_clients_own_model_takes_the_answer(session: requests.Session, server: Server, group: bytes) -> None:
    everything = {"return_face_data": True, "return_landmarks": True}
    for content in (
        plain(session, server, request_of({"data": [b64(group), b64(TEXT)]}, msgpack=False, **everything)),
        packed(session, server, request_of({"data": [group, TEXT]}, **everything)),
    ):
        answer = RecognitionAnswer.model_validate(content)
        assert [image.status for image in answer.data] == ["ok", "failed"]
        faces = answer.data[0].faces or []
        assert len(faces) >= 20
        assert all(base64.b64decode(face.facedata or "").startswith(b"\xff\xd8") for face in faces)


def test_paths_below_the_picture_folder(session: requests.Session, server: Server) -> None:
    """What the demo sends where it is given no folder."""
    body = request_of({"urls": ["test_images/Stallone.jpg"]})
    body = {key: value for key, value in body.items() if key != "return_landmarks"} | {"api_ver": "2"}
    answer = session.post(f"{server.url}/extract", json=body, timeout=120)
    assert answer.headers["content-type"] == "application/x-msgpack"
    (image,) = msgpack.loads(answer.content)["data"]
    assert image["status"] == "ok"


def test_crops_only(session: requests.Session, server: Server) -> None:
    content = packed(session, server, request_of({"data": [CROP, CROP]}, embed_only=True))
    assert content["status"] == "ok"
    assert [(i["status"], len(i["faces"][0]["vec"])) for i in content["data"]] == [("ok", 128)] * 2


def test_many_images_with_a_limit(session: requests.Session, server: Server, group: bytes) -> None:
    content = packed(session, server, request_of({"data": [group] * 3}, limit_faces=2, extract_embedding=False))
    assert [len(image["faces"]) for image in content["data"]] == [2, 2, 2]
    for image in content["data"]:
        assert "vec" not in image["faces"][0]
        boxes = [face["bbox"] for face in image["faces"]]
        areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
        assert areas == sorted(areas, reverse=True)


def test_the_form_of_the_swagger_page(session: requests.Session, server: Server, hopper: bytes) -> None:
    """Every field of 0.9.5's form, as its page fills it in."""
    answer = session.post(
        f"{server.url}/multipart/draw_detections",
        files={"file": ("hopper.jpg", hopper, "image/jpeg")},
        data={
            "threshold": "0.6",
            "draw_landmarks": "true",
            "draw_scores": "true",
            "draw_sizes": "true",
            "limit_faces": "0",
            "use_rotation": "false",
        },
        timeout=60,
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")


def test_the_header_that_the_09_client_prints(session: requests.Session, server: Server) -> None:
    models = session.get(f"{server.url}/info", timeout=60).json()["models"]
    assert models["max_size"] == [640, 640]
    assert {"inference_backend", "det_name", "rec_name", "rec_batch_size", "det_batch_size"} <= set(models)


@pytest.fixture(scope="module")
def old() -> Iterator[Client]:
    with constant_client(COMPAT_API="0.7") as client:
        yield client


def test_the_07_demo(old: Client) -> None:
    """Its /info, and its request, which asks for api_ver 2 and msgpack."""
    models = old.get("/info").json()["models"]
    assert {"backend_name", "det_name", "rec_name", "rec_batch_size", "det_batch_size"} <= set(models)
    body = request_of({"data": [b64(PHOTO)]}, api_ver="2", return_face_data=True)
    content = msgpack.loads(old.post("/extract", json=body).content)
    for face in content["data"][0]["faces"]:
        name = f"{face['size']}_{face['norm']:2.0f}_{face['prob']}.jpg"  # what it saves the crop as
        assert name in ("100_6699_0.9100000262260437.jpg", "30_6699_0.699999988079071.jpg")
        assert base64.b64decode(face["facedata"]).startswith(b"\xff\xd8")


def test_a_07_client_that_reads_lists(old: Client) -> None:
    body = {"images": {"data": [b64(PHOTO)]}, "max_size": [640, 480], "use_rotation": True, "extract_ga": True}
    first, second = old.post("/extract", json=body).json()[0]
    assert (first["det"], first["gender"], first["age"], first["size"]) == (0, 1, 31, 100)
    assert second["det"] == 1
