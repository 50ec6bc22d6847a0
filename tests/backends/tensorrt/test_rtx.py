"""Engines of every real network, built on this processor by TensorRT for RTX for a GPU that is named; none is run.

`make rtx-test` installs what this needs, or `pytest -m rtx` where it is.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.catalogued import CATALOGUE, prepared, real_file
from tests.networks import dense, model_file, scrfd_heads
from tests.support import TESTDATA
from visage.backends.base import Largest, ModelFile, Preprocess
from visage.backends.tensorrt import build as building
from visage.backends.tensorrt.build import Recipe, build
from visage.backends.tensorrt.cache import EngineCache, Key
from visage.backends.tensorrt.profile import Profile
from visage.backends.tensorrt.session import loaded
from visage.backends.tensorrt.source import Source
from visage.errors import GraphRejected
from visage.zoo.sources import Fetching
from visage.zoo.store import Store

pytestmark = pytest.mark.rtx

TARGET = "SM86"
FILES = sorted((TESTDATA / "models").glob("*.onnx")) if TESTDATA.is_dir() else []
# As published ONNX Runtime alone reads it; prepared it is `sface`.
QUANTISED = "face_recognition_sface_2021dec_int8dq"
ZOO = [name for name in CATALOGUE.entries if real_file(name)] + ["yunet", "sface"]
LARGEST = Largest(4, (640, 480), (640, 640))


@pytest.fixture(scope="module")
def trt() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: make rtx-test")


@pytest.fixture
def seconds(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Prints how long the test took."""
    started = time.monotonic()
    yield
    with capsys.disabled():
        sys.stdout.write(f"\n{request.node.name}: {time.monotonic() - started:.1f} s")


def built(trt: Any, model: ModelFile, *, half: bool = False, **recipe: Any) -> bytes:
    source = Source.read(model)
    profile = Profile.of(source.shape, model)
    return build(trt, source, Recipe(profile, half, target=TARGET, **recipe))[0]


def weights_of(model: ModelFile) -> int:
    return sum(len(tensor.raw_data) for tensor in Source.read(model).graph.graph.initializer)


@pytest.mark.usefixtures("seconds")
@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
@pytest.mark.parametrize("name", ZOO)
def test_every_network_of_the_catalogue_is_built_as_it_is_prepared(
    trt: Any, models_dir: Path, tmp_path: Path, name: str, half: bool
) -> None:
    entry = CATALOGUE[name]
    file = real_file(name)
    ready = Store(Fetching(models_dir)).prepare(entry) if file is None else prepared(entry, file, tmp_path)
    model = ModelFile(name, ready.path, ready.sha256, entry.fed(), stride=entry.stride, largest=LARGEST)
    engine = built(trt, model, half=half)
    assert len(engine) > weights_of(model) / (2 if half else 1)  # its weights are inside


@pytest.mark.usefixtures("seconds")
@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
@pytest.mark.parametrize("file", [one for one in FILES if one.stem != QUANTISED], ids=lambda path: path.stem)
def test_every_file_is_built_as_it_was_published(trt: Any, file: Path, half: bool) -> None:
    feed = Preprocess(layout="nhwc" if "mask" in file.stem else "nchw")
    model = replace(model_file(file, feed), largest=LARGEST)
    engine = built(trt, model, half=half)
    assert len(engine) > weights_of(model) / (2 if half else 1)


@pytest.mark.parametrize("file", [one for one in FILES if one.stem == QUANTISED], ids=lambda path: path.stem)
def test_what_tensorrt_does_not_know_is_rejected_with_its_words(trt: Any, file: Path) -> None:
    with pytest.raises(
        GraphRejected, match=r"TensorRT cannot read .*: Assertion failed: .*zero point is not supported"
    ):
        built(trt, model_file(file))


@pytest.fixture
def detector(tmp_path: Path) -> ModelFile:
    return replace(model_file(dense(tmp_path / "det.onnx", scrfd_heads())), largest=LARGEST)


def test_the_limit_of_scratch_and_the_time_are_taken(
    trt: Any, detector: ModelFile, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_SAY_EVERY", 0.0)
    with caplog.at_level("INFO"):
        built(trt, detector, workspace=64)
    assert any("det: building its engine: Building" in line for line in caplog.messages)
    assert "det: TensorRT engine built: single precision, 1×3×32×32 to 4×3×640×640" in caplog.text


def test_a_profile_for_another_name_is_refused(trt: Any, detector: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    real = building._add_profile

    class Renamed:
        def __init__(self, network: Any) -> None:
            self.network = network

        def get_input(self, index: int) -> Any:
            return type("Tensor", (), {"name": f"not {self.network.get_input(index).name}"})

    monkeypatch.setattr(building, "_add_profile", lambda b, c, network, *rest: real(b, c, Renamed(network), *rest))
    with pytest.raises(GraphRejected, match=r"TensorRT cannot build it .*missing dimensions in profile 0"):
        built(trt, detector)


def test_a_profile_that_shrinks_is_refused_by_us_and_by_tensorrt(trt: Any, detector: ModelFile) -> None:
    source = Source.read(detector)
    shrinking = Profile.of(source.shape, detector)
    object.__setattr__(shrinking, "least", (8, 3, 32, 32))  # past our own check
    with pytest.raises(GraphRejected, match=r"least \(8\) over the usual"):
        replace(shrinking)
    with pytest.raises(GraphRejected, match=r"TensorRT refuses the shapes .*MIN<=OPT<=MAX"):
        build(trt, source, Recipe(shrinking, target=TARGET))


def test_a_profile_that_the_network_cannot_take_is_refused(trt: Any, detector: ModelFile) -> None:
    two = replace(detector, path=dense(detector.path.with_name("two.onnx"), scrfd_heads(), batch=2))
    wrong = Profile((1, 3, 32, 32), (4, 3, 64, 64), (4, 3, 64, 64))
    with pytest.raises(GraphRejected, match=r"TensorRT (cannot build it for|refuses the shapes) 1×3×32×32"):
        build(trt, Source.read(two), Recipe(wrong, target=TARGET))


@pytest.mark.parametrize(
    ("junk", "said"),
    [
        (b"junk" * 100, r"TensorRT cannot read det\.onnx: .*Failed to parse the ONNX model"),
        (b"<html>", r"one input expected, TensorRT finds 0 in det\.onnx"),  # a protobuf of fields that mean nothing
    ],
)
def test_junk_is_rejected(
    trt: Any, detector: ModelFile, junk: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Source, "parsed", lambda *_, half: junk)  # past our own reading
    with pytest.raises(GraphRejected, match=f"^det: {said}"):
        built(trt, detector)


def test_half_precision_is_another_engine_and_half_as_large_fault_11(trt: Any, testdata: Path) -> None:
    model = replace(model_file(testdata / "models" / "centerface.onnx"), largest=LARGEST)
    single, half = (built(trt, model, half=half) for half in (False, True))
    assert len(half) < 0.7 * len(single)


def test_an_engine_is_kept_under_its_key_and_not_opened_where_there_is_no_gpu(trt: Any, detector: ModelFile) -> None:
    source = Source.read(detector)
    profile = Profile.of(source.shape, detector)
    key = Key(f"{trt.__name__} {trt.__version__}", TARGET.lower(), detector.sha256, source.digest, "fp32", profile)
    cache = EngineCache(detector.path.parent, "det", key)
    engines = [cache.obtain(lambda _: (built(trt, detector), b""), lambda data: data) for _ in range(2)]
    assert engines[0] == engines[1] and trt.__version__ in cache.path.name

    from visage.backends.gpu import gpus
    from visage.backends.tensorrt.cache import Unusable
    from visage.backends.tensorrt.library import Words

    if not gpus():
        with pytest.raises(Unusable, match=r"(?i)cuda"):
            loaded(trt, engines[0], source, profile, Words())
    with pytest.raises(Unusable, match=r"(?i)magic|serialization|cuda"):
        loaded(trt, b"junk" * 100, source, profile, Words())
