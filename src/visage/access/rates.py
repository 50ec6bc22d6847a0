"""How many requests a minute a key may make: a token bucket a key, shared by all processes of a machine."""

import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

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
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._clock = clock
        self._open: dict[str, int] = {}

    def take(self, key: str, rate: int) -> float:
        """Take one of `rate` (> 0) requests a minute: 0.0, or the seconds until there is one again."""
        file = self._file(key)
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            now = self._clock()
            full = _full_at(os.pread(file, _KEPT.size, 0), now) + _MINUTE // rate
            if full > now + _MINUTE:
                return (full - now - _MINUTE) / _SECOND
            os.pwrite(file, _KEPT.pack(full), 0)
            return 0.0
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def _file(self, key: str) -> int:
        if key not in self._open:
            self._open[key] = os.open(self._folder / key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
        return self._open[key]


def _full_at(kept: bytes, now: int) -> int:
    """When the bucket is full, `now` at the earliest: a new one is, and one that was kept before the machine's restart,
    when its clock began anew.
    """
    full = _KEPT.unpack(kept)[0] if len(kept) == _KEPT.size else now
    return full if now < full <= now + _MINUTE else now
