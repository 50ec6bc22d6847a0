"""Engines beside a network's file that nothing opens again: of another TensorRT, or of a file that is gone."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from visage.backends.tensorrt.cache import TIMING, key_of


@dataclass(frozen=True, slots=True)
class Leftover:
    """`why`: what it is of, fit to follow its name."""

    path: Path
    size: int  # bytes
    why: str


def leftovers(folder: Path, name: str, library: str | None, files: Collection[str]) -> Iterator[Leftover]:
    """Those of the network `name` in `folder`, by name.

    `library`: the TensorRT that is kept, as in `Key`; None keeps all. `files`: the sha256 of what the network is opened
    from now; none keeps all. Engines of other GPUs, precisions and ranges of sizes may be in use elsewhere, and files
    that are not this service's are left alone.
    """
    for path in sorted(folder.glob(f"{name}.*.engine")):
        key = key_of(path) or {}
        if _is_other(str(key.get("library", "")), library):
            yield Leftover(path, path.stat().st_size, f"of {key['library']}; {library} is here")
        elif key and files and key.get("file") not in files:
            yield Leftover(path, path.stat().st_size, "of another file than the network's now")
    for path in sorted(folder.glob(f"{name}.*.{TIMING}")):
        found = re.fullmatch(rf"{re.escape(name)}\.(tensorrt)-([^/]+)\.sm\d+\.{TIMING}", path.name)
        if found and _is_other(of := f"{found[1]} {found[2]}", library):
            yield Leftover(path, path.stat().st_size, f"what {of} measured; {library} is here")


def _is_other(of: str, library: str | None) -> bool:
    """Whether it is another version of the same package."""
    return library is not None and of.partition(" ")[0] == library.partition(" ")[0] and of != library
