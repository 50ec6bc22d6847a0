import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.support import REPO

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]
RUNTIME, DEV = REPO / "requirements.txt", REPO / "requirements-dev.txt"


# `requires-python`, each with the markers that a pin may depend on.
PYTHONS = [
    {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.3", "sys_platform": "linux"}
    for minor in range(11, 15)
]


@dataclass(frozen=True)
class Pin:
    requirement: Requirement
    hashes: frozenset[str]

    @property
    def version(self) -> str:
        (only,) = self.requirement.specifier
        return only.version

    def holds(self, python: dict[str, str]) -> bool:
        return self.requirement.marker is None or self.requirement.marker.evaluate(python)


def pins(path: Path) -> dict[str, list[Pin]]:
    """name → its pins; where there are several, their markers tell them apart."""
    found: dict[str, list[Pin]] = {}
    for line in path.read_text("utf-8").replace("\\\n", " ").splitlines():
        text, *hashes = re.split(r"\s--hash=", line.split("#")[0].strip())
        if text:
            requirement = Requirement(text)
            pin = Pin(requirement, frozenset(digest.strip() for digest in hashes))
            found.setdefault(canonicalize_name(requirement.name), []).append(pin)
    return found


@pytest.mark.parametrize("path", [RUNTIME, DEV], ids=lambda p: p.name)
def test_every_pin_is_one_version_with_hashes(path: Path) -> None:
    for name, several in pins(path).items():
        for pin in several:
            assert [s.operator for s in pin.requirement.specifier] == ["=="], name
            assert pin.hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in pin.hashes), name
        assert all(sum(pin.holds(python) for pin in several) <= 1 for python in PYTHONS), name


@pytest.mark.parametrize(
    ("path", "wanted"),
    [(RUNTIME, PROJECT["dependencies"]), (DEV, PROJECT["optional-dependencies"]["dev"] + PROJECT["dependencies"])],
    ids=["requirements.txt", "requirements-dev.txt"],
)
def test_every_dependency_is_pinned_at_a_version_that_it_admits_on_every_python_fault_18(
    path: Path, wanted: list[str]
) -> None:
    pinned = pins(path)
    for text in wanted:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{path.name} lacks {name}: see CONTRIBUTING.md, Dependencies"
        for python in PYTHONS:
            if requirement.marker is None or requirement.marker.evaluate(python):
                (pin,) = [pin for pin in pinned[name] if pin.holds(python)]
                assert requirement.specifier.contains(pin.version), f"{name} {pin.version}, pyproject wants {text}"


def test_both_files_pin_the_same_versions() -> None:
    runtime, dev = pins(RUNTIME), pins(DEV)

    assert runtime.keys() <= dev.keys()
    for name in runtime:
        for python in PYTHONS:
            one, other = ([(p.version, p.hashes) for p in of[name] if p.holds(python)] for of in (runtime, dev))
            assert one == other, name


def test_every_python_that_the_project_admits_is_asked_about() -> None:
    admitted = SpecifierSet(PROJECT["requires-python"])

    assert [minor for minor in range(8, 30) if admitted.contains(f"3.{minor}.3")] == list(range(11, 15))


@pytest.mark.parametrize("path", [RUNTIME, DEV], ids=lambda p: p.name)
def test_no_index_no_address_and_no_path_is_named(path: Path) -> None:
    text = path.read_text("utf-8")

    assert not re.search(r"--(index-url|extra-index-url|find-links|trusted-host|editable)|(^|\s)-[ief]\s", text)
    assert "://" not in text and not re.search(r"\s@\s|file:|^\.", text, re.MULTILINE)
