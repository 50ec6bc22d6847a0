"""Engines that tests can make slower, wrong, or raise."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests.support import Clock
from visage.backends.base import ModelFile, Sizes
from visage.faces import Floats, Pixels

FIXED = Sizes((32, 32))


clock = Clock()  # goes on by what engines take, and by nothing else that a machine does


@dataclass
class Session:
    """Answers channel means, `bent`, after `seconds` of the clock."""

    seconds: float
    bent: Callable[[Floats], Floats]
    sizes: Sizes = FIXED
    max_batch: int = 0
    streams: int = 0
    runs: list[int] = field(default_factory=list)
    closed: bool = False

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        assert not self.closed
        self.runs.append(len(pixels))
        clock.sleep(self.seconds)
        return (self.bent(pixels.mean(axis=(1, 2)).astype(np.float32)),)

    def close(self) -> None:
        self.closed = True


class Engine:
    """Opens such sessions and keeps them; `slow` seconds a run."""

    def __init__(
        self,
        slow: float = 0.001,
        bent: Callable[[Floats], Floats] = lambda x: x,
        max_batch: int = 0,
        sizes: Sizes = FIXED,
    ) -> None:
        self.slow, self.bent, self.max_batch, self.sizes = slow, bent, max_batch, sizes
        self.opened: list[tuple[int, Session]] = []

    def __call__(self, model: ModelFile, /) -> Session:
        self.opened.append((model.threads, Session(self.slow, self.bent, self.sizes, self.max_batch)))
        return self.opened[-1][1]
