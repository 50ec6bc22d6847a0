import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPO
from visage.backends.base import Preprocess
from visage.errors import ConfigurationError, UnknownFamily, UnknownModel
from visage.families import FAMILIES
from visage.zoo import catalogue
from visage.zoo.catalogue import Catalogue, parse_catalogue, read_catalogue
from visage.zoo.graph import REWRITES

GOOD: dict[str, Any] = {"family": "scrfd", "licence": {"id": "MIT"}}


def read(folder: Path, content: Any) -> Catalogue:
    (folder / "models.json").write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return read_catalogue(folder)


# -- the one that is shipped --------------------------------------------------------------------------------------

SHIPPED = read_catalogue(REPO / "models")


@pytest.mark.parametrize("name", SHIPPED.entries)
def test_every_shipped_entry_names_what_exists_fault_15(name: str) -> None:
    entry = SHIPPED[name]

    assert entry.family in FAMILIES
    assert set(entry.rewrites) <= set(REWRITES)
    assert entry.fed().std > 0
    assert entry.sha256 is None or (len(entry.sha256) == 64 and int(entry.sha256, 16))
    assert entry.sources == () or entry.sha256 is not None  # what is fetched is verified


def test_the_shipped_defaults_may_be_used_commercially_and_know_their_numbers() -> None:
    for name in ("yunet", "sface"):
        assert SHIPPED[name].licence.commercial is True
        assert SHIPPED[name].canonical is not None


def test_networks_for_research_only_say_so_and_are_not_fetched() -> None:
    research = [e for e in SHIPPED.entries.values() if "NC" in e.licence.id]

    assert research and all(e.licence.commercial is False and e.sources == () for e in research)


# -- preprocessing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "other", "expected"),
    [
        ("scrfd", {}, Preprocess(127.5, 128.0, "rgb")),
        ("yunet", {}, Preprocess(0.0, 1.0, "bgr")),
        ("arcface", {}, Preprocess(127.5, 127.5, "rgb")),
        ("arcface", {"mean": 0.0, "std": 1.0}, Preprocess(0.0, 1.0, "rgb")),
        ("arcface", {"colours": "bgr"}, Preprocess(127.5, 127.5, "bgr")),
        ("scrfd", {"std": 2.5}, Preprocess(127.5, 2.5, "rgb")),
    ],
)
def test_an_entry_is_fed_as_its_family_but_for_what_it_says(
    family: str, other: dict[str, Any], expected: Preprocess
) -> None:
    entry = parse_catalogue({"a": {**GOOD, "family": family, "preprocess": other}})["a"]

    assert entry.fed() == expected


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


def test_a_catalogue_that_is_no_text_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"models\.json"):
        read_catalogue(tmp_path)


def test_no_catalogue_anywhere_is_one_line_that_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "_packaged", (tmp_path / "none").read_text)
    with pytest.raises(ConfigurationError, match=r"models\.json cannot be read .*MODELS_DIR"):
        read_catalogue(tmp_path)


# -- finding ------------------------------------------------------------------------------------------------------

TWO = parse_catalogue(
    {"finder": GOOD, "other": GOOD, "knower": {"family": "arcface", "licence": {"id": "MIT"}}},
)


def test_entries_are_found_by_name_and_task() -> None:
    assert TWO.find("other", "detection", "DET_NAME").name == "other"
    assert TWO.find("knower", "recognition", "REC_NAME").name == "knower"
    assert list(TWO.entries) == ["finder", "other", "knower"]


def test_an_unknown_model_is_answered_with_those_of_its_task() -> None:
    with pytest.raises(
        UnknownModel, match=r"^DET_NAME='x' is not in the catalogue; for detection there are: finder, other$"
    ):
        TWO.find("x", "detection", "DET_NAME")
    with pytest.raises(UnknownModel, match="known: finder, other, knower"):
        TWO["x"]


def test_a_model_of_another_task_is_refused_by_the_setting_that_named_it() -> None:
    with pytest.raises(
        UnknownModel, match=r"^REC_NAME='finder' is a detection model; REC_NAME names one for recognition$"
    ):
        TWO.find("finder", "recognition", "REC_NAME")
