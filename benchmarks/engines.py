"""Networks on every engine installed: `python benchmarks/engines.py [name …]`, the table of docs/backends.md.

Measured as the service's own race does: in turns in one process, medians. The embedded pair needs nothing but this
repository; other networks are taken from ../shared/testdata where that is.
"""

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from visage.backends import ORACLE, backend, installed
from visage.backends.base import ModelFile, OpenSession, Preprocess
from visage.engines.race import Work, race
from visage.engines.standing import Standing, Timing
from visage.families import family
from visage.images.decoding import Decoder, Limits
from visage.zoo.catalogue import Entry, Licence
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching, data_file
from visage.zoo.store import Store

REPO = Path(__file__).resolve().parents[1]
WEIGHTS = REPO.parent / "shared" / "testdata" / "models"
FILES = {"yunet_2023mar": "face_detection_yunet_2023mar"}
OWN = {"mobilefacenet_arcface_y1": Preprocess(0.0, 1.0, "rgb")}  # not in the catalogue; normalises inside
PLAIN = "PReLU as published"
SECONDS = 1.0


def main() -> int:
    logging.disable(logging.WARNING)  # that a file is unverified is no news here
    threads = len(os.sched_getaffinity(0))
    print(f"{threads} cores; {', '.join(f'{name} {version}' for name, version in installed().items())}\n")
    print("| network | input | threads | batch | onnx, ms | " + " | ".join(columns()) + " |")
    print("|---|---|---|---|---|" + "---|" * len(columns()))
    with tempfile.TemporaryDirectory() as folder:
        for entry in entries(Path(folder), sys.argv[1:]):
            for row in rows(entry, Store(Fetching(Path(folder), offline=True), (entry.licence.id,)), threads):
                print(row, flush=True)
    return 0


def columns() -> list[str]:
    return [*(name for name in installed() if name != ORACLE), f"onnx, {PLAIN}"]


def entries(folder: Path, wanted: list[str]) -> Iterator[Entry]:
    """The embedded pair, then what lies in ../shared, put by hand into `folder`."""
    known = dict(read_catalogue(REPO / "models").entries)
    for name, fed in OWN.items():
        how = {"mean": fed.mean, "std": fed.std, "colours": fed.colours}
        known[name] = Entry(name=name, family="arcface", preprocess=how, licence=Licence(id="own"))
    for name, entry in known.items():
        file = WEIGHTS / f"{FILES.get(name, name)}.onnx"
        if wanted and name not in wanted:
            continue
        if name in ("yunet", "sface"):
            yield entry
        elif file.is_file():
            place = folder / "onnx" / name / f"{name}.onnx"
            place.parent.mkdir(parents=True)
            shutil.copyfile(file, place)
            yield entry.model_copy(update={"sources": (), "sha256": None, "md5": None, "bytes": None})


def rows(entry: Entry, store: Store, threads: int) -> Iterator[str]:
    """A row a number of threads and pictures: milliseconds, and how many times as fast the others are."""
    ready = store.prepare(entry)
    model = ModelFile(entry.name, ready.path, ready.sha256, entry.fed(), threads)
    contenders: dict[str, OpenSession] = {name: backend(name) for name in installed()}
    without = tuple(name for name in entry.graph_rewrites() if name != "prelu_as_relu")
    kept = store.path(entry.name).with_suffix(".kept.onnx")
    shutil.copyfile(ready.path, kept)
    plain = store.prepare(entry.model_copy(update={"rewrites": without})).path
    if plain.stat().st_size != kept.stat().st_size:
        contenders[f"onnx, {PLAIN}"] = lambda file: backend(ORACLE)(replace(file, path=plain))
    work = Work((640, 640), (1,)) if family(entry.family).task == "detection" else Work((112, 112), (1, 4))
    picture = Decoder(Limits()).decode(data_file("selftest.png").read_bytes()).pixels
    standing = race(replace(model, path=kept), contenders, work, picture, seconds=SECONDS)
    size = "×".join(map(str, entry.input.size if entry.input and entry.input.size else work.size))
    for i, case in enumerate(standing.timings[ORACLE]):
        cells = " | ".join(_ratio(standing, name, case, i) for name in columns())
        spread = f"±{case.spread / 2:.0%}"
        yield f"| `{entry.name}` | {size} | {case.threads} | {case.batch} | {case.ms:.2f} {spread} | {cells} |"


def _ratio(standing: Standing, name: str, case: Timing, i: int) -> str:
    return f"×{case.ms / standing.timings[name][i].ms:.2f}" if name in standing.timings else ""


if __name__ == "__main__":
    sys.exit(main())
