"""Every entry of the shipped catalogue loads and answers for a picture (fault 15), and its row is what was published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.attributes import aged, softmaxed, toned
from tests.catalogued import opened, real_file
from tests.detector_networks import Map, centerface_maps, decoded, mapped, retinaface_maps
from tests.networks import Embedder, dense, scrfd_heads, yunet_heads
from tests.support import REPO
from visage.backends.base import Preprocess
from visage.faces import Detections, Embedding, GenderAge, ImageBatch, MaskScores, Pixels
from visage.geometry.alignment import align
from visage.geometry.letterbox import letterbox
from visage.images.decoding import Decoder, Limits
from visage.selftest import FACE, LANDMARKS
from visage.zoo.catalogue import DriveFile, Entry, ZipMember
from visage.zoo.licences import MEANINGS, needs_acceptance
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import data_file

CATALOGUE = read_catalogue(REPO / "models")
PICTURE = Decoder(Limits()).decode(data_file("selftest.png").read_bytes()).pixels


# -- every entry loads --------------------------------------------------------------------------------------------

# A tiny network with the inputs and outputs that files of a family have.
TINY: dict[str, Callable[[Entry, Path], Path]] = {
    "scrfd": lambda entry, path: dense(path, scrfd_heads(), batch=1),
    "yunet": lambda entry, path: dense(path, yunet_heads(), batch=1, size=(640, 640)),
    "retinaface": lambda entry, path: mapped(path, retinaface_maps(masks=entry.name == "mnet_cov2"), batch=1),
    "centerface": lambda entry, path: mapped(
        path, centerface_maps(), batch=10, size=(32, 32), listed=True, ir_version=3
    ),
    "yolov5_face": lambda entry, path: decoded(path, Map.of("output", 32, 16, sigmoid=True), size=(640, 640)),
    "arcface": lambda entry, path: Embedder.of(128 if "sface" in entry.name else 512).save(path, batch=1),
    "genderage": lambda entry, path: aged(path, 1, 31) if entry.name == "genderage_v1" else toned(path),
    "landmarks106": lambda entry, path: Embedder.of(212).save(path, batch=1, side=192),
    "mask": lambda entry, path: softmaxed(path, entry.params["side"]),
}


@pytest.mark.parametrize("name", CATALOGUE.entries)
def test_every_entry_loads_and_answers_from_a_network_of_its_form_fault_15(name: str, tmp_path: Path) -> None:
    entry = CATALOGUE[name]
    answers(entry, opened(entry, TINY[entry.family](entry, tmp_path / "tiny.onnx"), tmp_path / "models"))


# What InsightFace's archives and other mirrors give for the entry: outputs without a batch axis.
MIRRORED = {"scrfd_500m_bnkps": "det_500m"}
REAL = [(name, name) for name in CATALOGUE.entries if real_file(name)]
REAL += [(name, file) for name, file in MIRRORED.items() if real_file(file)]


@pytest.mark.parametrize(("name", "file"), REAL)
def test_every_entry_loads_and_answers_from_its_real_file_fault_15(name: str, file: str, tmp_path: Path) -> None:
    entry, path = CATALOGUE[name], real_file(file)
    assert path is not None
    found = answers(entry, opened(entry, path, tmp_path / "models"))

    if entry.task == "detection":
        assert [len(faces) for faces in found] == [1, 1]


def answers(entry: Entry, network: Any) -> Any:
    """What `network` says to two pictures, which must be what its task asks for, and each picture's own."""
    if entry.task == "detection":
        assert network.max_batch == 0 and network.sizes.fixed == (entry.input.size if entry.input else None)
        fitted = [letterbox(picture, network.sizes.nearest((320, 320))) for picture in (PICTURE, PICTURE[:, ::-1])]
        pixels, scales = np.stack([p for p, _ in fitted]), np.array([s for _, s in fitted])
        found = network.detect(ImageBatch(pixels, scales), np.full(2, 0.3, np.float32))
        (alone,) = network.detect(ImageBatch(pixels[1:], scales[1:]), np.full(1, 0.3, np.float32))
        assert all(_are_faces(faces, entry) for faces in found)
        np.testing.assert_allclose(found[1].boxes, alone.boxes, atol=0.01)
    else:
        crops = np.concatenate([network.crop.cut(shown, FACE) for shown in (PICTURE, PICTURE[:, ::-1].copy())])
        found = network.predict(crops)
        assert len(found) == 2
        _check_crops(entry, found, network.predict(crops[1:])[0])
    return found


def _are_faces(faces: Detections, entry: Entry) -> bool:
    masked = faces.masks is not None
    return len(faces) > 0 and bool(np.isfinite(faces.boxes).all()) and masked == (entry.name == "mnet_cov2")


def _check_crops(entry: Entry, found: Any, alone: Any) -> None:
    kind = {
        "recognition": Embedding,
        "attributes-gender-age": GenderAge,
        "attributes-mask": MaskScores,
        "landmarks-106": np.ndarray,
    }[entry.task]
    assert all(isinstance(answer, kind) for answer in found)
    if isinstance(alone, Embedding):
        assert len(alone.vector) == (128 if "sface" in entry.name else 512)
        assert float(alone.vector @ found[1].vector) == pytest.approx(1, abs=1e-5)
    elif isinstance(alone, np.ndarray):
        assert alone.shape == (106, 2)
        np.testing.assert_allclose(found[1], alone, atol=1e-3)
    elif isinstance(alone, MaskScores):
        assert (found[1].mask, found[1].no_mask) == pytest.approx((alone.mask, alone.no_mask), abs=1e-5)
    else:
        assert found[1] == alone


@pytest.mark.parametrize("name", [e.name for e in CATALOGUE.entries.values() if e.task == "recognition"])
def test_a_recogniser_is_fed_what_its_entry_says(name: str, tmp_path: Path) -> None:
    """The tiny network's own arithmetic over pixels normalised here."""
    tiny = Embedder.of(16)
    crops: Pixels = align(PICTURE, LANDMARKS)
    (answer,) = opened(CATALOGUE[name], tiny.save(tmp_path / "tiny.onnx"), tmp_path / "models").predict(crops)
    ordered = crops if name == "adaface_ir101_webface12m" else crops[..., ::-1]
    inside = name in INSIDE
    (raw,) = tiny(((ordered.astype(np.float32) - (0 if inside else 127.5)) / (1 if inside else 127.5)), "nhwc")

    np.testing.assert_allclose(answer.vector, raw / np.linalg.norm(raw), atol=1e-5)


# Recognisers whose graph normalises.
INSIDE = {
    "sface",
    "sface_2021dec",
    "arcface_r100_v1",
    "r100-arcface-msfdrop75",
    "r50-arcface-msfdrop75",
    "glint360k_r100FC_1.0",
    "glint360k_r100FC_0.1",
}


# -- every row is what was published ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "fed"),
    [
        (["yunet", "yunet_2023mar", "yunet_n_dynamic"], Preprocess(0, 1, "bgr")),
        ([f"scrfd_{size}_{kind}" for size in ("10g", "2.5g", "500m") for kind in ("bnkps", "gnkps")], Preprocess(127.5, 128)),
        (["scrfd_10g_gnkps_norm"], Preprocess(0, 1)),
        (["retinaface_r50_v1", "retinaface_mnet025_v1", "retinaface_mnet025_v2", "mnet_cov2", "centerface"], Preprocess(0, 1)),
        (["yolov5s-face", "yolov5m-face", "yolov5l-face", "yolov5n-face", "yolov5n-0.5"], Preprocess(0, 255)),
        ([*INSIDE, "genderage_v1"], Preprocess(0, 1)),
        (["glintr100", "w600k_r50", "w600k_mbf", "custom_rec_model"], Preprocess(127.5, 127.5)),
        (["adaface_ir101_webface12m"], Preprocess(127.5, 127.5, "bgr")),
        (["mask_detector", "mask_detector112"], Preprocess(127.5, 127.5, "rgb", "nhwc")),
    ],
)  # fmt: skip
def test_networks_are_fed_as_they_were_trained(names: list[str], fed: Preprocess) -> None:
    assert {name: CATALOGUE[name].fed() for name in names} == dict.fromkeys(names, fed)


def test_landmarks_of_the_later_retinafaces_were_trained_divided() -> None:
    told = {e.name: e.params["landmark_std"] for e in CATALOGUE.entries.values() if e.family == "retinaface"}
    assert told == {
        "retinaface_r50_v1": 1.0,
        "retinaface_mnet025_v1": 1.0,
        "retinaface_mnet025_v2": 0.2,
        "mnet_cov2": 0.2,
    }


# What InsightFace-REST's models.json downloads, a Google Drive id each, with the md5 that it publishes.
DRIVE = {
    "retinaface_r50_v1": ("1peUaq0TtNBhoXUbMqsCyQdL7t5JuhHMH", None),
    "retinaface_mnet025_v1": ("12H4TXtGlAr1boEGtUukteolpQ9wfUTWe", None),
    "retinaface_mnet025_v2": ("1hzgOejAfCAB8WyfF24UkfiHD2FJbaCPi", None),
    "mnet_cov2": ("1xPc3n_Y0jKyBONRx71UqCfcHjOGOLc2g", None),
    "scrfd_10g_bnkps": ("1llbQa8HFle-45wscZulzGcNncPFgYruJ", "2740f9259d46355ca5fa0d9b54943524"),
    "scrfd_2.5g_bnkps": ("1yObTSsOYCJFn38uf6O6Hku-XEhK8-q0n", "02710671a1af640b610b501383153868"),
    "scrfd_500m_bnkps": ("1ccagW08CyKJoeFAmL2ao7pjwr3_m_Zm1", "03fd8fe67902798b7584b1e7ff3e0f6f"),
    "scrfd_10g_gnkps": ("14BuXR6L73w1mwKXHPIcZlc9LYaid4Evl", "1d9b64bb0e6e18d4838872c9e7efd709"),
    "scrfd_2.5g_gnkps": ("1_LeETpKhWL4sRPvLZEvka-bGNMN4tMOU", "50febd32caa699ef7a47cf7422c56bbd"),
    "scrfd_500m_gnkps": ("19CeBV03a3DEhZeas4olZn7GgiUESDu0L", "ef4bcb0606d6e5ebf325f8322e507a7b"),
    "scrfd_10g_gnkps_norm": ("1Ks7kAHxSVnE-Zh0p99mVyQ9CLas1Amem", None),
    "yolov5s-face": ("14Ah6jfXJ5QuzaN2OsKE-g61x3-_hBnQV", "ab86397847fe907aec5aba3399beb4ac"),
    "yolov5m-face": ("1degIq0DEFML97PFvfpi-mMN8mfzRzy5z", "0211fba2d9bd2000109c9aba9d096715"),
    "yolov5l-face": ("1PL52lvybe1nJU5k09twbfKNRWw904HgS", "e3ec0aa70e3a1f985a54baef788cabec"),
    "yolov5n-face": ("1P9u9vEGA9J2v1riAe3jIqZ-Zu5OrUCQN", "3f6fa74b4cf49ac17e2954d53c59a569"),
    "yolov5n-0.5": ("16gNzkxSByVtyYOMxRDRDn_qKfVxco1p0", "32bf1a3c244e565c3a0b86e881fbbf99"),
    "arcface_r100_v1": ("1sj170K3rbo5iOdjvjHw-hKWvXgH4dld3", "8868eace383b8137afd97bcb7f322731"),
    "glintr100": ("1TR_ImGvuY7Dt22a9BOAUAlHasFfkrJp-", "3b366b98f786426f79629ddb2e56629c"),
    "w600k_r50": ("1_3WcTE64Mlt_12PZHNWdhVCRpoPiblwq", "80248d427976241cbd1343889ed132b3"),
    "w600k_mbf": ("1GtBKfGucgJDRLHvGWR3jOQovHYXY-Lpe", "c5b029527cb6f874e057613fc10bae1b"),
    "adaface_ir101_webface12m": ("1dgMFOASKnaujQcCL4sSYkKOkBrmXUUU1", "83101d3b79e541b9a5c42483966bc273"),
    "genderage_v1": ("1MnkqBzQHLlIaI7gEoa9dd6CeknXMCyZH", None),
    "mask_detector": ("1RsQonthhpJDwwdcB0sYsVGMTqPgGdMGV", None),
    "mask_detector112": ("1ghS0LEGV70Jdb5un5fVdDO-vmonVIe6Z", None),
}


@pytest.mark.parametrize("name", DRIVE)
def test_what_the_reference_downloads_is_the_first_source_with_its_md5_fault_2(name: str) -> None:
    entry = CATALOGUE[name]
    first = entry.sources[0]
    assert isinstance(first, DriveFile)
    assert (first.gdrive, first.md5 or entry.md5) == DRIVE[name]


def test_an_entry_s_hash_is_claimed_of_no_other_bytes() -> None:
    """Archives and further Drive ids carry other files than the first source, but for those of which it is known."""
    for entry in CATALOGUE.entries.values():
        for source in entry.sources[1:]:
            if isinstance(source, DriveFile):
                assert entry.md5 is None and entry.sha256 is None, entry.name
            if isinstance(source, ZipMember):
                assert (source.sha256 is None) == (entry.sha256 is not None), entry.name


def test_weights_without_a_permissive_licence_need_acceptance() -> None:
    licences = {entry.licence.id for entry in CATALOGUE.entries.values()}
    assert licences == set(MEANINGS)
    for entry in CATALOGUE.entries.values():
        assert entry.licence.commercial or needs_acceptance(entry.licence.id) or entry.licence.id == "own", entry.name
        assert entry.licence.note, entry.name


def test_no_description_sends_for_a_file_that_can_be_fetched() -> None:
    by_hand = {name for name, entry in CATALOGUE.entries.items() if not entry.sources}
    assert by_hand == {
        "r100-arcface-msfdrop75",
        "r50-arcface-msfdrop75",
        "glint360k_r100FC_1.0",
        "glint360k_r100FC_0.1",
        "custom_rec_model",
    }
    assert all("by hand" not in entry.description for entry in CATALOGUE.entries.values())
    assert all("by hand" in CATALOGUE[name].note for name in by_hand)
