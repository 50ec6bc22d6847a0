"""The inner loops of exact search, compiled: similarities of rows and probes, and the best of them.

They read the rows where they lie, in a file mapped into memory that all worker processes share: a library's index
would hold a copy a process, and numpy would have to make float32 of float16 and int8 first. A probe in float32 takes
about as long as numpy's product, which is bound by memory, too; float16 and int8 take the half and less (docs/decisions
12; benchmarks/search.py measures it anew). Of several probes, four are held against a row at once, which is loaded for
all of them.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from visage.faces import Floats
from visage.geometry.compiled import compiled

# Sums may be reordered, which is what makes them vectors; nothing is assumed of values that are no numbers.
_SUMS = {"contract", "reassoc"}


def _number_of(_: Any, stored: Any) -> Any:
    """A stored number as float32. Those of 16 bits are a float16's: the processor converts sixteen at once."""

    def half(_: Any, builder: Any, ___: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    def other(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, arguments[0], signature.args[0], types.float32)

    return types.float32(stored), half if stored == types.uint16 else other


_number: Any = intrinsic(_number_of)


@compiled(fastmath=_SUMS)
def products(rows: NDArray[Any], probes: Floats, out: Floats) -> None:
    """`rows` (n, D) of float32, int8 or float16 as its bits, `probes` float32 (q, D) → `out` float32 (q, n), their
    products.
    """
    count, length = rows.shape
    for i in range(count):
        row = rows[i]
        q = 0
        while q + 4 <= len(probes):
            p0, p1, p2, p3 = probes[q], probes[q + 1], probes[q + 2], probes[q + 3]
            s0 = s1 = s2 = s3 = np.float32(0)
            for j in range(length):
                x = _number(row[j])
                s0 += x * p0[j]
                s1 += x * p1[j]
                s2 += x * p2[j]
                s3 += x * p3[j]
            out[q, i], out[q + 1, i], out[q + 2, i], out[q + 3, i] = s0, s1, s2, s3
            q += 4
        while q < len(probes):
            probe = probes[q]
            s = np.float32(0)
            for j in range(length):
                s += _number(row[j]) * probe[j]
            out[q, i] = s
            q += 1


@compiled()
def keep_best(
    scores: Floats,
    persons: NDArray[np.int32],
    keys: NDArray[np.int64],
    allowed: NDArray[np.uint8],
    by_person: bool,
    best: Floats,
    best_persons: NDArray[np.int32],
    best_keys: NDArray[np.int64],
) -> None:
    """Let the rows of `scores` (q, n) into the lists `best` (q, k), best first, where they belong there.

    By person a list holds each person once, with their best row. This is exact in one pass: who is pushed out, or never
    came in, had no row above the least of the list, which only rises; with a better row they come in as if new. What is
    equal does not push out. `persons` (n,) are −1 where a row is gone; `allowed` (persons + 1,), or of length 0 where
    everybody is. A list begins with persons −1 and scores below which nothing shall come in.
    """
    most = best.shape[1]
    for q in range(len(scores)):
        floor = best[q, most - 1]
        for i in range(len(persons)):
            score = scores[q, i]
            if score <= floor:
                continue
            person = persons[i]
            if person < 0 or (len(allowed) > 0 and (person >= len(allowed) or allowed[person] == 0)):
                continue
            place = most - 1
            if by_person:
                for j in range(most):
                    if best_persons[q, j] == person:
                        place = j
                        break
                if best_persons[q, place] == person and best[q, place] >= score:
                    continue
            while place > 0 and best[q, place - 1] < score:
                best[q, place] = best[q, place - 1]
                best_persons[q, place] = best_persons[q, place - 1]
                best_keys[q, place] = best_keys[q, place - 1]
                place -= 1
            best[q, place] = score
            best_persons[q, place] = person
            best_keys[q, place] = keys[i]
            floor = best[q, most - 1]
