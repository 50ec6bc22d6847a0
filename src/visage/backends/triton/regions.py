"""System shared memory: pixels are written where a server on the same machine reads them.

A region is a file of /dev/shm, which its owner holds locked. The lock ends with the process, however that ends: what
nobody holds is left over. Who next shares memory here removes it, and takes it from the server, which has it mapped.
"""

import contextlib
import fcntl
import ipaddress
import logging
import mmap
import os
import secrets
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from visage.backends.triton.server import Away, Server
from visage.errors import DeadlineExceeded, InferenceFailed
from visage.faces import Floats

log = logging.getLogger(__name__)

_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux has POSIX shared memory; names are random and opened exclusively
_PREFIX = "visage-triton-"
_LEAST = 1 << 16
# Regions that a server may still read, since it did not answer in time.
_MOST_ABANDONED = 8
# How often a server is asked to let go of a region, and how many seconds between; what it keeps, the next sweep takes.
_GOODBYES = 10
_BETWEEN_GOODBYES = 0.02


def on_this_machine(address: str) -> bool:
    """Whether a server is asked over loopback or a socket of the file system."""
    if address.startswith("unix:"):
        return True
    host = address.rsplit(":", 1)[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Region:
    """Shared memory of `size` bytes under a name that nobody else has; for one question at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.name = _PREFIX + secrets.token_hex(8)
        self.starts = 0  # which start of the server knows it
        self._file = _created(_FOLDER / self.name)
        try:
            os.ftruncate(self._file, size)
            self._map = mmap.mmap(self._file, size)
        except OSError:
            self._removed()
            raise

    def array(self, shape: tuple[int, ...]) -> Floats:
        """Its first bytes as float32 of this shape."""
        return np.frombuffer(self._map, np.float32, int(np.prod(shape))).reshape(shape)

    def close(self) -> None:
        with contextlib.suppress(BufferError):  # an array of it lives on; the memory goes with that
            self._map.close()
        self._removed()

    def _removed(self) -> None:
        (_FOLDER / self.name).unlink(missing_ok=True)
        os.close(self._file)


class Regions:
    """The regions that one server reads for one network. Where it cannot, `lent` yields None from then on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle: deque[Region] = deque()
        self._abandoned: deque[Region] = deque()
        self._shares = on_this_machine(server.address)
        self._swept = False

    @contextmanager
    def lent(self, size: int) -> Iterator[Region | None]:
        """A region of `size` bytes or more that the server can read; None where there is none.

        Raises Away.
        """
        region = self._ready(size) if self._shares else None
        try:
            yield region
        except DeadlineExceeded:
            if region is not None:
                self._abandon(region)
            raise
        except BaseException:
            if region is not None:
                self._idle.append(region)
            raise
        if region is not None:
            self._idle.append(region)

    def share_again(self, region: Region) -> bool:
        """Tell the server of a region that it may have forgotten; whether it knows it now. Raises Away."""
        try:
            self._share(region)
        except InferenceFailed as exc:
            self._give_up(exc)
        return self._shares

    def close(self) -> None:
        for region in (*self._idle, *self._abandoned):
            self._drop(region)
        self._idle.clear()
        self._abandoned.clear()

    def _ready(self, size: int) -> Region | None:
        try:
            region = self._idle.pop()
        except IndexError:
            region = None
        try:
            if region is not None and region.size < size:
                self._drop(region)
                region = None
            region = region or Region(max(_LEAST, 1 << (size - 1).bit_length()))
            if region.starts != self._server.starts:
                self._share(region)
        except Away:
            if region is not None:
                self._idle.append(region)
            raise
        except (OSError, InferenceFailed) as exc:
            if region is not None:
                region.close()
            self._give_up(exc)
            return None
        self._sweep()
        return region

    def _share(self, region: Region) -> None:
        starts = self._server.starts
        self._server.share(region.name, f"/{region.name}", region.size)
        region.starts = starts

    def _give_up(self, why: Exception) -> None:
        self._shares = False
        log.warning("pixels are sent to Triton at %s, not shared in memory: %s", self._server.address, why)

    def _abandon(self, region: Region) -> None:
        self._abandoned.append(region)
        while len(self._abandoned) > _MOST_ABANDONED:
            self._drop(self._abandoned.popleft())

    def _drop(self, region: Region) -> None:
        _forgotten(self._server, region.name)
        region.close()

    def _sweep(self) -> None:
        """Remove what killed processes have left; once, when it is known that this server reads this memory."""
        if self._swept:
            return
        self._swept = True
        left = {path.name for path in _FOLDER.glob(f"{_PREFIX}*") if _removed_if_left(path)}
        with contextlib.suppress(Away, InferenceFailed):
            for name in self._server.shared():
                if name in left or (name.startswith(_PREFIX) and not (_FOLDER / name).exists()):
                    _forgotten(self._server, name)


def _forgotten(server: Server, name: str) -> None:
    """Take a region from a server, which may hold it for a moment more after its answer has come."""
    for _ in range(_GOODBYES):
        try:
            server.unshare(name)
        except Away:
            return  # a server that is away has forgotten it
        except InferenceFailed as exc:
            log.debug("%s keeps %s: %s", server.address, name, exc)
            time.sleep(_BETWEEN_GOODBYES)
        else:
            return


def _created(path: Path) -> int:
    """A new file that is ours alone, locked; where a sweep takes it before the lock, another is made."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(file).st_ino:
                return file
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(file)
        path.unlink(missing_ok=True)


def _removed_if_left(path: Path) -> bool:
    """Whether a region had no owner any more; it is removed then."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # gone, or another user's
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True
