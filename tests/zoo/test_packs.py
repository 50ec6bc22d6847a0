"""InsightFace's packs: told apart by content, whatever the files are called."""

import logging
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.attributes import aged
from tests.networks import Embedder, dense, model_file, pictures, save, scrfd_heads
from visage.backends.base import Preprocess
from visage.backends.onnx import open_session
from visage.errors import LicenceNotAccepted, UnknownModel
from visage.families import family
from visage.zoo.catalogue import Catalogue
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching
from visage.zoo.store import Store


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A folder as InsightFace publishes them: a detector without batch axis, a recogniser, attributes, and a stranger."""
    folder = tmp_path / "models" / "buffalo_t"
    folder.mkdir(parents=True)
    dense(folder / "det_x.onnx", scrfd_heads(), batch=1, flat=True)
    Embedder.of(16).save(folder / "w_x.onnx")
    aged(folder / "ga_x.onnx", 1, 40)
    Embedder.of(9).save(folder / "1k3d68.onnx", side=192)
    return folder


def catalogue_of(pack: Path) -> Catalogue:
    return read_catalogue(pack.parent)


def zipped(pack: Path, inside: str = "") -> Path:
    """The folder as an archive in its place; its members in the folder `inside` of it."""
    archive = pack.parent / f"{pack.name}.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for file in pack.iterdir():
            out.write(file, f"{inside}{file.name}")
    shutil.rmtree(pack)
    return archive


@pytest.mark.parametrize("how", ["folder", "wrapped folder", "zip", "wrapped zip"])
def test_a_pack_is_read_by_content_however_it_lies(pack: Path, how: str) -> None:
    if how == "wrapped folder":
        files = list(pack.iterdir())
        (pack / pack.name).mkdir()
        for file in files:
            file.rename(pack / pack.name / file.name)
    elif how != "folder":
        zipped(pack, f"{pack.name}/" if how == "wrapped zip" else "")
    found = catalogue_of(pack).every()

    assert {name: entry.family for name, entry in found.items() if name.startswith("buffalo_t")} == {
        "buffalo_t.det_x": "scrfd",
        "buffalo_t.ga_x": "genderage",
        "buffalo_t.w_x": "arcface",
    }


@pytest.mark.parametrize("zip_it", [False, True])
def test_its_models_open_and_answer(pack: Path, zip_it: bool) -> None:
    folder = pack.parent
    if zip_it:
        zipped(pack)
    catalogue = catalogue_of(pack)
    store = Store(Fetching(folder), ["unstated"])
    for task, size in (("detection", (96, 64)), ("recognition", (112, 112)), ("attributes-gender-age", (112, 112))):
        entry = catalogue.find("buffalo_t", task, "NAME")  # type: ignore[arg-type]
        session = open_session(model_file(store.prepare(entry).path, entry.fed()))
        model = family(entry.family).build(session, entry.params)
        shown = pictures(2, size)
        if task != "detection":
            assert len(model.predict(shown)) == 2
        else:
            assert session.max_batch == 0 and session.run(shown)[0].shape[0] == 2


def test_files_of_a_folder_are_opened_in_place(pack: Path) -> None:
    entry = catalogue_of(pack)["buffalo_t.w_x"]
    before = sorted(pack.iterdir())

    assert Store(Fetching(pack.parent), ["unstated"]).prepare(entry).path == pack / "w_x.onnx"
    assert sorted(pack.iterdir()) == before


def test_a_newer_archive_is_unpacked_anew(pack: Path) -> None:
    Embedder.of(16, seed=9).save(pack.parent / "other.onnx")
    archive = zipped(pack)
    entry = read_catalogue(archive.parent)["buffalo_t.w_x"]
    store = Store(Fetching(archive.parent), ["unstated"])
    first = store.prepare(entry)
    with zipfile.ZipFile(archive, "w") as out:
        out.write(archive.parent / "other.onnx", "w_x.onnx")
    os.utime(archive, (first.path.stat().st_mtime + 5,) * 2)

    assert store.prepare(entry).sha256 != first.sha256


@pytest.mark.parametrize("later", [5, -400 * 86_400])
def test_another_archive_is_unpacked_anew_whatever_its_date(pack: Path, later: float) -> None:
    """A copy that kept its date, or one that came after the clock was put right."""
    archive = zipped(pack)
    entry = read_catalogue(archive.parent)["buffalo_t.w_x"]
    store = Store(Fetching(archive.parent), ["unstated"])
    first = store.prepare(entry)
    assert store.prepare(entry).sha256 == first.sha256
    Embedder.of(16, seed=9).save(pack.parent / "other.onnx")
    with zipfile.ZipFile(archive, "w") as out:
        out.write(archive.parent / "other.onnx", "w_x.onnx")
    os.utime(archive, (first.path.stat().st_mtime + later,) * 2)
    second = store.prepare(entry)
    assert second.sha256 != first.sha256 and store.prepare(entry).sha256 == second.sha256


@pytest.mark.parametrize(("inside", "mean"), [(True, 0.0), (False, 127.5)])
def test_a_recogniser_that_normalises_itself_is_fed_raw(tmp_path: Path, inside: bool, mean: float) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    nodes = [
        helper.make_node("Sub", ["data", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "factor"], ["fed"]),
    ]
    nodes = nodes if inside else [helper.make_node("Identity", ["data"], ["fed"])]
    nodes += [
        helper.make_node("ReduceMean", ["fed", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["fc1"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([2, 3]), "axes"),
        numpy_helper.from_array(Embedder.of(8).matrix, "matrix"),
        numpy_helper.from_array(np.float32(127.5), "mean"),
        numpy_helper.from_array(np.float32(1 / 128), "factor"),
    ]
    result = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, ["N", 8])
    save(folder / "rec.onnx", nodes, [("data", ["N", 3, 112, 112])], [result], constants)
    fed = read_catalogue(tmp_path)["mine.rec"].fed()

    assert fed == Preprocess(mean, 1.0 if inside else 127.5, "rgb")


def test_what_no_family_reads_is_left_out_with_a_word(pack: Path, caplog: pytest.LogCaptureFixture) -> None:
    (pack / "junk.onnx").write_bytes(b"\xff" * 50)
    with caplog.at_level(logging.INFO):
        models = catalogue_of(pack).packs["buffalo_t"]()
    assert "buffalo_t.1k3d68" not in models and "buffalo_t.junk" not in models
    assert "1k3d68.onnx is left out" in caplog.text and "junk.onnx is left out" in caplog.text


def test_a_broken_archive_holds_nothing_and_stops_nobody(pack: Path) -> None:
    (pack.parent / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    catalogue = catalogue_of(pack)

    assert catalogue.find("buffalo_t", "detection", "DET_NAME").name == "buffalo_t.det_x"
    with pytest.raises(UnknownModel, match=r"DET_NAME='broken'.*no model for detection.*nothing that can be read"):
        catalogue.find("broken", "detection", "DET_NAME")


def test_a_pack_without_the_task_says_what_it_holds(pack: Path) -> None:
    with pytest.raises(
        UnknownModel, match=r"MASK_DETECTOR='buffalo_t'.*no model for attributes-mask.*buffalo_t\.det_x"
    ):
        catalogue_of(pack).find("buffalo_t", "attributes-mask", "MASK_DETECTOR")


def test_of_two_models_for_a_task_one_must_be_named(pack: Path) -> None:
    Embedder.of(4).save(pack / "second.onnx")
    catalogue = catalogue_of(pack)
    with pytest.raises(UnknownModel, match=r"2 models for recognition.*buffalo_t\.second, buffalo_t\.w_x"):
        catalogue.find("buffalo_t", "recognition", "REC_NAME")
    assert catalogue.find("buffalo_t.second", "recognition", "REC_NAME").name == "buffalo_t.second"


def test_a_published_pack_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"visage models pull buffalo_l"):
        read_catalogue(tmp_path).find("buffalo_l", "detection", "DET_NAME")


@pytest.mark.parametrize(("name", "licence"), [("buffalo_l", "insightface-nc"), ("found_somewhere", "unstated")])
def test_its_licence_has_to_be_accepted(pack: Path, name: str, licence: str) -> None:
    renamed = pack.rename(pack.with_name(name))
    entry = catalogue_of(renamed)[f"{name}.w_x"]

    assert entry.licence.id == licence
    with pytest.raises(LicenceNotAccepted, match=f"ACCEPT_LICENCES={licence}"):
        Store(Fetching(renamed.parent)).prepare(entry)


def test_a_real_detector_and_recogniser_are_told_apart(testdata: Path, tmp_path: Path) -> None:
    folder = tmp_path / "buffalo_sc"
    folder.mkdir()
    for number, name in enumerate(("det_500m", "mobilefacenet_arcface_y1", "mobilefacenet_arcface_y1_torchstyle")):
        shutil.copyfile(testdata / "models" / f"{name}.onnx", folder / f"{number}.onnx")
    catalogue = read_catalogue(tmp_path)

    assert catalogue.find("buffalo_sc", "detection", "DET_NAME").name == "buffalo_sc.0"
    assert catalogue["buffalo_sc.1"].fed() == Preprocess(0.0, 1.0, "rgb")
    assert catalogue["buffalo_sc.2"].fed() == Preprocess(127.5, 127.5, "rgb")
