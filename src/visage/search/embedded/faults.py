"""What SQLite and the disk refuse, in words: what is wrong with which file, and the remedy."""

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visage.databases.lineage import LogOfAnother
from visage.errors import StoreUnavailable
from visage.locking import NoLocks, hold_locks
from visage.search.folder import FILE, is_there, is_writable

log = logging.getLogger(__name__)

_RESTORE = "restore it from a copy"
_READ_ONLY = "DATA_DIR is read-only: what is enrolled can be searched, nothing can be written"

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_NO_RIGHT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Unsound(Exception):
    """The database is there and is not one that can be used, until somebody does what the line says."""


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """What SQLite and the disk refuse, as StoreUnavailable with the remedy."""
    try:
        yield
    except (sqlite3.Error, OSError, Unsound, NoLocks, NotImplementedError) as exc:
        log.warning("galleries in %s: %s", folder, exc)
        raise _told(exc, folder) from exc


def _told(exc: Exception, folder: Path) -> StoreUnavailable:
    """`lasting` where waiting mends nothing."""
    said = _lasting(exc, folder)
    if said:
        return StoreUnavailable(f"the galleries cannot be used: {said}", retry_after=60, lasting=True)
    if (_is_refused(exc) or _primary(exc) == sqlite3.SQLITE_CANTOPEN) and not is_writable(folder):
        return StoreUnavailable(f"the galleries cannot be written to: {_READ_ONLY}", retry_after=60)
    return StoreUnavailable(f"the galleries cannot be used: {_passing(exc)}", retry_after=2)


def _lasting(exc: Exception, folder: Path) -> str:
    if isinstance(exc, Unsound | NoLocks | LogOfAnother):
        return str(exc)
    if isinstance(exc, NotADirectoryError | FileExistsError):
        return "what is called galleries in DATA_DIR is no folder: move it away, or restore the folder from a copy"
    if _primary(exc) in _DAMAGED:
        return f"{FILE} is damaged ({exc}): {_RESTORE}"
    return _no_locks(exc, folder) or _refused(exc, folder)


def _no_locks(exc: Exception, folder: Path) -> str:
    """SQLite says that a file is busy where it cannot be locked at all."""
    if isinstance(exc, NotImplementedError):  # what filelock says
        return f"their file system has no locks ({exc}): keep them on a local disk"
    if _primary(exc) in _BUSY:
        try:
            hold_locks(folder)
        except NoLocks as reason:
            return str(reason)
    return ""


def _refused(exc: Exception, folder: Path) -> str:
    if not (_is_refused(exc) or _primary(exc) == sqlite3.SQLITE_CANTOPEN):
        return ""
    if said := in_the_way(folder):
        return said
    if _primary(exc) == sqlite3.SQLITE_READONLY and is_writable(folder):
        return f"{FILE} says of itself that it may not be written to, so it is damaged or of a newer SQLite: {_RESTORE}"
    if _primary(exc) == sqlite3.SQLITE_CANTOPEN and is_writable(folder) and not is_there(folder):
        return f"{FILE} is gone: {_RESTORE}, or start anew to begin without anybody"
    return ""


def in_the_way(folder: Path) -> str:
    """What stands where the database should, or keeps this user from reading it; else nothing. SQLite would make a
    database of an empty file.
    """
    who, file = f"uid {os.geteuid()}", folder / FILE
    try:
        size = file.stat().st_size
    except PermissionError:
        return f"{who} may not look into the folder of {FILE}: give it the right to read and search it"
    except OSError:
        return ""
    if not file.is_file():
        return f"{FILE} is {'a folder' if file.is_dir() else 'no file'}: move it away, or {_RESTORE}"
    if not os.access(file, os.R_OK, effective_ids=True):
        return f"{who} may not read {FILE}: give it the right"
    if not size:
        return (
            f"{FILE} is empty, which it never is once it is made: {_RESTORE}, or delete it if nobody was ever enrolled"
        )
    return ""


def _passing(exc: Exception) -> str:
    if _primary(exc) in _BUSY:
        return "another process is writing for long; try again"
    if _primary(exc) == sqlite3.SQLITE_FULL or _number(exc) in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room"
    return "the disk or the database failed; the log has the reason"


def _is_refused(exc: Exception) -> bool:
    return _primary(exc) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM) or _number(exc) in _NO_RIGHT


def _primary(exc: Exception) -> int:
    """SQLite's code without its details; 0 of another error."""
    return int(getattr(exc, "sqlite_errorcode", 0) or 0) & 0xFF


def _number(exc: Exception) -> int | None:
    return exc.errno if isinstance(exc, OSError) else None
