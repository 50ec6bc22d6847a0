"""A backend whose device is lost when a file is put down, by the process that takes the file up and by no other."""

import os
from pathlib import Path
from typing import Any

from visage.backends import onnx
from visage.backends.base import ModelFile
from visage.errors import DeviceLost
from visage.faces import Floats, Pixels

# As it is put into `backends.BACKENDS`, and the variable that names the file.
NAME, ADDRESS = "losing", "tests.losing:open_session"
FILE = "TESTS_LOSE"
SAID = "det failed: an illegal memory access was encountered"

_lost: list[bool] = []


class Losing:
    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.sizes, self.max_batch, self.streams = inner.sizes, inner.max_batch, inner.streams

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        try:
            Path(os.environ[FILE]).unlink()
            _lost.append(True)
        except FileNotFoundError:
            pass
        if _lost:
            raise DeviceLost(SAID)
        answers: tuple[Floats, ...] = self._inner.run(pixels)
        return answers

    def close(self) -> None:
        self._inner.close()


def open_session(model: ModelFile, /) -> Losing:
    return Losing(onnx.open_session(model))
