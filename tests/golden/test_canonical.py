"""The catalogue's known numbers of each network, and that they pin how it is fed.

What they cannot tell: 127.5 from 128 as the divisor, which moves them by less than their tolerance.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.catalogued import opened, real_file
from tests.support import REPO, TESTDATA
from visage.backends.base import Preprocess
from visage.errors import GraphRejected
from visage.faces import Image
from visage.images.decoding import Decoder, Limits
from visage.selftest import Known, check, detector_numbers, embedder_numbers, gender_age_numbers, mask_numbers
from visage.zoo.catalogue import Canonical, Entry, PackageFile
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import data_file
from visage.zoo.transfer import digest

CATALOGUE = read_catalogue(REPO / "models")
KNOWN = [entry.name for entry in CATALOGUE.entries.values() if entry.canonical]
PICTURE = Decoder(Limits()).decode(data_file("selftest.png").read_bytes())
NUMBERS: dict[str, Callable[[Any, Image], list[float]]] = {
    "detection": detector_numbers,
    "recognition": embedder_numbers,
    "attributes-gender-age": gender_age_numbers,
    "attributes-mask": mask_numbers,
}

# One network in two files that are no catalogue models: fed as each of the two kinds of recogniser is.
MOBILEFACENET = Canonical(numbers=(-0.0522, 0.153, 0.1077, 0.0085, 0.051), tolerance=0.005)
KINDS = {"mobilefacenet_arcface_y1": "arcface_r100_v1", "mobilefacenet_arcface_y1_torchstyle": "glintr100"}


def _embedded(entry: Entry) -> Path | None:
    source = entry.sources[0] if entry.sources else None
    return Path(str(files(source.package) / source.file)) if isinstance(source, PackageFile) else None


@pytest.fixture(scope="module", params=[*KNOWN, *KINDS])
def known(request: pytest.FixtureRequest) -> Iterator[tuple[Entry, Canonical, Path]]:
    """An entry, its known numbers and a file of its weights."""
    name = request.param
    entry = CATALOGUE[KINDS.get(name, name)]
    file = (None if name in KINDS else _embedded(entry)) or real_file(name)
    if file is None:
        pytest.skip(f"{TESTDATA.parent.name}/testdata is not beside the project: weights of {name} are not at hand")
    numbers = MOBILEFACENET if name in KINDS else entry.canonical
    assert numbers is not None
    yield entry, numbers, file


@pytest.fixture(scope="module")
def held(known: tuple[Entry, Canonical, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Hold the network, fed as its entry says or otherwise, to its known numbers."""
    entry, numbers, file = known
    folder = tmp_path_factory.mktemp("models")

    def hold(fed: Preprocess | None = None) -> None:
        network = opened(entry, file, folder, fed)
        check(entry.name, NUMBERS[entry.task](network, PICTURE), Known(numbers.numbers, numbers.tolerance), "onnx")

    return hold


def test_a_network_answers_its_known_numbers(held: Callable[..., None]) -> None:
    held()


@pytest.mark.parametrize("wrong", ["colours", "mean", "std", "mean and std"])
def test_known_numbers_pin_how_a_network_is_fed(
    known: tuple[Entry, Canonical, Path], held: Callable[..., None], wrong: str
) -> None:
    fed = known[0].fed()
    mean, std = 0.0 if fed.mean else 127.5, 128.0 if fed.std == 1 else 1.0
    others = {
        "colours": replace(fed, colours="bgr" if fed.colours == "rgb" else "rgb"),
        "mean": replace(fed, mean=mean),
        "std": replace(fed, std=std),
        "mean and std": replace(fed, mean=mean, std=std),
    }
    with pytest.raises(GraphRejected, match="failed its self-test: "):
        held(others[wrong])


def test_known_numbers_are_those_of_weights_that_the_catalogue_names(known: tuple[Entry, Canonical, Path]) -> None:
    entry, numbers, file = known
    if numbers is not MOBILEFACENET:
        assert digest(file) == (numbers.sha256 or entry.sha256)


def test_every_network_whose_weights_are_at_hand_has_known_numbers(testdata: Path) -> None:
    assert [name for name in CATALOGUE.entries if real_file(name) and name not in KNOWN] == []
    assert sum(real_file(name) is not None for name in KNOWN) == 10
