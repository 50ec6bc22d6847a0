"""Whether vectors are what a collection holds."""

from collections.abc import Sequence

import numpy as np

from visage.errors import EmbeddingMismatch
from visage.faces import Floats

# How far from 1 the length of a vector may be that is called a unit vector.
UNIT = 1e-3


def hold_unit(whose: str, vectors: Sequence[Floats] | Floats, dimension: int) -> None:
    """Raises EmbeddingMismatch: they are not all of so many numbers and of unit length."""
    for vector in vectors:
        if vector.shape != (dimension,):
            raise EmbeddingMismatch(
                f"{whose}: a vector of {vector.shape} numbers, where the collection's have {dimension}"
            )
    if not len(vectors):
        return
    lengths = np.linalg.norm(np.asarray(vectors, np.float32), axis=1)
    if not (np.abs(lengths - 1) <= UNIT).all():  # a NaN is not
        worst = float(lengths[np.argmax(np.nan_to_num(np.abs(lengths - 1), nan=np.inf))])
        raise EmbeddingMismatch(f"{whose}: a vector of length {worst:.4g}, and not of unit length; divide by it")
