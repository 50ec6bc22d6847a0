"""Folders that may only be read: by rights, as a user who is nobody."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that nobody's processes may reach, too, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="visage-test-"))
    made.chmod(0o777)
    try:
        yield made
    finally:
        let(made)
        shutil.rmtree(made)


@contextmanager
def only_read(place: Path) -> Iterator[None]:
    """Nothing in `place` may be written or made by this process meanwhile."""
    for path in [*place.rglob("*"), place]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with as_nobody():
            yield
    finally:
        let(place)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write where nobody may."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def let(place: Path) -> None:
    """Everybody may do everything there again."""
    place.chmod(0o777)
    for path in place.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else 0o666)
