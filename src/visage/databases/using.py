"""Who uses a folder of databases, or one of them."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

FILE = "use.lock"

# Where SQLite's connections lock a database (https://www.sqlite.org/lockingv3.html): the pending byte, the reserved
# one, and 510 of which each reader holds some. In WAL mode every connection holds them until it is closed.
_LOCKED_FROM, _LOCKED = 0x40000000, 512


class InUse(Exception):
    """Somebody else uses it, or has it for themselves just now."""


class Use:
    """Others may use the folder, too; nobody can `alone` meanwhile. It ends with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        """Where the folder may not be written to, or its file system has no locks, nothing is held. Raises InUse."""
        self._file: int | None = None
        with suppress(OSError):
            self._file = _lock_file(folder)
        if self._file is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                self.close()
                raise InUse from exc
            except OSError:
                self.close()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


@contextmanager
def alone(folder: Path | None, files: Iterable[Path]) -> Iterator[None]:
    """With nobody who uses the folder, and no connection of any process to `files`, those that are there. For a process
    that has none itself. Raises InUse, and OSError where that cannot be told.
    """
    with ExitStack() as held:
        if folder is not None:
            file = _lock_file(folder)
            held.callback(os.close, file)
            _flocked(file, folder)
        for path in files:
            try:
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            held.callback(os.close, file)
            _locked(file, path)
        yield


def _lock_file(folder: Path) -> int:
    return os.open(folder / FILE, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o666)  # whoever made it, all can lock it


def _flocked(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise InUse(folder.name) from exc


def _locked(file: int, path: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKED, _LOCKED_FROM)
    except (BlockingIOError, PermissionError) as exc:
        raise InUse(path.name) from exc
