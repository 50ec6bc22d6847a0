"""Do two engines compute the same network?"""

from collections.abc import Sequence

import numpy as np

from visage.errors import InferenceFailed
from visage.faces import Floats

# Least cosine of an output's numbers taken as one vector, and the most they differ as a part of its largest number.
_SINGLE = 0.9999, 1e-3
_HALF = 0.999, 5e-2


def require_same(expected: Sequence[Floats], found: Sequence[Floats], *, half: bool = False) -> None:
    """Raises InferenceFailed, naming the output, where they differ by more than engines may.

    `half`: one of them computes in half precision.
    """
    least_cosine, most_off = _HALF if half else _SINGLE
    if len(found) != len(expected):
        raise InferenceFailed(f"{len(found)} outputs, not {len(expected)}")
    for number, (a, b) in enumerate(zip(expected, found, strict=True)):
        if a.shape != b.shape:
            raise InferenceFailed(f"output {number} has shape {b.shape}, not {a.shape}")
        if b.dtype != a.dtype:
            raise InferenceFailed(f"output {number} is {b.dtype}, not {a.dtype}")
        off, cosine = _off(a, b), likeness(a, b)
        if not (off <= most_off and cosine >= least_cosine):  # nan is neither
            raise InferenceFailed(f"output {number} is off by {off:.2g} of its largest number (cosine {cosine:.5f})")


def _off(a: Floats, b: Floats) -> float:
    """The largest difference as a part of the largest number."""
    return float(np.abs(a - b).max(initial=0) / np.abs(a).max(initial=1e-6))


def likeness(a: Floats, b: Floats) -> float:
    """Of all numbers as one vector; 1 where both are nothing."""
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / lengths if lengths else float(np.array_equal(x, y))
