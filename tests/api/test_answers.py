"""The shapes of the wire contract, parts 3 and 4."""

import base64
from typing import Any

import cv2
import msgpack
import numpy as np
import orjson
import pytest

from visage.api.answers import Form, Shape, embeddings, extraction, jpeg, png, shape_of
from visage.api.encoding import JSON, MSGPACK, render
from visage.errors import ImageUndecodable
from visage.faces import Embedding, Face, GenderAge, ImageFaces, MaskScores, Outcome
from visage.options import ExtractOptions

POINTS = [[130.9, 140], [170, 140], [150, 165], [135, 190], [165, 190]]
CROP = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (112, 112, 3), np.uint8), (0, 0), 8)
BARE = Face(0, np.array([100, -3.9, 200.7, 230], np.float32), float(np.float32(0.91)), np.array(POINTS, np.float32))
FULL = Face(
    1,
    BARE.box,
    BARE.score,
    BARE.landmarks,
    Embedding(np.array([0.6, 0.8], np.float32), 6690.5),
    GenderAge(1, 31),
    MaskScores(0.02, 0.98),
    CROP,
)
EVERYTHING = ExtractOptions(embedding=True, gender_age=True, masks=True, crops=True)
DETECTION = ExtractOptions(embedding=False)
FAILED = Outcome(ImageUndecodable("Can't decode file, possibly not an image"), 0.5)

PROBLEM = {
    "type": "urn:visage:image-undecodable",
    "title": "Image undecodable",
    "detail": "Can't decode file, possibly not an image",
}

KEYS_07 = "det prob bbox size landmarks gender age mask_prob norm vec"
ATTRIBUTES_09 = "norm vec gender age mask mask_probs"


def found(*faces: Face, warnings: tuple[str, ...] = (), size: tuple[int, int] = (640, 480)) -> Outcome:
    return Outcome(ImageFaces(list(faces), 0.5, size, warnings), 0.25, 0.5)


def extracted(
    *outcomes: Outcome,
    shape: Shape | None = None,
    options: ExtractOptions = EVERYTHING,
    warnings: list[str] | None = None,
) -> Any:
    return extraction(
        list(outcomes), options, shape or Shape(), total_ms=7.5, models={"det": "d@1"}, warnings=warnings or []
    )


def embedded(*outcomes: Outcome, shape: Shape | None = None, warnings: list[str] | None = None) -> Any:
    return embeddings(
        list(outcomes), EVERYTHING, shape or Shape(), total_ms=7.5, models={"det": "d@1"}, warnings=warnings or []
    )


def face_of(face: Face, shape: Shape, options: ExtractOptions = EVERYTHING) -> dict[str, Any]:
    answer = extracted(found(face), shape=shape, options=options)
    image = answer[0] if shape.listed else answer["data"][0]["faces"]
    return plain(image[0])


def plain(face: dict[str, Any]) -> dict[str, Any]:
    """A face with its pixels as lists."""
    pixels = ("bbox", "landmarks", "landmarks_106")
    return {key: value.tolist() if key in pixels and value is not None else value for key, value in face.items()}


def keys(value: dict[str, Any]) -> str:
    return " ".join(value)


# which shape


@pytest.mark.parametrize(
    ("api_ver", "compat", "form", "listed"),
    [
        (None, None, "0.9", False),
        ("1", None, "0.7", True),
        ("2", None, "0.9+0.7", False),
        ("3", None, "0.9+0.7", False),
        ("", None, "0.9+0.7", False),
        (None, "0.7", "0.7", True),
        ("1", "0.7", "0.7", True),
        ("2", "0.7", "0.7", False),
        (None, "0.9", "0.9", False),
        ("1", "0.9", "0.7", True),
        ("2", "0.9", "0.9", False),
    ],
)
def test_api_ver_and_compat_choose_the_shape(api_ver: str | None, compat: str | None, form: Form, listed: bool) -> None:
    assert shape_of(api_ver, compat, landmarks=True, verbose=False) == Shape(
        form, listed, compat is not None, landmarks=True, verbose=False
    )
    assert shape_of(api_ver, compat, landmarks=False, verbose=True).verbose


# faces


@pytest.mark.parametrize(
    ("landmarks", "face", "options", "expected"),
    [
        (True, FULL, EVERYTHING, f"bbox landmarks prob num_det scale facedata {ATTRIBUTES_09} size"),
        (False, FULL, EVERYTHING, f"bbox prob num_det scale facedata {ATTRIBUTES_09} size"),
        (False, BARE, ExtractOptions(), f"bbox prob num_det scale {ATTRIBUTES_09} size"),
        (
            False,
            BARE,
            ExtractOptions(embedding=False, gender_age=True),
            f"bbox prob num_det scale {ATTRIBUTES_09} size",
        ),
        (False, BARE, ExtractOptions(embedding=False, masks=True), f"bbox prob num_det scale {ATTRIBUTES_09} size"),
        (False, BARE, DETECTION, "bbox prob num_det scale size"),
        (True, BARE, DETECTION, "bbox landmarks prob num_det scale size"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_the_keys_of_a_face_of_0_9_and_their_order(
    landmarks: bool, face: Face, options: ExtractOptions, expected: str, strict: bool
) -> None:
    assert keys(face_of(face, Shape(landmarks=landmarks, strict=strict), options)) == expected


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("strict", [False, True])
def test_the_keys_of_a_face_of_0_7_are_always_all_there(listed: bool, strict: bool) -> None:
    shape = Shape("0.7", listed, strict)
    assert keys(face_of(BARE, shape, DETECTION)) == KEYS_07
    assert keys(face_of(FULL, shape)) == f"{KEYS_07} facedata"


def test_the_names_of_0_7_stand_beside_those_of_0_9_for_api_ver_2() -> None:
    face = face_of(FULL, Shape("0.9+0.7"))
    plain = face_of(FULL, Shape())
    assert keys(face) == f"{keys(plain)} det mask_prob"
    assert (face["det"], face["mask_prob"]) == (face["num_det"], face["mask_probs"]["mask"]) == (1, 0.02)
    bare = face_of(BARE, Shape("0.9+0.7"), DETECTION)
    assert (bare["det"], bare["mask_prob"]) == (0, None)


def test_the_values_of_a_face_of_0_9() -> None:
    face = face_of(FULL, Shape(landmarks=True))
    assert face["bbox"] == [100, -3, 200, 230]  # cut toward zero, not clipped
    assert face["size"] == 100  # the difference is cut, not the corners
    assert face["landmarks"] == [[130, 140], [170, 140], [150, 165], [135, 190], [165, 190]]
    assert (face["prob"], face["num_det"], face["scale"], face["norm"]) == (FULL.score, 1, 0.5, 6690.5)
    assert face["vec"].dtype == np.float64
    assert face["vec"].tolist() == [float(np.float32(0.6)), float(np.float32(0.8))]
    assert (face["gender"], face["age"]) == (1, 31)
    assert (face["mask"], face["mask_probs"]) == (False, {"mask": 0.02, "no_mask": 0.98})


@pytest.mark.parametrize(("left", "right", "size"), [(100.5, 200.25, 99), (100.75, 201, 100), (-0.5, 10.5, 11)])
@pytest.mark.parametrize("form", ["0.7", "0.9"])
def test_the_size_is_the_width_before_any_corner_is_cut(form: Form, left: float, right: float, size: int) -> None:
    box = np.array([left, 0, right, 10], np.float32)
    assert face_of(Face(0, box, 0.9, BARE.landmarks), Shape(form), DETECTION)["size"] == size


def test_the_values_of_a_face_of_0_7() -> None:
    face = face_of(FULL, Shape("0.7", landmarks=True))
    assert (face["det"], face["prob"], face["bbox"], face["size"]) == (1, FULL.score, [100, -3, 200, 230], 100)
    assert face["landmarks"][0] == [130, 140]
    assert (face["gender"], face["age"], face["mask_prob"], face["norm"]) == (1, 31, 0.02, 6690.5)
    assert face["vec"].tolist() == [float(np.float32(0.6)), float(np.float32(0.8))]


def test_what_no_network_answers_is_null() -> None:
    blank = dict.fromkeys(ATTRIBUTES_09.split())
    assert {key: face_of(BARE, Shape())[key] for key in blank} == blank
    old = face_of(BARE, Shape("0.7"))
    assert [old[key] for key in ["landmarks", "gender", "age", "mask_prob", "norm", "vec"]] == [None] * 6


def test_face_data_is_a_jpeg_of_the_crop() -> None:
    data = base64.b64decode(face_of(FULL, Shape())["facedata"])
    assert data.startswith(b"\xff\xd8\xff")
    again = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert again.shape == (112, 112, 3)
    assert np.abs(again.astype(int) - CROP).mean() < 2
    assert data == jpeg(CROP, 95)


def test_a_jpeg_and_a_png_are_what_they_say() -> None:
    assert jpeg(CROP, 95)[:3] == b"\xff\xd8\xff"
    assert png(CROP)[:8] == b"\x89PNG\r\n\x1a\n"
    assert (cv2.imdecode(np.frombuffer(png(CROP), np.uint8), cv2.IMREAD_COLOR) == CROP).all()


# envelopes of an extraction


def test_the_envelope_and_its_images() -> None:
    answer = extracted(found(FULL), FAILED, found())
    assert keys(answer) == "took data models"
    assert answer["took"] == {"total_ms": 7.5}
    assert answer["models"] == {"det": "d@1"}
    good, bad, empty = answer["data"]
    assert keys(good) == "status took_ms faces"
    assert (good["status"], good["took_ms"], len(good["faces"])) == ("ok", 750, 1)
    assert bad == {
        "status": "failed",
        "took_ms": 500,
        "faces": [],
        "traceback": "Can't decode file, possibly not an image",
        "error": PROBLEM,
    }
    assert (empty["status"], empty["faces"]) == ("ok", [])


def test_verbose_timings_say_reading_and_networks() -> None:
    took = extracted(found(), FAILED, found(), shape=Shape(verbose=True))["took"]
    assert list(took.items()) == [("total_ms", 7.5), ("read_imgs_ms", 1000), ("embed_all_ms", 1000)]


def test_no_images_are_an_empty_answer() -> None:
    assert extracted()["data"] == []
    assert extracted(shape=Shape("0.7", listed=True)) == []


@pytest.mark.parametrize("form", ["0.9", "0.9+0.7", "0.7"])
def test_what_is_to_be_said_is_said_of_the_request_and_of_each_image(form: Form) -> None:
    answer = extracted(found(warnings=("cut short",)), found(), shape=Shape(form), warnings=["urls won"])
    assert answer["warnings"] == ["urls won"]
    assert [image.get("warnings") for image in answer["data"]] == [["cut short"], None]


@pytest.mark.parametrize("form", ["0.9", "0.7"])
def test_a_strict_envelope_has_no_key_that_the_reference_does_not_know(form: Form) -> None:
    shape = Shape(form, strict=True, verbose=True)
    answer = extracted(found(FULL, warnings=("cut short",)), FAILED, shape=shape, warnings=["urls won"])
    assert keys(answer) == "took data"
    assert [keys(image) for image in answer["data"]] == ["status took_ms faces", "status took_ms faces traceback"]


@pytest.mark.parametrize("strict", [False, True])
def test_a_list_of_lists_has_an_empty_one_for_a_failed_image(strict: bool) -> None:
    answer = extracted(found(FULL, BARE), FAILED, found(), shape=Shape("0.7", True, strict), warnings=["urls won"])
    assert [len(faces) for faces in answer] == [2, 0, 0]
    assert [face["det"] for face in answer[0]] == [1, 0]


# crops


def whole(face: Face = FULL) -> Outcome:
    crop = Face(
        0, np.array([0, 0, 112, 112], np.float32), 1.0, face.landmarks, face.embedding, face.gender_age, face.mask, CROP
    )
    return found(crop, size=(112, 112))


@pytest.mark.parametrize("form", ["0.9", "0.9+0.7"])
def test_embeddings_of_crops_in_the_form_of_0_9(form: Form) -> None:
    answer = embedded(whole(), shape=Shape(form))
    assert keys(answer) == "took_ms data status models"
    assert (answer["took_ms"], answer["status"]) == (7.5, "ok")
    (entry,) = answer["data"]
    assert keys(entry) == "status took_ms faces"
    assert (entry["status"], entry["took_ms"]) == ("ok", 0)
    face = plain(*entry["faces"])
    assert keys(face) == f"{ATTRIBUTES_09} bbox size prob status"
    assert (face["bbox"], face["size"], face["prob"], face["status"]) == ([0, 0, 112, 112], 112, 1.0, "ok")
    assert face["norm"] == 6690.5


def test_a_crop_that_failed_is_failed_inside_and_outside() -> None:
    _, bad = embedded(whole(), FAILED)["data"]
    assert (bad["status"], bad["traceback"], bad["error"]) == ("failed", PROBLEM["detail"], PROBLEM)
    assert bad["faces"] == [{"status": "failed", "traceback": PROBLEM["detail"], "error": PROBLEM}]


def test_embeddings_of_crops_in_the_form_of_0_7() -> None:
    good, bad = embedded(whole(), FAILED, shape=Shape("0.7", listed=True))["data"]
    assert keys(good) == KEYS_07
    assert [good[key] for key in ["det", "prob", "bbox", "size", "landmarks"]] == [None] * 5
    assert (good["gender"], good["age"], good["mask_prob"], good["norm"]) == (1, 31, 0.02, 6690.5)
    assert (bad["status"], bad["traceback"], bad["error"]) == ("failed", PROBLEM["detail"], PROBLEM)
    assert all(bad[key] is None for key in KEYS_07.split())


@pytest.mark.parametrize("form", ["0.7", "0.9"])
def test_strict_embeddings_have_no_key_of_ours(form: Form) -> None:
    answer = embedded(whole(), FAILED, shape=Shape(form, strict=True), warnings=["urls won"])
    assert keys(answer) == "took_ms data status"
    assert "error" not in str(answer["data"][1].keys())
    assert "warnings" not in answer["data"][0]


def test_what_is_to_be_said_of_a_crop_is_said() -> None:
    resized = Outcome(ImageFaces(whole().result.faces, 1.0, (224, 224), ("the crop was resized",)))  # type: ignore[union-attr]
    answer = embedded(resized, warnings=["urls won"])
    assert answer["warnings"] == ["urls won"]
    assert answer["data"][0]["warnings"] == ["the crop was resized"]


@pytest.mark.parametrize("media_type", [JSON, MSGPACK])
def test_pixels_are_written_as_whole_numbers_however_their_arrays_lie_in_memory(media_type: str) -> None:
    across = np.asfortranarray(BARE.landmarks)
    assert not across.flags.c_contiguous
    face = Face(0, np.array([100.9, -3.7, 200.2, 1e6], np.float32)[::-1][::-1], 0.5, across)
    answer = extracted(found(face), shape=Shape(landmarks=True), options=DETECTION)
    written = bytes(render(answer, media_type).body)
    (read,) = (orjson.loads(written) if media_type == JSON else msgpack.unpackb(written))["data"][0]["faces"]
    assert read["bbox"] == [100, -3, 200, 1_000_000] and read["landmarks"] == BARE.landmarks.astype(int).tolist()
    assert {type(value) for value in [*read["bbox"], *read["landmarks"][0]]} == {int}
