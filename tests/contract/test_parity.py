"""Every backend over every network at hand sees the same faces as ONNX Runtime in single precision, and knows them alike.

Pictures and weights are the test data's where they are at hand, else the project's own and the embedded pair. Triton's
part needs a server: tests/contract/test_triton.py holds it to the same bounds.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from tests.catalogued import CATALOGUE, prepared, real_file
from tests.parity import HALF, SINGLE, Bounds, apart, unlike
from tests.runnable import GPUS, RUNNABLE
from tests.support import REPO, TESTDATA
from visage.backends import ORACLE, backend
from visage.backends.base import Largest, Means, ModelFile, Preprocess
from visage.backends.half import halved
from visage.engines.agreement import require_same
from visage.faces import Detections, ImageBatch, Pixels
from visage.families import family
from visage.families.base import Detector
from visage.geometry.letterbox import letterbox
from visage.images.decoding import Decoder, Limits
from visage.selftest import FACE
from visage.zoo.sources import Fetching, data_file
from visage.zoo.store import Store

EMBEDDED = ("yunet", "sface")
# One network in two files that are none of the catalogue's: fed as each of the two kinds of recogniser is.
FACENETS = {
    "mobilefacenet_arcface_y1": Preprocess(),
    "mobilefacenet_arcface_y1_torchstyle": family("arcface").preprocess,
}

AT_HAND = [*EMBEDDED, *(name for name in CATALOGUE.entries if real_file(name))]
DETECTORS = [name for name in AT_HAND if CATALOGUE[name].task == "detection"]
EMBEDDERS = [name for name in AT_HAND if CATALOGUE[name].task == "recognition"]
EMBEDDERS += [name for name in FACENETS if real_file(name)]
REST = [name for name in AT_HAND if name not in (*DETECTORS, *EMBEDDERS)]

SIZES = [(640, 640), (640, 384), (320, 480)]
TOGETHER = 4
THRESHOLD = 0.5


@dataclass(frozen=True)
class Way:
    """A backend, and whether it computes in half precision.

    On this machine's cores that is done by a file in half precision; others are told to.
    """

    engine: str
    half: bool = False

    def __str__(self) -> str:
        return f"{self.engine}-fp16" if self.half else self.engine

    @property
    def bounds(self) -> Bounds:
        return HALF if self.half else SINGLE


ORIGINAL = Way(ORACLE)
WAYS = [Way(name, half) for half in (False, True) for name in RUNNABLE if Way(name, half) != ORIGINAL]
ON_GPUS = [pytest.param(Way(one.values[0], half), marks=one.marks) for half in (False, True) for one in GPUS]
every_way = pytest.mark.parametrize("way", [*WAYS, *ON_GPUS], ids=str)


class Zoo:
    """Every network at hand, each way; opened when first asked for."""

    def __init__(self, models_dir: Path, folder: Path) -> None:
        self._models_dir = models_dir
        self._folder = folder
        self._opened: dict[tuple[str, Way], Any] = {}

    def network(self, name: str, way: Way) -> Any:
        """As its family's object."""
        if (name, way) not in self._opened:
            kind, params = ("arcface", {}) if name in FACENETS else (CATALOGUE[name].family, CATALOGUE[name].params)
            session = backend(way.engine)(self._file(name, way))
            self._opened[name, way] = family(kind).build(session, params)
        return self._opened[name, way]

    def _file(self, name: str, way: Way) -> ModelFile:
        file = replace(self._prepared(name), largest=Largest(TOGETHER, (640, 480), (640, 640)))
        if way.half and way.engine in RUNNABLE:
            path = self._folder / f"{name}.half.onnx"
            if not path.exists():
                onnx.save(halved(onnx.load(file.path)), path)
            return replace(file, path=path)
        return replace(file, means=Means(fp16=way.half))

    def _prepared(self, name: str) -> ModelFile:
        if name in EMBEDDED:
            ready, fed = Store(Fetching(self._models_dir)).prepare(CATALOGUE[name]), CATALOGUE[name].fed()
            return ModelFile(name, ready.path, ready.sha256, fed, threads=2)
        file = real_file(name)
        assert file is not None
        if name in FACENETS:
            return ModelFile(name, file, "0" * 64, FACENETS[name], threads=2)
        ready = prepared(CATALOGUE[name], file, self._folder)
        return ModelFile(name, ready.path, ready.sha256, CATALOGUE[name].fed(), threads=2)

    @lru_cache  # noqa: B019  one zoo lives as long as the tests of this module do
    def expected(self, name: str, size: tuple[int, int], pictures: "Pictures") -> list[Detections]:
        """What the original finds."""
        return detected(self.network(name, ORIGINAL), size, pictures)

    @cached_property
    def faces(self) -> list[tuple[Pixels, Detections]]:
        """Pictures with the faces that YuNet finds in them."""
        pictures = Pictures.at_hand("verify", every=3)
        return list(zip(pictures.pixels, self.expected("yunet", (640, 640), pictures), strict=True))


@dataclass(frozen=True)
class Pictures:
    """Some pictures' files; the project's own come first."""

    paths: tuple[Path, ...]

    @classmethod
    def at_hand(cls, *folders: str, every: int = 1) -> "Pictures":
        """The project's own, and each so many-th of these folders of the test data."""
        theirs = [path for folder in folders for path in sorted((TESTDATA / "images" / folder).glob("*.*"))]
        return cls((*sorted((REPO / "misc" / "images").glob("*.jpg")), *theirs[::every]))

    @property
    def pixels(self) -> list[Pixels]:
        """Each uint8 (h, w, 3), the self-test's before all."""
        files = [data_file("selftest.png").read_bytes(), *(path.read_bytes() for path in self.paths)]
        return [Decoder(Limits()).decode(file).pixels for file in files]

    @property
    def names(self) -> list[str]:
        return ["selftest.png", *(path.name for path in self.paths)]


def detected(detector: Detector, size: tuple[int, int], pictures: Pictures) -> list[Detections]:
    """The faces of each picture fitted into `size`, so many together in a run."""
    found: list[Detections] = []
    fitted = [letterbox(pixels, size) for pixels in pictures.pixels]
    for start in range(0, len(fitted), TOGETHER):
        some = fitted[start : start + TOGETHER]
        batch = ImageBatch(np.stack([pixels for pixels, _ in some]), np.array([scale for _, scale in some]))
        found += detector.detect(batch, np.full(len(some), THRESHOLD, np.float32))
    return found


@pytest.fixture(scope="module")
def zoo(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(models_dir, tmp_path_factory.mktemp("zoo"))


def test_there_is_something_to_compare() -> None:
    assert Way("onnx", half=True) in WAYS and {"yunet", "sface"} <= {*DETECTORS, *EMBEDDERS}
    if TESTDATA.is_dir():
        assert (len(DETECTORS), len(EMBEDDERS), len(REST)) == (9, 3, 2)
        assert len(Pictures.at_hand("detect", "wider").paths) == 3 + 36 + 36


@every_way
@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_find_the_same_faces(zoo: Zoo, name: str, way: Way) -> None:
    other = zoo.network(name, way)
    pictures = Pictures.at_hand("detect", "wider", every=2 if name in EMBEDDED else 9)
    sizes = {other.sizes.nearest(size): pictures if size == SIZES[0] else Pictures.at_hand() for size in SIZES[::-1]}
    for size, shown in sizes.items():
        known = zoo.expected(name, size, shown)
        assert len(known[0]) == 1 and max(map(len, known)) > 10
        assert apart(shown.names, known, detected(other, size, shown), THRESHOLD, way.bounds) == []


@every_way
@pytest.mark.parametrize("name", EMBEDDERS)
def test_embeddings_are_the_same(zoo: Zoo, name: str, way: Way) -> None:
    oracle, other = zoo.network(name, ORIGINAL), zoo.network(name, way)
    crops = np.concatenate([oracle.crop.cut(pixels, found) for pixels, found in zoo.faces if len(found)])
    assert len(crops) > 20
    for some in (crops[i : i + TOGETHER] for i in range(0, len(crops), TOGETHER)):
        known = oracle.predict(some)
        assert unlike(known, other.predict(some), way.bounds) == []
    assert unlike(known[-1:], other.predict(crops[-1:]), way.bounds) == []  # and one alone


@every_way
@pytest.mark.parametrize("name", REST)
def test_attributes_come_of_the_same_numbers(zoo: Zoo, name: str, way: Way) -> None:
    oracle, other = zoo.network(name, ORIGINAL), zoo.network(name, way)
    crops = oracle.crop.cut(Pictures(()).pixels[0], FACE)
    crops = np.concatenate([crops, crops[:, :, ::-1], cv2.blur(crops[0], (9, 9))[None]])
    shown = np.stack([cv2.resize(crop, oracle._session.sizes.fixed) for crop in crops])
    require_same(oracle._session.run(shown), other._session.run(shown), half=way.half)


# -- the bounds can be exceeded -------------------------------------------------------------------------------------


def moved(found: Detections, **by: float) -> Detections:
    return Detections(
        found.boxes + np.float32(by.get("box", 0)),
        found.scores + np.float32(by.get("score", 0)),
        found.landmarks + np.float32(by.get("landmark", 0)),
    )


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ({"box": 1.0}, "boxes overlap by 0.9"),
        ({"landmark": 1.5}, "landmarks off by 0.0"),
        ({"score": 0.002}, "scores off by 0.002"),
        ({"box": 100.0}, "1 of 1 faces are not there"),
    ],
    ids=str,
)
def test_what_is_further_apart_is_said(by: dict[str, float], said: str) -> None:
    found = apart(["a"], [FACE], [moved(FACE, **by)], THRESHOLD, SINGLE)
    assert len([line for line in found if line.startswith(f"a: {said}")]) == 2  # seen from either side


def test_many_small_differences_are_said() -> None:
    found = apart(["a"] * 9, [FACE] * 9, [moved(FACE, box=0.2)] * 9, THRESHOLD, SINGLE)
    assert len(found) == 1 and found[0].startswith("boxes overlap by 0.99")


def test_only_a_face_at_the_threshold_may_be_seen_by_one_alone() -> None:
    for score, missed in ((0.5005, 0), (0.502, 1)):
        faint = Detections(FACE.boxes, np.array([score], np.float32), FACE.landmarks)
        for one, other in ((faint, Detections.none()), (Detections.none(), faint)):
            assert len(apart(["a"], [one], [other], THRESHOLD, SINGLE)) == missed
