"""Bytes from one file into another, whole or not at all."""

import hashlib
import os
from pathlib import Path
from typing import Literal

from visage.errors import DownloadFailed
from visage.zoo.progress import Meter

_CHUNK = 1 << 20


def copied(source: Path, into: Path, meter: Meter = lambda done, total: None) -> None:
    """Copy `source` to `into`, told to `meter` as it goes. Raises DownloadFailed where `source` cannot be read."""
    try:
        reading = source.open("rb")
    except OSError as exc:
        raise DownloadFailed(f"{source} cannot be read: {exc.strerror}") from exc
    with reading, into.open("wb") as writing:
        total, done = os.fstat(reading.fileno()).st_size, 0
        while chunk := reading.read(_CHUNK):
            writing.write(chunk)
            done += len(chunk)
            meter(done, total)


def digest(path: Path, kind: Literal["sha256", "md5"] = "sha256") -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        # md5 is what some catalogues publish: it tells damage, and no more is claimed for it
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def synced(path: Path) -> None:
    """To the disk, so that a rename that follows never names an empty file after a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
