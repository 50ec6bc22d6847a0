"""Processes that enrol beside each other."""

import os
import signal
import subprocess
import sys
import threading
from typing import IO

from tests.support import REPO


class Worker:
    """`module` run with `arguments`: what it has acknowledged, and the words of each other line that it says. `ready`
    and `begun` (something is acknowledged) are set when it has ended, too.
    """

    def __init__(self, module: str, who: str, *arguments: object) -> None:
        self.who = who
        self.acknowledged: list[int] = []
        self.said: list[list[str]] = []
        self.ready = threading.Event()
        self.begun = threading.Event()
        paths = [str(REPO / "src"), str(REPO), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self._reader.start()

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            if not line.endswith("\n"):  # killed in the middle of it
                break
            words = line.split()
            if words == ["ready"]:
                self.ready.set()
            elif words[0].isdecimal():
                self.acknowledged.extend(range(int(words[0]), int(words[1])))
                self.begun.set()
            else:
                self.said.append(words)
        self.ready.set()
        self.begun.set()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        status = self.process.wait(500)
        self._reader.join(100)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status
