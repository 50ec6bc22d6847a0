"""The catalogue's networks, opened from a file at hand as the service opens them."""

import shutil
from pathlib import Path
from typing import Any

from tests.support import REPO, TESTDATA
from visage.backends import backend
from visage.backends.base import ModelFile, Preprocess
from visage.families import family
from visage.zoo.catalogue import Entry
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching
from visage.zoo.store import Prepared, Store

CATALOGUE = read_catalogue(REPO / "models")

# Files of ../shared/testdata/models that are known by another name.
_FILES = {"yunet_2023mar": "face_detection_yunet_2023mar"}


def real_file(name: str) -> Path | None:
    """The weights of a catalogue model, where ../shared has them."""
    path = TESTDATA / "models" / f"{_FILES.get(name, name)}.onnx"
    return path if path.is_file() else None


def opened(entry: Entry, file: Path, folder: Path, fed: Preprocess | None = None, engine: str = "onnx") -> Any:
    """The network of `file`, prepared in `folder` and built as `entry` says, and fed so, or as `fed` says."""
    ready = prepared(entry, file, folder)
    session = backend(engine)(ModelFile(entry.name, ready.path, ready.sha256, fed or entry.fed(), threads=2))
    return family(entry.family).build(session, entry.params)


def prepared(entry: Entry, file: Path, folder: Path) -> Prepared:
    """`file`, put by hand into the models folder `folder` and prepared there, whatever hash the catalogue has."""
    store = Store(Fetching(folder, offline=True), (entry.licence.id,))
    place = store.path(entry.name)
    if not place.is_file():
        place.parent.mkdir(parents=True)
        shutil.copyfile(file, place)
    return store.prepare(entry.model_copy(update={"sources": (), "sha256": None, "md5": None, "bytes": None}))
