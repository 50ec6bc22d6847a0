"""Is it the same person? From which similarity on, and by which face of a picture."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from visage.errors import EmbeddingMismatch, ThresholdUnknown
from visage.faces import Floats

Origin = Literal["request", "settings", "catalogue"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """The cosine from which on two faces are one person's, and who says so."""

    value: float
    origin: Origin


def threshold_of(request: float | None, setting: float | None, catalogue: float | None, network: str) -> Threshold:
    """The first that is said: by the request, by SAME_THRESHOLD, by the catalogue for `network`.

    Raises ThresholdUnknown.
    """
    said: tuple[tuple[float | None, Origin], ...] = (
        (request, "request"),
        (setting, "settings"),
        (catalogue, "catalogue"),
    )
    for value, origin in said:
        if value is not None:
            return Threshold(value, origin)
    raise ThresholdUnknown(
        f"The catalogue knows no threshold for {network}: say `threshold` in the request, or set SAME_THRESHOLD; "
        "`visage evaluate pairs.csv` finds one on your own pictures"
    )


def similarity(a: Floats, b: Floats) -> float:
    """The cosine of two unit vectors (D,), −1…1. Raises EmbeddingMismatch for two lengths."""
    if a.shape != b.shape:
        raise EmbeddingMismatch(
            f"Vectors of {len(a)} and of {len(b)} numbers are of two recognisers and have nothing in common"
        )
    return float(np.clip(np.dot(a.astype(np.float64), b.astype(np.float64)), -1, 1))


def why_chosen(found: int) -> str:
    """Why the largest of so many faces stands for its picture."""
    return "the only face" if found == 1 else f"the largest of {found} faces"
