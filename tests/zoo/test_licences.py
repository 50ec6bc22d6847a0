import pytest

from tests.support import LICENCES, REPO
from visage.errors import ConfigurationError, LicenceNotAccepted
from visage.zoo.licences import MEANINGS, PERMISSIVE, check_flags, needs_acceptance, require
from visage.zoo.reading import read_catalogue


@pytest.mark.parametrize("licence", ["mit", "MIT", "Apache-2.0", "bsd-3-clause", "own", "cc0-1.0"])
def test_permissive_licences_ask_for_nothing(licence: str) -> None:
    assert not needs_acceptance(licence)
    require("a", licence, [])


@pytest.mark.parametrize(
    "licence", ["insightface-nc", "gpl-3.0", "GPL-3.0", "unstated", "cc-by-nc-4.0", "agpl-3.0", "mit-like"]
)
def test_all_others_ask_and_say_what_to_set(licence: str) -> None:
    with pytest.raises(LicenceNotAccepted) as caught:
        require("net", licence, [])
    said = str(caught.value)
    assert said.startswith("net: ") and said.endswith(f"set ACCEPT_LICENCES={licence.lower()}") and "\n" not in said
    assert MEANINGS.get(licence.lower(), "see the catalogue") in said
    require("net", licence, ["other", licence.lower()])


def test_what_to_set_keeps_what_is_set() -> None:
    with pytest.raises(LicenceNotAccepted, match=r"ACCEPT_LICENCES=gpl-3\.0,unstated$"):
        require("net", "unstated", ["gpl-3.0"])


def test_what_to_set_is_a_setting_that_is_taken() -> None:
    with pytest.raises(LicenceNotAccepted) as caught:
        require("net", "unstated", ["gpl-3.0"])
    flags = str(caught.value).rpartition("ACCEPT_LICENCES=")[2].split(",")
    check_flags(flags, [])
    require("net", "unstated", flags)


def test_a_misspelt_licence_is_answered_with_those_that_ask() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_flags(["gpl-3.0", "insightface"], ["mit", "CC-BY-NC-4.0"])
    said = str(caught.value)
    assert "'insightface'" in said and ", ".join(sorted({*filter(needs_acceptance, MEANINGS), "cc-by-nc-4.0"})) in said
    assert "mit" not in said.partition("those that ask")[2]


def test_any_licence_of_the_catalogue_may_be_named() -> None:
    check_flags(["cc-by-nc-4.0", "mit", "own"], ["CC-BY-NC-4.0"])
    check_flags(LICENCES, (entry.licence.id for entry in read_catalogue(REPO / "models").entries.values()))


def test_ids_are_lower_case_and_those_that_ask_have_a_meaning() -> None:
    assert all(licence == licence.lower() for licence in {*PERMISSIVE, *MEANINGS})
    assert {"insightface-nc", "gpl-3.0", "unstated"} <= set(filter(needs_acceptance, MEANINGS))
