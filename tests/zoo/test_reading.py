import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPO
from visage.errors import ConfigurationError, UnknownFamily
from visage.families import FAMILIES
from visage.zoo.catalogue import Catalogue
from visage.zoo.reading import parse_catalogue, read_catalogue

GOOD: dict[str, Any] = {"family": "scrfd", "licence": {"id": "MIT"}}


def read(folder: Path, content: Any, name: str = "models.json") -> Catalogue:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return read_catalogue(folder)


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"good": GOOD, "bad": {**GOOD, "familly": "scrfd"}}, ["'bad'", "'familly'"]),
        ({"bad": {"family": "scrfd"}}, ["'bad'", "'licence'"]),
        ({"bad": {"licence": {"id": "MIT"}}}, ["'bad'", "'family'"]),
        ({"bad": {**GOOD, "licence": {"id": 5}}}, ["'bad'", "'licence.id'"]),
        ({"bad": {**GOOD, "preprocess": {"colours": "grey"}}}, ["'bad'", "'preprocess.colours'"]),
        ({"bad": {**GOOD, "preprocess": {"std": 0}}}, ["'bad'", "'preprocess.std'"]),
        ({"bad": {**GOOD, "canonical": {"numbers": ["x"]}}}, ["'bad'", "'canonical.numbers.0'"]),
        ({"bad": {**GOOD, "sources": [{"package": "p"}]}}, ["'bad'", "'sources.0"]),
        ({"bad": {**GOOD, "name": "other"}}, ["'bad'", "'name'"]),
        ({"bad": 5}, ["'bad'"]),
        ({"bad": None}, ["'bad'"]),
        ([GOOD], ["object"]),
        ("", []),
        ("{", []),
    ],
)
def test_an_error_names_the_file_the_entry_and_the_field(tmp_path: Path, content: Any, named: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, content)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'models.json'}: ") and "\n" not in said
    assert all(part in said for part in named)


def test_a_family_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(UnknownFamily) as caught:
        read(tmp_path, {"good": GOOD, "bad": {**GOOD, "family": "retina"}})
    said = str(caught.value)
    assert said.startswith(str(tmp_path / "models.json"))
    assert all(part in said for part in ("'bad'", "'retina'", ", ".join(sorted(FAMILIES))))


@pytest.mark.parametrize("data", [{"a": 5}, {"a": {**GOOD, "famly": "scrfd"}}])
def test_what_is_parsed_is_told_without_a_file(data: Any) -> None:
    with pytest.raises(ValueError, match=r"^model 'a'"):
        parse_catalogue(data)


def test_a_catalogue_that_is_no_text_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"models\.json"):
        read_catalogue(tmp_path)


def test_a_catalogue_that_cannot_be_read_is_one_line_that_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models.json").touch()
    real = Path.read_text

    def refused(path: Path, *args: Any) -> str:
        if path.parent == tmp_path:
            raise PermissionError(13, "Permission denied")
        return real(path, *args)

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(ConfigurationError, match=r"models\.json cannot be read \(Permission denied\).*MODELS_DIR"):
        read_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"yunet": {"threshold": "high"}}, ["'yunet'", "'threshold'"]),
        ({"stranger": {"threshold": 0.3}}, ["'stranger'", "'family'"]),
        ({"yunet": {"task": "recognition"}}, ["'yunet'", "'task'", "detection", "'recognition'"]),
        ({"mask_detector": {"function": "mask_detector", "shape": None}}, ["'mask_detector'", "'shape'"]),
        ({"mask_detector": {"function": "mask_detector", "shape": [112]}}, ["'mask_detector'", "'shape'"]),
        ({"yunet": {"function": "scrfd", "md5": "no hash"}}, ["'yunet'", "'md5'"]),
        ({"yunet": {"function": "scrfd", "link": "a", "dl_type": "google"}}, ["'yunet'", "'sources.0"]),
    ],
)
def test_an_error_of_the_override_names_it(tmp_path: Path, said: Any, named: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, said, "models.override.json")
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'models.override.json'}: ") and "\n" not in told
    assert all(part in told for part in named)


# -- three files over each other ----------------------------------------------------------------------------------


def test_without_files_there_is_what_the_package_brings(tmp_path: Path) -> None:
    assert read_catalogue(tmp_path / "none").entries == read_catalogue(REPO / "models").entries


def test_the_folder_s_entries_replace_whole_ones_and_add_others(tmp_path: Path) -> None:
    found = read(tmp_path, {"sface": {"family": "arcface", "licence": {"id": "own"}}, "mine": GOOD})

    assert (found["sface"].sources, found["sface"].sha256, found["sface"].preprocess.mean) == ((), None, None)
    assert found["mine"].family == "scrfd" and found["yunet"].sha256 is not None


def test_the_override_replaces_single_fields_of_either(tmp_path: Path) -> None:
    read(tmp_path, {"mine": {**GOOD, "threshold": 0.1, "note": "kept"}})
    found = read(tmp_path, {"mine": {"threshold": 0.5}, "sface": {"threshold": 0.9}}, "models.override.json")
    before = read_catalogue(REPO / "models")["sface"]

    assert (found["mine"].threshold, found["mine"].note) == (0.5, "kept")
    assert found["sface"] == before.model_copy(update={"threshold": 0.9})


def test_an_override_may_bring_a_whole_new_entry(tmp_path: Path) -> None:
    assert read(tmp_path, {"mine": GOOD}, "models.override.json")["mine"].family == "scrfd"


def test_an_override_may_take_a_field_back(tmp_path: Path) -> None:
    assert read(tmp_path, {"sface": {"sha256": None}}, "models.override.json")["sface"].sha256 is None


def test_name_and_task_may_be_said_where_they_agree(tmp_path: Path) -> None:
    assert read(tmp_path, {"mine": {**GOOD, "name": "mine", "task": "detection"}})["mine"].task == "detection"


def test_the_order_is_that_of_the_files(tmp_path: Path) -> None:
    names = list(read(tmp_path, {"zzz": GOOD, "sface": {"family": "arcface", "licence": {"id": "own"}}}).entries)

    assert names == [*read_catalogue(REPO / "models").entries, "zzz"]
