"""A service in this process whose sessions remember what they ran, so that the same runs can be made without it."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import visage.runtime as composition
from benchmarks.pictures import REPO, TESTDATA
from visage.api.metrics import Metrics
from visage.backends.base import ModelFile, Session, Sizes
from visage.engines.standing import Standings, opening
from visage.faces import Floats, Pixels
from visage.runtime import Runtime, open_runtime
from visage.settings import Settings

# The second pair: a folder of its own, its files put by hand.
_CATALOGUE = """{
 "scrfd_2.5g": {"family": "scrfd", "licence": {"id": "insightface-nc"}, "input": {"stride": 32}},
 "mobilefacenet": {"family": "arcface", "licence": {"id": "insightface-nc"}, "preprocess": {"mean": 0, "std": 1}}
}"""


class Recorder:
    """A session that adds what it is given to a list that all share."""

    def __init__(self, session: Session, model: ModelFile, log: "Log") -> None:
        self.session = session
        self.threads = model.threads
        self.name = model.name
        self.sizes: Sizes = session.sizes
        self.max_batch: int = session.max_batch
        self.streams: int = session.streams
        self._log = log
        log.recorders.append(self)

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        if self._log.on:
            self._log.runs.append((self, pixels.copy()))
        return self.session.run(pixels)

    def close(self) -> None:
        self.session.close()


class Log:
    """The runs of one request, in order."""

    def __init__(self) -> None:
        self.on = False
        self.runs: list[tuple[Recorder, Pixels]] = []
        self.recorders: list[Recorder] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        self.runs.clear()
        self.on = True
        yield
        self.on = False

    def replay(self) -> None:
        """The same runs of the same sessions, one after the other."""
        for recorder, pixels in self.runs:
            recorder.session.run(pixels)

    def streams(self, count: int, seconds: float) -> float:
        """Pictures a second of `count` threads that do nothing but these runs, in the form for one core."""
        narrow = [(self._narrow(recorder), pixels) for recorder, pixels in self.runs]
        done = [0] * count
        until = time.perf_counter() + seconds

        def stream(number: int) -> None:
            while time.perf_counter() < until:
                for session, pixels in narrow:
                    session.run(pixels)
                done[number] += 1

        started = time.perf_counter()
        threads = [threading.Thread(target=stream, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(done) / (time.perf_counter() - started)

    def _narrow(self, recorder: Recorder) -> Session:
        return min((r for r in self.recorders if r.name == recorder.name), key=lambda r: r.threads).session


def recorded(settings: Settings) -> tuple[Runtime, Log]:
    """A runtime of these settings, whose sessions write to the log."""
    log = Log()

    def recording(standings: Standings) -> Callable[[ModelFile], Recorder]:
        return lambda model: Recorder(opening(standings)(model), model, log)

    composition.opening = recording  # type: ignore[assignment]
    try:
        return open_runtime(settings, Metrics()), log
    finally:
        composition.opening = opening


def pairs(folder: Path) -> dict[str, dict[str, str]]:
    """Environments by name: the default pair, and scrfd_2.5g with a MobileFaceNet where their weights are at hand."""
    # What an installation without extras runs; INFERENCE_BACKEND=auto make bench for the fastest that is installed.
    engine = {"INFERENCE_BACKEND": os.environ.get("INFERENCE_BACKEND", "onnx")}
    found = {"yunet + sface (the default)": {"MODELS_DIR": str(REPO / "models"), **engine}}
    files = {"scrfd_2.5g": "scrfd_2.5g_bnkps", "mobilefacenet": "mobilefacenet_arcface_y1"}
    if TESTDATA.is_dir():
        for name, file in files.items():
            (folder / "onnx" / name).mkdir(parents=True)
            shutil.copyfile(TESTDATA / "models" / f"{file}.onnx", folder / "onnx" / name / f"{name}.onnx")
        (folder / "models.json").write_text(_CATALOGUE, "utf-8")
        found["scrfd_2.5g + MobileFaceNet"] = {
            "MODELS_DIR": str(folder),
            "DET_NAME": "scrfd_2.5g",
            "REC_NAME": "mobilefacenet",
            "ACCEPT_LICENCES": "insightface-nc",
            **engine,
        }
    return found
