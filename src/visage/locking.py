"""Whether a folder's file system has what SQLite needs: locks, and files that processes map into shared memory."""

import errno
import fcntl
import mmap
import os
import tempfile
from contextlib import suppress
from pathlib import Path

# Somebody else holds the lock, which of a file of one's own nobody does; or a signal came.
_BUSY = frozenset({errno.EAGAIN, errno.EACCES, errno.EINTR})


class NoLocks(Exception):
    """A file system without them; one line, with the remedy."""


def hold_locks(folder: Path) -> None:
    """Try it on a file of its own, which is gone afterwards: SQLite takes a file system without locks for a file that
    others hold, and waits. Raises NoLocks; that a folder cannot be written to is left to whoever writes there.
    """
    try:
        file, name = tempfile.mkstemp(prefix=".locks-", dir=folder)
    except OSError:
        return
    try:
        _try(file)
    finally:
        os.close(file)
        with suppress(OSError):
            Path(name).unlink()


def _try(file: int) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(file, fcntl.LOCK_UN)  # where the next is made of it the two would be in each other's way
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in _BUSY:
            return
        raise NoLocks(
            f"their file system has no locks ({exc.strerror}): keep them on a local disk, or mount it with locks (NFS: "
            "with lockd, not nolock; Lustre: flock)"
        ) from exc
    try:
        os.ftruncate(file, mmap.PAGESIZE)
        mmap.mmap(file, mmap.PAGESIZE).close()
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            return
        raise NoLocks(
            f"their file system does not let processes share memory ({exc.strerror}): keep them on a local disk, or "
            "mount it so that files can be mapped (9p: cache=mmap)"
        ) from exc
