"""How many requests a minute a key may make: a token bucket a key, shared by all processes of a machine."""

import fcntl
import logging
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("visage.access")

_SECOND = 1_000_000_000  # ns
_MINUTE = 60 * _SECOND
_KEPT = struct.Struct("<q")
_OWNER_ONLY = 0o600


class Buckets:
    """A bucket holds a minute's requests and fills up evenly.

    Kept is when it will be full again, in a file of 8 bytes a key which is locked for microseconds: so that a caller
    gets the same of several worker processes as of one. (This is the generic cell rate algorithm, ITU-T I.371: the
    bucket without a counter.)
    """

    def __init__(self, folder: Path, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._folder = folder
        self._clock = clock
        self._open: dict[str, int] = {}
        self._alone: dict[str, bytes] = {}  # where there can be no files
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            self._tell(exc)

    def take(self, key: str, rate: int) -> float:
        """Take one of `rate` (> 0) requests a minute: 0.0, or the seconds until there is one again."""
        try:
            return self._taken_of_file(key, rate)
        except OSError as exc:
            if not self._alone:
                self._tell(exc)
            full, wait = _taken(self._alone.get(key, b""), self._clock(), rate)
            self._alone[key] = full
            return wait

    def _taken_of_file(self, key: str, rate: int) -> float:
        file = self._file(key)
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            full, wait = _taken(os.pread(file, _KEPT.size, 0), self._clock(), rate)
            if not wait:
                os.pwrite(file, full, 0)
            return wait
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def _tell(self, exc: OSError) -> None:
        log.warning("the rates of keys are each process's own: DATA_DIR/rates cannot be used (%s)", exc.strerror)

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def _file(self, key: str) -> int:
        if key not in self._open:
            self._open[key] = os.open(self._folder / key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
        return self._open[key]


def _taken(kept: bytes, now: int, rate: int) -> tuple[bytes, float]:
    """What is to be kept from now on, and the seconds to be waited."""
    full = _full_at(kept, now) + _MINUTE // rate
    if full > now + _MINUTE:
        return kept, (full - now - _MINUTE) / _SECOND
    return _KEPT.pack(full), 0.0


def _full_at(kept: bytes, now: int) -> int:
    """When the bucket is full, `now` at the earliest: a new one is, and one that was kept before the machine's restart,
    when its clock began anew.
    """
    full = _KEPT.unpack(kept)[0] if len(kept) == _KEPT.size else now
    return full if now < full <= now + _MINUTE else now
