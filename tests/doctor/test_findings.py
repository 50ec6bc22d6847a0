"""What is said of settings as a whole."""

from pathlib import Path

import pytest

from tests.doctor.conftest import Found
from tests.support import settings_of
from visage.choice import chosen_names
from visage.doctor import Finding, findings
from visage.runtime import prepare
from visage.zoo.reading import read_catalogue


def bad(found: dict[str, list[Finding]]) -> list[str]:
    return [f"{one.what}; {one.remedy}" for each in found.values() for one in each if one.verdict == "bad"]


def test_the_embedded_pair_on_a_machine_like_this_has_nothing_against_it(found: Found) -> None:
    by = found()
    assert bad(by) == []
    assert [one.what for one in by["networks"]] == ["yunet: embedded", "sface: embedded"]


def test_nothing_is_written_where_it_looks(found: Found, models: Path) -> None:
    before = sorted(models.rglob("*"))
    found()
    assert sorted(models.rglob("*")) == before


def test_a_licence_that_is_not_accepted_is_told_with_the_line_that_accepts_it(found: Found) -> None:
    (said,) = bad(found(DET_NAME="theirs"))
    assert said.startswith("theirs is under insightface-nc") and "ACCEPT_LICENCES=insightface-nc" in said
    by = found(DET_NAME="theirs", ACCEPT_LICENCES="insightface-nc")
    assert bad(by) == [] and by["networks"][0].what == "theirs: will be fetched"


def test_a_licence_that_there_is_not_is_told(found: Found) -> None:
    (said,) = bad(found(ACCEPT_LICENCES="insightface-cn"))
    assert said.startswith("ACCEPT_LICENCES: 'insightface-cn' is no licence")


def test_a_network_that_cannot_come_is_told_with_its_place(found: Found) -> None:
    (said,) = bad(found(REC_NAME="mine"))
    assert said.startswith("mine: no file, and no place") and said.endswith("onnx/mine/mine.onnx")
    (offline,) = bad(found(DET_NAME="theirs", ACCEPT_LICENCES="insightface-nc", OFFLINE="1"))
    assert offline.startswith("theirs: no file, and OFFLINE")


def test_a_name_that_is_in_no_catalogue_is_told_once(found: Found) -> None:
    (said,) = bad(found(DET_NAME="nobody"))
    assert "nobody" in said


def test_what_is_too_large_for_the_disk_is_told(found: Found) -> None:
    by = found(REC_NAME="large")
    (said,) = bad(by)
    assert "2097152.0 GB are needed" in said and said.endswith("make room, or set MODELS_DIR to a folder that has it")
    assert by["memory"][0].verdict == "doubtful"


def test_a_catalogue_that_cannot_be_read_is_told_once(found: Found, models: Path) -> None:
    (models / "models.override.json").write_text("{", "utf-8")
    (said,) = bad(found())
    assert "models.override.json" in said


def test_a_folder_that_may_only_be_read_will_do_once_it_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(MODELS_DIR=str(tmp_path / "models"), PORT="0")
    (tmp_path / "models").mkdir()
    monkeypatch.setattr("os.access", lambda _, mode: not mode & 2)  # W_OK
    refused = [one for one in findings(settings) if one.verdict == "bad"]
    assert [one.what.split(" is")[0] for one in refused] == ["yunet", "sface"]
    assert all(one.remedy.startswith("run `visage prepare` once") for one in refused)
    monkeypatch.undo()
    prepare(settings)
    monkeypatch.setattr("os.access", lambda _, mode: not mode & 2)
    said = list(findings(settings))
    assert [one for one in said if one.verdict == "bad"] == []
    assert any(one.what.endswith("may only be read") for one in said)


def test_a_folder_that_is_not_there_is_made_or_not(
    tmp_path: Path, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "new" / "er")
    assert found(MODELS_DIR=folder)["models folder"][0].what.endswith("will be made")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert found(MODELS_DIR=folder)["models folder"][0].verdict == "bad"


def test_what_it_says_of_the_embedded_pair_holds_for_a_start(tmp_path: Path) -> None:
    """The other way round: settings that the doctor finds good are those that can be prepared."""
    settings = settings_of(MODELS_DIR=str(tmp_path), PORT="0")
    assert not [one for one in findings(settings) if one.verdict == "bad"]
    ready = {model.entry.name for _, model in prepare(settings).all()}
    assert ready == set(chosen_names(settings, read_catalogue(tmp_path)))
