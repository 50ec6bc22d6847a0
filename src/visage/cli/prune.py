"""`visage models prune`: delete TensorRT's engines that no start will open again."""

import argparse
from collections.abc import Iterator
from importlib import import_module

from visage.backends.tensorrt.leftovers import Leftover, leftovers
from visage.backends.tensorrt.library import named
from visage.lock import told_plainly
from visage.zoo.catalogue import Entry
from visage.zoo.store import Store
from visage.zoo.transfer import digest


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted")


def prune(entries: list[Entry], store: Store, *, dry: bool) -> Iterator[str]:
    """Delete them, a line each, unless `dry`. Raises ModelFileError where the folder may not be written."""
    library = _library()
    if library is None:
        yield "TensorRT is not installed here: engines of other versions are left alone"
    found = []
    for entry in entries:
        for one in _of(entry, store, library):
            if not dry:
                with told_plainly(entry.name, one.path.parent):
                    one.path.unlink(missing_ok=True)
            found.append(one)
            yield f"{one.path.name}: {one.why}"
    size = sum(one.size for one in found) / 1e6
    yield (
        f"{len(found)} files, {size:.1f} MB{', would be deleted' if dry else ' deleted'}"
        if found
        else "nothing to delete"
    )


def _of(entry: Entry, store: Store, library: str | None) -> list[Leftover]:
    folder = store.path(entry.name).parent
    if not any(folder.glob("*.engine")) and not any(folder.glob("*.timing")):
        return []  # spares reading large files
    return list(leftovers(folder, entry.name, library, _files(entry, store)))


def _files(entry: Entry, store: Store) -> set[str]:
    """The sha256 of what the network may be opened from; none where that is still to be made."""
    prepared = store.path(entry.name).with_suffix(".prepared.onnx")
    if entry.graph_rewrites() and not prepared.is_file():
        return set()
    return {digest(path) for path in (store.located(entry), prepared) if path is not None and path.is_file()}


def _library() -> str | None:
    try:
        return named(import_module("tensorrt"))
    except ImportError:
        return None
