"""One process at a time, and plain words for what a disk refuses."""

import errno
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from visage.errors import ModelFileError

log = logging.getLogger(__name__)

# A lock goes with its process; whoever holds it so long downloads very slowly, or is stuck.
_LONGEST = 3600.0
_SAY_EVERY = 30.0


@contextmanager
def alone(lock: Path, name: str) -> Iterator[None]:
    """Hold `lock` against processes and containers that share the folder. Raises ModelFileError after an hour."""
    held = FileLock(lock)
    until = time.monotonic() + _LONGEST
    while True:
        try:
            held.acquire(timeout=_SAY_EVERY)
            break
        except Timeout as exc:
            if time.monotonic() >= until:
                raise ModelFileError(
                    f"{name}: another process has been preparing it for {_LONGEST / 60:g} minutes; if none is, "
                    f"delete {lock}"
                ) from exc
            log.info("%s: another process is preparing it; waiting", name)
    try:
        yield
    finally:
        held.release()


@contextmanager
def told_plainly(name: str, folder: Path) -> Iterator[None]:
    """An OSError within becomes one line that names the folder and the remedy."""
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = f"{_free(folder)} are free: make room, or set MODELS_DIR to a folder that has room"
        elif exc.errno == errno.EROFS:
            remedy = "mount the folder for writing once and run `visage prepare`, or set MODELS_DIR to another one"
        else:
            remedy = "set MODELS_DIR to a folder that this user may write to"
        raise ModelFileError(f"{name}: cannot write to {folder}: {reason}; {remedy}") from exc


def _free(folder: Path) -> str:
    place = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    return f"{shutil.disk_usage(place).free / 1e6:.1f} MB"
