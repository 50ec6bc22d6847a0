"""Every backend over real networks answers as ONNX Runtime does, and a service chooses among them."""

import json
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import httpx2 as httpx
import numpy as np
import pytest

from tests.catalogued import opened, real_file
from tests.golden.references import compare, cosine, deviations
from tests.runnable import EVERY, OTHERS, measured_here
from tests.support import REPO, client_of, extract, served, settings_of, wait_ready
from visage.backends import ORACLE, backend
from visage.backends.base import ModelFile, Preprocess
from visage.engines.agreement import require_same
from visage.faces import Detections, ImageBatch
from visage.families import family
from visage.geometry.letterbox import letterbox
from visage.images.decoding import Decoder, Limits
from visage.selftest import FACE
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching, data_file
from visage.zoo.store import Store

CATALOGUE = read_catalogue(REPO / "models")
PICTURE = Decoder(Limits()).decode(data_file("selftest.png").read_bytes()).pixels
REAL = [name for name in CATALOGUE.entries if real_file(name)]
EMBEDDED = ("yunet", "sface")
SIZES = [(640, 640), (640, 384), (320, 480)]

# Name of a network and of an engine → the network as its family's object.
Networks = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def networks(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """The embedded pair, those of the catalogue whose weights are at hand, and the two MobileFaceNets."""
    folder = tmp_path_factory.mktemp("models")

    @lru_cache
    def network(name: str, engine: str) -> Any:
        if name in EMBEDDED:
            entry = CATALOGUE[name]
            ready = Store(Fetching(models_dir)).prepare(entry)
            session = backend(engine)(ModelFile(name, ready.path, ready.sha256, entry.fed(), threads=2))
            return family(entry.family).build(session, entry.params)
        file = real_file(name)
        assert file is not None
        if name in CATALOGUE.entries:
            return opened(CATALOGUE[name], file, folder, engine=engine)
        fed = Preprocess() if name == "mobilefacenet_arcface_y1" else family("arcface").preprocess
        return family("arcface").build(backend(engine)(ModelFile(name, file, "0" * 64, fed, threads=2)), {})

    return network


@pytest.fixture(scope="module")
def group_pixels(group: bytes) -> Any:
    return Decoder(Limits()).decode(group).pixels


DETECTORS = [name for name in (*EMBEDDED, *REAL) if CATALOGUE[name].task == "detection"]
EMBEDDERS = [name for name in (*EMBEDDED, *REAL) if CATALOGUE[name].task == "recognition"]
EMBEDDERS += [name for name in ("mobilefacenet_arcface_y1", "mobilefacenet_arcface_y1_torchstyle") if real_file(name)]
REST = [name for name in REAL if name not in (*DETECTORS, *EMBEDDERS)]


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_find_the_same_faces(networks: Networks, group_pixels: Any, name: str, engine: str) -> None:
    oracle, other = networks(name, ORACLE), networks(name, engine)
    for size in dict.fromkeys(oracle.sizes.nearest(size) for size in SIZES):
        fitted = [letterbox(pixels, size) for pixels in (group_pixels, PICTURE)]
        batch = ImageBatch(np.stack([p for p, _ in fitted]), np.array([s for _, s in fitted]))
        known, found = (one.detect(batch, np.full(2, 0.3, np.float32)) for one in (oracle, other))
        assert len(known[0]) > 10 and len(known[1]) == 1
        seen = [compare(f"{name} {size}", a, b) for a, b in zip(found, known, strict=True)]
        assert deviations(seen, overlap=0.99, offset=0.01, score=1e-3) == []


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("name", EMBEDDERS)
def test_embeddings_are_the_same(networks: Networks, group_pixels: Any, name: str, engine: str) -> None:
    found = _faces(networks, group_pixels)
    crops = networks(name, ORACLE).crop.cut(group_pixels, found)
    assert len(crops) > 10
    for part in (crops[:1], crops[:4], crops):
        known, told = (networks(name, of).predict(part) for of in (ORACLE, engine))
        for a, b in zip(known, told, strict=True):
            assert cosine(a.vector, b.vector) >= 0.9999 and b.norm == pytest.approx(a.norm, rel=1e-3)


def _faces(networks: Networks, pixels: Any) -> Detections:
    size = (640, 640)
    fitted, scale = letterbox(pixels, size)
    found = networks("yunet", ORACLE).detect(ImageBatch(fitted[None], np.array([scale])), np.array([0.5], np.float32))
    only: Detections = found[0]
    return only


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("name", REST)
def test_attributes_come_of_the_same_numbers(networks: Networks, name: str, engine: str) -> None:
    crops = networks(name, ORACLE).crop.cut(PICTURE, FACE)
    crops = np.concatenate([crops, crops[:, :, ::-1], cv2.blur(crops[0], (9, 9))[None]])
    sessions = [networks(name, of)._session for of in (ORACLE, engine)]
    shown = np.stack([cv2.resize(crop, sessions[0].sizes.fixed) for crop in crops])
    oracle, other = (session.run(shown) for session in sessions)
    require_same(oracle, other)


# -- the choice, from the settings to /info -------------------------------------------------------------------------


def info(client: Any) -> Any:
    return client.get("/info").json()


@pytest.fixture
def folder(models_dir: Path, tmp_path: Path) -> Path:
    """A models folder of this test's own, prepared, in which nothing was measured."""
    copy = tmp_path / "models"
    shutil.copytree(models_dir, copy, ignore=shutil.ignore_patterns("*.engines.json", ".lock"))
    return copy


def test_left_to_us_each_network_has_an_engine_that_was_measured_and_a_restart_keeps_it(
    folder: Path, hopper: bytes
) -> None:
    settings = settings_of(MODELS_DIR=str(folder), INFERENCE_BACKEND="auto")
    with client_of(settings) as client:
        first = info(client)
        assert len(extract(client, hopper)["data"][0]["faces"]) == 1
    with client_of(settings) as client:
        second = info(client)

    assert first["models"]["inference_backend"] == "onnx"  # a word that clients know
    assert first["visage"]["inference_backend"] == "auto"
    assert set(first["visage"]["engines"]) == {"yunet", "sface"}
    for name, told in first["visage"]["engines"].items():
        again = second["visage"]["engines"][name]
        assert (told["why"], again["why"]) == ("measured", "remembered")
        assert told["engine"] == again["engine"] and told["timings"] == again["timings"]
        assert set(told["timings"]) == measured_here()
        assert all(case["ms"] > 0 <= case["spread"] for cases in told["timings"].values() for case in cases)


@pytest.mark.parametrize("name", EVERY)
def test_a_named_backend_answers_the_same_and_nothing_is_measured(folder: Path, hopper: bytes, name: str) -> None:
    with client_of(settings_of(MODELS_DIR=str(folder), INFERENCE_BACKEND=name)) as client:
        (face,) = extract(client, hopper)["data"][0]["faces"]
        told = info(client)
    with client_of(settings_of(MODELS_DIR=str(folder), INFERENCE_BACKEND=ORACLE)) as client:
        (known,) = extract(client, hopper)["data"][0]["faces"]

    assert cosine(face["vec"], known["vec"]) > 0.9999 and face["prob"] == pytest.approx(known["prob"], abs=1e-3)
    assert told["visage"]["inference_backend"] == name
    assert told["visage"]["engines"]["sface"] == {"engine": name, "why": "named", "timings": {}}
    assert not list(folder.rglob("*.engines.json"))


@pytest.mark.parametrize("compat", ["0.7", "0.9"])
def test_under_compat_api_info_tells_a_backend_that_clients_know(folder: Path, compat: str) -> None:
    with client_of(settings_of(MODELS_DIR=str(folder), INFERENCE_BACKEND="openvino", COMPAT_API=compat)) as client:
        told = info(client)
    assert told["models"]["backend_name" if compat == "0.7" else "inference_backend"] == "onnx" and "visage" not in told


def test_several_workers_take_the_choice_that_was_made_before_them(folder: Path, tmp_path: Path) -> None:
    with served(tmp_path, MODELS_DIR=str(folder), INFERENCE_BACKEND="auto", NUM_WORKERS="2") as server:
        wait_ready(lambda: server.log().count("visage is ready") == 2)
        told = [line for line in server.log().splitlines() if "is computed by" in line]
        engines = httpx.get(f"{server.url}/info").json()["visage"]["engines"]
    assert len(told) == 2 and all(json.loads(line)["event"].startswith(("yunet", "sface")) for line in told)
    assert {engine["why"] for engine in engines.values()} == {"measured"}
