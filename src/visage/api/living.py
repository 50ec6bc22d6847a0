"""Which of the processes that share a folder of metrics live: how a process stood that was killed is nobody's sum."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead


class Living:
    """Holds a lock in `folder` for as long as this process lives; the system lets go of it however that ends.

    A process's number says less: another one may have it by then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not self._lives(os.getpid()):
            self._remove(os.getpid())  # of another one that had this number
        self._lock = os.open(self._file(os.getpid()), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # a folder without locks: its processes are taken to live as long as they are there
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def bury(self) -> None:
        """Remove the gauges of those that do not live any more."""
        for pid in {int(path.stem.rpartition("_")[2]) for path in self._folder.glob("gauge_live*_*.db")}:
            if pid != os.getpid() and not self._lives(pid):
                self._remove(pid)

    def close(self) -> None:
        """This one ends."""
        self._remove(os.getpid())
        os.close(self._lock)

    def _lives(self, pid: int) -> bool:
        try:
            lock = os.open(self._file(pid), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return Path(f"/proc/{pid}").exists()
        finally:
            os.close(lock)
        return False

    def _remove(self, pid: int) -> None:
        with suppress(FileNotFoundError):  # another one was quicker
            mark_process_dead(pid, str(self._folder))
            self._file(pid).unlink()

    def _file(self, pid: int) -> Path:
        return self._folder / f"{pid}.living"
