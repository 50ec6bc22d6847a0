"""Ninety hostile and odd files through the whole application, each beside a good neighbour."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ACCEPTED, TESTDATA, Client, b64, by_hand, client_of, models_folder, settings_of

_LIST = TESTDATA / "nasty_expected.json"
EXPECTED: list[dict[str, Any]] = json.loads(_LIST.read_text("utf-8")) if _LIST.is_file() else []

each = pytest.mark.parametrize("known", EXPECTED, ids=lambda known: Path(known["file"]).name)

# Refused for what its header claims, before any pixel is decoded.
TOO_LARGE = {"bomb_20000x20000_1bit.png", "png_header_lie_50000.png", "gif_lie_65535.gif", "bmp_huge_header.bmp"}
COUNTED_AT = 0.5  # the threshold that the faces were counted with
BASE64_TEXTS = {"base64_jpeg.txt", "base64_dataurl.txt", "base64_broken.txt"}


@pytest.fixture(scope="module")
def scrfd(testdata: Path, models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The application with the detector that the faces were counted with, and the embedded recogniser."""
    folder = models_folder(
        tmp_path_factory.mktemp("scrfd"),
        {"scrfd_500m_bnkps": by_hand("scrfd_500m_bnkps")},
        {"scrfd_500m_bnkps": testdata / "models" / "scrfd_500m_bnkps.onnx"},
    )
    (folder / "onnx" / "sface").symlink_to(models_dir / "onnx" / "sface")
    with client_of(settings_of(MODELS_DIR=str(folder), DET_NAME="scrfd_500m_bnkps", **ACCEPTED)) as client:
        yield client


def sent(known: dict[str, Any], testdata: Path) -> str:
    """The file as `images.data` carries it; a file of base64 text is sent as it is."""
    data = (testdata / known["file"]).read_bytes()
    return data.decode() if Path(known["file"]).name in BASE64_TEXTS else b64(data)


def counts(known: dict[str, Any]) -> set[int]:
    """How many faces are right: as many as there are, or as the detector found in what Pillow decoded."""
    told = {known["faces"], known.get("scrfd_500m_faces")} - {None}
    return told or {0, 1}


@each
def test_each_file_has_its_fate_and_its_neighbours_keep_their_faces(
    scrfd: Client, testdata: Path, hopper: bytes, known: dict[str, Any]
) -> None:
    good = b64(hopper)
    answer = scrfd.post(
        "/extract", json={"images": {"data": [good, sent(known, testdata), good]}, "threshold": COUNTED_AT}
    )
    assert answer.status_code == 200, answer.text
    before, image, after = answer.json()["data"]
    assert [len(before["faces"]), len(after["faces"])] == [1, 1]
    assert before["faces"][0]["vec"] is not None
    if known["expect"] == "reject":
        assert (image["status"], image["faces"]) == ("failed", [])
    elif known["expect"] in ("decode", "base64-payload"):
        assert image["status"] == "ok", image
    if image["status"] == "failed":
        assert image["traceback"] and "\n" not in image["traceback"] and str(testdata) not in answer.text
        assert image["error"]["detail"] == image["traceback"]
        if known["expect"] == "decode-or-415":
            assert image["error"]["type"] == "urn:visage:unsupported-format"
    elif known["expect"] != "reject-or-partial":
        assert len(image["faces"]) in counts(known)
        for face in image["faces"]:
            assert len(face["vec"]) == 128
            if known.get("width", 0) > 50:  # upright: the whole face lies in the upright picture
                left, top, right, bottom = face["bbox"]
                middle = (left + right) / 2, (top + bottom) / 2
                assert 0 < middle[0] < known["width"] and 0 < middle[1] < known["height"]


@each
def test_one_image_routes_answer_a_picture_or_the_reason(real: Client, testdata: Path, known: dict[str, Any]) -> None:
    name = Path(known["file"]).name
    answers = [real.post("/draw_detections", json={"images": {"data": [sent(known, testdata)]}})]
    if name not in BASE64_TEXTS:
        upload = (testdata / known["file"]).read_bytes()
        answers.append(real.post("/multipart/draw_detections", files={"file": (name, upload)}))
    for answer in answers:
        assert answer.status_code in allowed(known), answer.text
        if answer.status_code == 200:
            assert answer.headers["content-type"] == "image/jpeg"
            assert answer.content.startswith(b"\xff\xd8\xff")
        else:
            problem = answer.json()
            assert problem["status"] == answer.status_code and isinstance(problem["detail"], str)


def allowed(known: dict[str, Any]) -> set[int]:
    match known["expect"]:
        case "reject":
            return {413} if Path(known["file"]).name in TOO_LARGE else {422}
        case "decode-or-415":
            return {200, 415}
        case "reject-or-partial":
            return {200, 422}
        case "decode-or-reject":
            return {200, 413}
        case _:
            return {200}


def test_all_of_them_in_one_request(real: Client, testdata: Path, hopper: bytes) -> None:
    answer = real.post(
        "/extract",
        json={"images": {"data": [*(sent(known, testdata) for known in EXPECTED), b64(hopper)]}},
    )
    assert answer.status_code == 200
    *images, good = answer.json()["data"]
    assert len(good["faces"]) == 1
    failed = {Path(known["file"]).name for known, image in zip(EXPECTED, images, strict=True) if image["faces"] == []}
    assert {Path(known["file"]).name for known in EXPECTED if known["expect"] == "reject"} <= failed
    assert real.get("/health").status_code == 200
