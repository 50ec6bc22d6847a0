"""A backend that answers wrongly, and says nothing of it: ONNX Runtime's numbers, bent."""

from typing import Any

from visage.backends import onnx
from visage.backends.base import ModelFile
from visage.faces import Floats, Pixels

# As it is put into `backends.BACKENDS`.
NAME, ADDRESS = "bent", "tests.bending:open_session"


class Bent:
    """A session whose every number is too large by `by`."""

    def __init__(self, inner: Any, by: float) -> None:
        self._inner = inner
        self._by = by
        self.sizes, self.max_batch, self.streams = inner.sizes, inner.max_batch, inner.streams

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        return tuple(out + self._by for out in self._inner.run(pixels))

    def close(self) -> None:
        self._inner.close()


def open_session(model: ModelFile, /) -> Bent:
    return Bent(onnx.open_session(model), 0.1)
