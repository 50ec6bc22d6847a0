import os
import threading
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bending import Bent
from tests.networks import Embedder, FixedSession, dense, scrfd_heads
from tests.support import REPO, models_folder, threads_since
from visage import selftest
from visage.backends.base import Means, ModelFile
from visage.backends.onnx import open_session
from visage.deadline import Deadline
from visage.errors import ChecksumMismatch, DownloadFailed, GraphRejected, SelfTestFailed
from visage.faces import Floats, Image, Pixels
from visage.families import arcface
from visage.images.decoding import Decoder, Limits
from visage.loader import Computed, Loader
from visage.networks import Loaded
from visage.options import ExtractOptions
from visage.pipeline import FacePipeline
from visage.scheduling import Load
from visage.zoo.catalogue import Entry, InputShape
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching
from visage.zoo.store import Prepared, Store

MIT = {"licence": {"id": "MIT"}}
PICTURE = Decoder(Limits(10**6, 10**6)).decode((REPO / "src/visage/data/selftest.png").read_bytes())


def file_of(entry: Entry, file: Prepared) -> ModelFile:
    return ModelFile(entry.name, file.path, file.sha256, entry.fed(), 1, entry.stride)


class Watched:
    """A session that knows whether it was closed."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.sizes, self.max_batch, self.streams = inner.sizes, inner.max_batch, inner.streams
        self.closed = False
        self.shapes: list[tuple[int, ...]] = []

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        assert not self.closed
        self.shapes.append(pixels.shape)
        answer: tuple[Floats, ...] = self._inner.run(pixels)
        return answer

    def close(self) -> None:
        self.closed = True
        self._inner.close()


class House:
    """A models folder with a detector and an embedder of a few kilobytes, and a loader of it."""

    def __init__(self, folder: Path, **embedder: Any) -> None:
        folder.mkdir(exist_ok=True)
        files = {"near": dense(folder / "d.onnx", scrfd_heads()), "one": Embedder.of(6).save(folder / "e.onnx")}
        entries = {"near": {"family": "scrfd", **MIT}, "one": {"family": "arcface", **MIT, **embedder}}
        self.store = Store(Fetching(models_folder(folder / "models", entries, files)))
        self.catalogue = read_catalogue(self.store.folder)
        self.sessions: list[Watched] = []
        self.batches: list[int] = []

    def loader(
        self,
        opener: Callable[[ModelFile], Any] = open_session,
        computed: Computed | None = None,
        oracle: Callable[[ModelFile], Any] = open_session,
        file: Callable[[Entry, Prepared], ModelFile] = file_of,
    ) -> Loader:
        def watched(file: ModelFile, /) -> Watched:
            self.sessions.append(Watched(opener(file)))
            return self.sessions[-1]

        engines = dict.fromkeys(("near", "one"), computed or Computed("onnx on cpu", oracle=True))
        return Loader(self.store, watched, PICTURE, file=file, load=Load(1), engines=engines, oracle=oracle)

    def model(self, name: str) -> Loaded:
        return Loaded.prepared(self.catalogue[name], self.store)

    def embedding(self, model: Loaded, loader: Loader | None = None) -> Any:
        chosen = loader or self.loader()
        return chosen.crops(model, "embedding", max_batch=4, observe_batch=self.batches.append)

    def detection(self, model: Loaded, **how: Any) -> Any:
        how = {"max_size": (96, 64), **how}
        return self.loader().detection(model, max_batch=1, largest=2048, observe_batch=self.batches.append, **how)


def test_a_detector_is_warm_when_it_is_handed_over_and_closed_after(tmp_path: Path) -> None:
    house, before = House(tmp_path), threading.enumerate()
    with house.detection(house.model("near")) as stage:
        assert len(house.batches) == 3 and len(threads_since(before)) == 1
        found = FacePipeline(stage).faces(Image(PICTURE.pixels), ExtractOptions(0.5, embedding=False), Deadline(100))
        assert found.faces and not house.sessions[0].closed
    assert house.sessions[0].closed and threads_since(before) == []


@pytest.mark.parametrize("size", [(96, 64), (640, 480), (480, 640), (320, 320), (640, 32)])
def test_a_detector_has_run_at_its_largest_before_it_is_handed_over(tmp_path: Path, size: tuple[int, int]) -> None:
    house = House(tmp_path)
    with house.detection(house.model("near"), max_size=size):
        assert (1, size[1], size[0], 3) in house.sessions[0].shapes[1:]  # the first is the self-test's


@pytest.mark.parametrize(("square", "shape"), [(False, (1, 64, 64, 3)), (True, (1, 64, 96, 3))])
def test_a_detector_pads_its_pictures_as_it_is_told(tmp_path: Path, square: bool, shape: tuple[int, ...]) -> None:
    house = House(tmp_path)
    with house.detection(house.model("near"), square=square) as stage:
        FacePipeline(stage).faces(Image(PICTURE.pixels), ExtractOptions(0.5, embedding=False), Deadline(100))
    assert house.sessions[0].shapes[-1] == shape


def test_a_networks_stride_is_its_catalogue_entrys(tmp_path: Path) -> None:
    house = House(tmp_path)
    entry = house.catalogue["near"].model_copy(update={"input": InputShape(stride=64)})
    with house.detection(Loaded.prepared(entry, house.store), max_size=(200, 100)) as stage:
        FacePipeline(stage).faces(Image(PICTURE.pixels), ExtractOptions(0.5, embedding=False), Deadline(100))
    assert house.sessions[0].shapes[-1] == (1, 64, 64, 3)
    assert all(side % 64 == 0 for shape in house.sessions[0].shapes[1:] for side in shape[1:3])


def test_a_network_of_crops_is_warm_when_it_is_handed_over_and_closed_after(tmp_path: Path) -> None:
    house, before = House(tmp_path), threading.enumerate()
    with house.embedding(house.model("one")) as stage:
        assert house.batches == [1, 2, 4, 1]
        crops = np.zeros((5, 112, 112, 3), np.uint8)
        assert [len(answer.vector) for answer in stage.run(crops, Deadline(100))] == [6] * 5
    assert house.sessions[0].closed and threads_since(before) == []


@pytest.mark.parametrize("fault", ["self-test", "shape"])
def test_a_network_that_is_not_served_is_closed(tmp_path: Path, fault: str) -> None:
    known = {"canonical": {"numbers": [9.0] * 5}} if fault == "self-test" else {}
    house = House(tmp_path, **known)
    loader = house.loader(open_session if known else lambda _: FixedSession(np.zeros((1, 2, 3), np.float32)))
    said = (
        r"^one, computed by onnx on cpu, failed its self-test: number 0 is -?0\.\d+, not 9" if known else "one output"
    )
    with pytest.raises(GraphRejected, match=said), house.embedding(house.model("one"), loader):
        pass
    assert [session.closed for session in house.sessions] == [True]


def halves(entry: Entry, file: Prepared) -> ModelFile:
    return replace(file_of(entry, file), means=Means(fp16=True))


@pytest.mark.parametrize(("by", "served"), [(0.0, True), (1.0, False)])
def test_without_known_numbers_a_network_is_held_against_the_oracle_once(
    tmp_path: Path, by: float, served: bool
) -> None:
    house, asked = House(tmp_path), []

    def oracle(file: ModelFile, /) -> Watched:
        asked.append((Watched(open_session(file)), file.means))
        return asked[-1][0]

    bent = house.loader(lambda file: Bent(open_session(file), by), Computed("other"), oracle, halves)
    for _ in range(2):
        said = pytest.raises(SelfTestFailed, match=r"^one, computed by other, failed .* as by ONNX Runtime on the CPU")
        with nullcontext() if served else said, house.embedding(house.model("one"), bent):
            pass
    ((session, means),) = asked
    assert session.closed and means == Means()  # as it is computed everywhere


def test_the_oracle_itself_is_held_against_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def nobody(_: ModelFile, /) -> Any:
        raise AssertionError("asked")

    house = House(tmp_path)
    with caplog.at_level("INFO"), house.embedding(house.model("one"), house.loader(oracle=nobody)):
        assert "one: the catalogue has no known numbers" in caplog.text


@pytest.mark.parametrize("half", [False, True])
def test_known_numbers_are_held_less_closely_where_half_precision_computes(tmp_path: Path, half: bool) -> None:
    first = House(tmp_path / "a")
    with closing(open_session(file_of(first.catalogue["one"], first.model("one").file))) as session:
        numbers = selftest.embedder_numbers(arcface.build(session, {}), PICTURE)
    numbers[0] += 0.004
    house = House(tmp_path / "b", canonical={"numbers": numbers, "tolerance": 0.001})
    said = pytest.raises(SelfTestFailed, match=r"± 0\.001; ")
    loader = house.loader(computed=Computed("other", half=half))
    with nullcontext() if half else said, house.embedding(house.model("one"), loader):
        pass


def test_a_file_that_was_replaced_since_the_start_does_not_answer_under_its_name(tmp_path: Path) -> None:
    house = House(tmp_path)
    model = house.model("one")
    Embedder.of(6, seed=4).save(model.file.path)
    with pytest.raises(ChecksumMismatch, match=r"^one: .* is another file than at the start .*; restart the service"):
        house.embedding(model).__enter__()
    assert house.sessions == []


def test_the_same_file_copied_anew_is_as_good(tmp_path: Path) -> None:
    house = House(tmp_path)
    model = house.model("one")
    os.utime(model.file.path, ns=(1, 1))
    with house.embedding(model):
        assert len(house.sessions) == 1


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    house = House(tmp_path)
    model = house.model("one")
    model.file.path.unlink()
    with pytest.raises(DownloadFailed, match=r"^one: no file at"):
        house.embedding(model).__enter__()
