import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.engines import Engine
from tests.networks import Embedder
from tests.support import models_folder
from visage.backends.base import Means, ModelFile
from visage.cores import Cores
from visage.engines import choosing
from visage.engines import race as racing
from visage.engines.choosing import Choosing
from visage.engines.race import Work
from visage.engines.record import this_machine
from visage.engines.standing import Standing
from visage.errors import BackendUnavailable, ModelFileError
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching
from visage.zoo.store import Store

WORK = Work((112, 112), (1, 4))
PICTURE = np.full((50, 40, 3), 90, np.uint8)


class House:
    """A network in a models folder, and two engines for it whose speed is told, not measured."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files = {"one": Embedder.of(6).save(folder / "e.onnx")}
        entries = {"one": {"family": "arcface", "licence": {"id": "MIT"}}}
        self.store = Store(Fetching(models_folder(folder / "models", entries, files)))
        self.entry = read_catalogue(self.store.folder)["one"]
        self.engines = {"onnx": Engine(), "openvino": Engine()}
        self.versions = {"onnx": "1", "openvino": "2"}
        self.ms = {"onnx": 10.0, "openvino": 5.0}
        self.races = 0
        monkeypatch.setattr(choosing, "installed", lambda: dict(self.versions))
        monkeypatch.setattr(choosing, "backend", self._backend)
        monkeypatch.setattr(racing, "_measured", self._measured)

    @property
    def note(self) -> Path:
        return self.store.path("one").with_suffix(".engines.json")

    def choose(
        self,
        wanted: str = "auto",
        *,
        again: bool = False,
        work: Work = WORK,
        weights: str = "a",
        means: Means = Means(),  # noqa: B008  it is frozen
    ) -> Standing:
        file = self.store.prepare(self.entry)
        model = ModelFile("one", file.path, weights * 64, self.entry.fed(), threads=1, means=means)
        return Choosing(wanted, self.store, PICTURE, again).engine(self.entry, model, work)

    def _backend(self, name: str) -> Any:
        if name not in self.engines:
            raise BackendUnavailable(f"{name} is broken")
        return self.engines[name]

    def _measured(self, _: str, sessions: Any, pixels: Any, __: float) -> dict[str, tuple[float, float]]:
        self.races += len(pixels) == 1
        return {name: (self.ms[name], 0.02) for name in sessions}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_named_backend_always_wins_and_nothing_is_measured(house: House, name: str) -> None:
    house.ms[name] = 1000.0
    assert house.choose(name) == Standing(name, "named")
    assert house.races == 0 and not house.note.exists() and house.engines[name].opened == []


def test_where_one_engine_is_installed_nothing_is_measured_and_nothing_is_written(house: House) -> None:
    house.versions = {"onnx": "1"}
    assert house.choose() == Standing("onnx", "the only one installed")
    assert house.races == 0 and not house.note.exists()


def test_the_winner_is_remembered_with_what_was_measured(house: House) -> None:
    first, second = house.choose(), house.choose()

    assert (first.engine, first.why, second.engine, second.why) == ("openvino", "measured", "openvino", "remembered")
    assert first.timings == second.timings and house.races == 1
    said = json.loads(house.note.read_text("utf-8"))[this_machine()]
    assert said["timings"]["onnx"][0] == {"threads": 1, "batch": 1, "ms": 10.0, "spread": 0.02}
    assert said["conditions"]["weights"] == "a" * 64 and said["conditions"]["engines"] == house.versions


@pytest.mark.parametrize("change", ["weights", "versions", "work", "machine", "damage", "means"])
def test_under_other_conditions_it_is_measured_anew(house: House, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    house.choose()
    if change == "versions":
        house.versions["openvino"] = "3"
    elif change == "machine":
        monkeypatch.setattr(choosing, "this_machine", lambda: "another")
    elif change == "damage":
        house.note.write_text("{", "utf-8")
    work = Work((112, 112), (1, 8)) if change == "work" else WORK
    weights = "b" if change == "weights" else "a"
    means = Means(fp16=True) if change == "means" else Means()
    assert house.choose(work=work, weights=weights, means=means).why == "measured"
    assert house.choose(work=work, weights=weights, means=means).why == "remembered" and house.races == 2


def test_several_machines_that_share_a_folder_remember_their_own(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.choose()
    house.ms = {"onnx": 5.0, "openvino": 10.0}
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(choosing, "this_machine", lambda: "another")
        assert house.choose().engine == "onnx"
    assert house.choose().engine == "openvino"


@pytest.mark.parametrize(("onnx", "engine"), [(9.3, "openvino"), (9.2, "onnx")])
def test_a_remembered_choice_changes_where_another_is_faster_by_eight_hundredths(
    house: House, onnx: float, engine: str
) -> None:
    house.choose()
    house.ms = {"onnx": onnx, "openvino": 10.0}
    assert house.choose().engine == "openvino"  # not asked to measure
    assert house.choose(again=True).engine == engine
    assert house.choose().engine == engine


def test_other_weights_start_from_the_oracle(house: House) -> None:
    house.choose()
    house.ms = {"onnx": 10.3, "openvino": 10.0}
    assert house.choose(weights="b").engine == "onnx"


def test_an_engine_that_is_installed_and_broken_is_left_out_with_a_line(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    del house.engines["openvino"]
    assert house.choose().engine == "onnx"
    assert "one is not computed by openvino: openvino is broken" in caplog.text


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_folder_that_cannot_be_written_leaves_a_choice_for_this_start_and_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    house.store.prepare(house.entry)

    def refuses(*_: Any) -> Any:
        raise ModelFileError("one: cannot write to models") if when == "before" else OSError(28, "No space left")

    monkeypatch.setattr(Store, "alone", refuses) if when == "before" else monkeypatch.setattr(
        "visage.engines.record.Record.write", refuses
    )
    with caplog.at_level(logging.WARNING):
        assert house.choose().engine == "openvino"
    assert "chosen for this start only" in caplog.text and not house.note.exists()


def test_a_process_that_waited_for_another_takes_what_that_one_found(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Store.alone

    def other_was_first(store: Store, entry: Any) -> Any:
        monkeypatch.setattr(Store, "alone", real)
        house.choose()
        return real(store, entry)

    house.store.prepare(house.entry)
    monkeypatch.setattr(Store, "alone", other_was_first)
    assert house.choose().why == "remembered" and house.races == 1


def test_the_machine_is_told_by_its_processor_and_its_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n", "utf-8")
    monkeypatch.setattr("visage.engines.record._CPU_INFO", info)
    monkeypatch.setattr("visage.engines.record.available", lambda: Cores(3))
    assert this_machine() == "Some CPU @ 3 GHz, 3 cores"
    info.unlink()
    assert this_machine().endswith(", 3 cores")
