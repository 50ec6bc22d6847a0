"""The nearest of all rows: every row is compared with every probe, on all cores, block by block."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.cores import available
from visage.faces import Floats
from visage.search.embedded.kernels import keep_best, products
from visage.search.embedded.segment import TYPES, Rows, encode

# Rows that are compared before the best of them are kept: their similarities stay in the core's own cache.
_BLOCK = 4096

EVERYBODY = np.empty(0, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """`probes` float32 (q, D); the `top` nearest persons or faces of at least `threshold`, of the persons whose number
    in `allowed` uint8 is not 0 (EVERYBODY: of all).
    """

    probes: Floats
    top: int
    by_person: bool
    threshold: float
    allowed: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """`similarities` float32 (q, k) best first; `persons` int32 and `keys` int64 (q, k) whose they are, −1 where there
    are no more.
    """

    similarities: Floats
    persons: NDArray[np.int32]
    keys: NDArray[np.int64]

    @classmethod
    def none(cls, asked: Asked) -> "Best":
        shape = (len(asked.probes), asked.top)
        below = np.nextafter(np.float32(asked.threshold), np.float32(-np.inf))
        return cls(np.full(shape, below, np.float32), np.full(shape, -1, np.int32), np.full(shape, -1, np.int64))

    def let_in(self, scores: Floats, persons: NDArray[np.int32], keys: NDArray[np.int64], asked: Asked) -> None:
        keep_best(
            scores,
            persons,
            _read_only(keys),
            asked.allowed,
            asked.by_person,
            self.similarities,
            self.persons,
            self.keys,
        )


class Ranker:
    """Threads that compare; the kernels let go of the interpreter's lock."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or available().count
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="visage-search")

    def nearest(self, parts: Sequence[Rows], asked: Asked) -> Best:
        """The best rows of all `parts`: exact for the numbers that are stored there."""
        blocks = [(part, start) for part in parts for start in range(0, len(part), _BLOCK)]
        threads = min(self._threads, len(blocks))
        if threads <= 1:
            return _best_of(blocks, asked)
        shares = [blocks[i * len(blocks) // threads : (i + 1) * len(blocks) // threads] for i in range(threads)]
        first, *others = self._pool.map(lambda share: _best_of(share, asked), shares)
        for other in others:
            for q in range(len(asked.probes)):
                one = Best(first.similarities[q : q + 1], first.persons[q : q + 1], first.keys[q : q + 1])
                one.let_in(other.similarities[q : q + 1], other.persons[q], other.keys[q], asked)
        return first

    def warm_up(self) -> None:
        """Compile the kernels, or load them from where they were kept."""
        one = np.ones((1, 1), np.float32)
        for precision in TYPES:
            rows = encode(precision, one, np.zeros(1, np.int32), np.zeros(1, np.int64))
            self.nearest([rows], Asked(one, 1, True, -1.0, EVERYBODY))

    def close(self) -> None:
        self._pool.shutdown()


def compile_kernels() -> None:
    """So that no search of this installation has to."""
    ranker = Ranker()
    ranker.warm_up()
    ranker.close()


def _best_of(blocks: Sequence[tuple[Rows, int]], asked: Asked) -> Best:
    best = Best.none(asked)
    scratch = np.empty(len(asked.probes) * _BLOCK, np.float32)
    for part, start in blocks:
        rows = part[start : start + _BLOCK]
        scores = scratch[: len(asked.probes) * len(rows)].reshape(len(asked.probes), len(rows))
        products(_read_only(rows.vectors), asked.probes, scores)
        if part.precision == "int8":
            scores *= rows.scales
        best.let_in(scores, rows.persons, rows.keys, asked)
    return best


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Mapped files cannot be written to and arrays in memory can: to the compiler these are two types, and it would
    compile each kernel for both.
    """
    view = array.view()
    view.flags.writeable = False
    return view
