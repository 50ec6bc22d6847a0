"""The first start with each entry of the shipped catalogue that has no hash; its sources are of this machine here."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.attributes import aged, softmaxed
from tests.detector_networks import Map, centerface_maps, decoded, mapped, retinaface_maps
from tests.networks import Embedder, dense, pictures, scrfd_heads, yunet_heads
from tests.support import ACCEPTED, REPO, settings_of
from tests.zoo.bad_server import BadServer, whole
from visage.backends.base import ModelFile
from visage.backends.onnx import open_session
from visage.faces import ImageBatch
from visage.families import family
from visage.families.base import SETTINGS
from visage.runtime import prepare
from visage.zoo.catalogue import Entry
from visage.zoo.hashes import is_known
from visage.zoo.reading import read_catalogue
from visage.zoo.transfer import digest

SHIPPED = read_catalogue(REPO / "models").entries.values()
WITHOUT_HASH = [entry.name for entry in SHIPPED if not is_known(entry)]

# A file of each family as it may come: one picture a run where that is how they are published.
TINY: dict[str, Callable[[Path, Entry], Path]] = {
    "scrfd": lambda path, _: dense(path, scrfd_heads()),
    "yunet": lambda path, _: dense(path, yunet_heads()),
    "retinaface": lambda path, entry: mapped(path, retinaface_maps(masks=entry.name == "mnet_cov2"), listed=True),
    "centerface": lambda path, _: mapped(path, centerface_maps(), batch=10, size=(32, 32), listed=True),
    "yolov5_face": lambda path, _: decoded(path, Map.of("output", 8, 16)),
    "arcface": lambda path, entry: Embedder.of(8).save(path, batch=1),
    "genderage": lambda path, entry: aged(path, 1, 50),
    "mask": lambda path, entry: softmaxed(path, int(entry.params.get("side", 224))),
}


@pytest.mark.parametrize("name", WITHOUT_HASH)
def test_a_first_start_without_a_hash_works_and_fetches_once_fault_02(
    server: BadServer, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    entry = read_catalogue(REPO / "models")[name]
    if entry.family not in TINY:
        pytest.skip(f"there is no tiny network of family {entry.family}")
    published = TINY[entry.family](tmp_path / "published.onnx", entry)
    url = server.at("/file.onnx", whole(published.read_bytes()))
    models = tmp_path / "models"
    models.mkdir()
    (models / "models.override.json").write_text(json.dumps({name: {"sources": [{"url": url}]}}), "utf-8")
    chosen = {"REC_NAME": "None", SETTINGS[entry.task]: name}
    settings = settings_of(MODELS_DIR=str(models), **chosen, **ACCEPTED)
    with caplog.at_level(logging.WARNING):
        first = next(model for model in prepare(settings).defaults.values() if model.entry.name == name)

    assert not first.file.verified and first.file.sha256 == digest(published)
    assert f"{name} is unverified" in caplog.text and digest(published) in caplog.text
    note = json.loads((models / "onnx" / name / f"{name}.json").read_text("utf-8"))
    assert note == {"sha256": digest(published), "from": url}
    assert _answers(first.entry, first.file.path) == 2
    again = next(model for model in prepare(settings).defaults.values() if model.entry.name == name)
    assert again.file == first.file and len(server.log) == 1


def _answers(entry: Entry, path: Path) -> int:
    """How many answers the network gives to two pictures."""
    session = open_session(ModelFile(entry.name, path, "0" * 64, entry.fed(), threads=1))
    model: Any = family(entry.family).build(session, entry.params)
    if entry.task == "detection":
        batch = ImageBatch(pictures(2, (96, 64)), np.ones(2))
        return len(model.detect(batch, np.full(2, 0.99, np.float32)))
    return len(model.predict(pictures(2, (112, 112))))
