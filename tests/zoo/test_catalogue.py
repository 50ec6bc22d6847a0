import re
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support import REPO
from visage.backends.base import Preprocess
from visage.errors import UnknownModel
from visage.families import FAMILIES, family
from visage.zoo.catalogue import Entry, LocalFile, WebFile
from visage.zoo.graph import REWRITES
from visage.zoo.licences import needs_acceptance
from visage.zoo.reading import parse_catalogue, read_catalogue

GOOD: dict[str, Any] = {"family": "scrfd", "licence": {"id": "MIT"}}


# -- the one that is shipped --------------------------------------------------------------------------------------

SHIPPED = read_catalogue(REPO / "models")


@pytest.mark.parametrize("name", SHIPPED.entries)
def test_every_shipped_entry_names_what_exists_fault_15(name: str) -> None:
    entry = SHIPPED[name]

    assert entry.family in FAMILIES
    assert set(entry.graph_rewrites()) <= set(REWRITES)
    assert entry.fed().std > 0
    assert entry.sha256 is None or (len(entry.sha256) == 64 and int(entry.sha256, 16))
    assert set(family(entry.family).rewrites) <= set(REWRITES)
    assert entry.licence.id == entry.licence.id.lower() and " " not in entry.licence.id


def test_the_shipped_defaults_may_be_used_commercially_and_know_their_numbers() -> None:
    for name in ("yunet", "sface"):
        assert SHIPPED[name].licence.commercial is True
        assert SHIPPED[name].canonical is not None


def test_the_shipped_defaults_are_verified_and_ask_for_nothing() -> None:
    for name in ("yunet", "sface"):
        assert SHIPPED[name].sha256 is not None and not needs_acceptance(SHIPPED[name].licence.id)


def test_networks_for_research_only_say_so_and_are_asked_about() -> None:
    research = [e for e in SHIPPED.entries.values() if "nc" in re.split(r"[^a-z]", e.licence.id)]

    assert research and all(e.licence.commercial is False and needs_acceptance(e.licence.id) for e in research)


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


# -- fields -------------------------------------------------------------------------------------------------------


def entry(**fields: Any) -> Entry:
    return Entry(name="a", **{**GOOD, **fields})


def test_hashes_and_licences_are_read_in_any_case() -> None:
    found = entry(sha256="AB" * 32, md5="Cd" * 16, licence={"id": "Apache-2.0"})

    assert (found.sha256, found.md5, found.licence.id) == ("ab" * 32, "cd" * 16, "apache-2.0")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"sha256": "ab" * 31}, "sha256"),
        ({"sha256": "zz" * 32}, "sha256"),
        ({"md5": "ab" * 32}, "md5"),
        ({"bytes": 0}, "bytes"),
        ({"input": {}}, "input"),
        ({"input": {"size": [112, 112], "stride": 32}}, "input"),
        ({"batch": "many"}, "batch"),
        ({"licence": {"id": ""}}, "licence"),
        ({"sources": [{"url": "ftp://host/a"}]}, "sources"),
        ({"sources": [{"url": "http://a b"}]}, "sources"),
        ({"sources": [{"gdrive": "https://drive.google.com/file/d/1"}]}, "sources"),
        ({"sources": [{"zip": "http://host/a.zip"}]}, "sources"),
        ({"sources": [{"url": "http://host/a", "path": "a"}]}, "sources"),
        ({"sources": [{}]}, "sources"),
        ({"sources": ["http://host/a"]}, "sources"),
    ],
)
def test_what_cannot_be_is_refused_by_field(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        entry(**fields)
    assert caught.value.errors()[0]["loc"][0] == where


@pytest.mark.parametrize("name", ["", "..", ".a", "a/b", "-a", "a b", "a\n", "a\x00b", "é", "a" * 101])
def test_a_name_that_is_no_file_s_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Entry(name=name, **GOOD)


def test_an_entry_survives_its_own_json() -> None:
    whole = entry(sources=[{"url": "http://host/a"}, {"path": "b", "md5": "ab" * 16}], input={"size": [112, 96]})

    assert Entry.model_validate_json(whole.model_dump_json()) == whole
    assert whole.sources == (WebFile(url="http://host/a"), LocalFile(path="b", md5="ab" * 16))


def test_rewrites_are_the_family_s_unless_the_entry_says_others() -> None:
    assert entry().graph_rewrites() == family("scrfd").rewrites
    assert entry(rewrites=[]).graph_rewrites() == ()
    assert entry(rewrites=["dynamic_batch"]).graph_rewrites() == ("dynamic_batch",)


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
