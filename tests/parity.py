"""How far apart two backends may be that compute one network, and the arithmetic that says whether they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.golden.references import Comparison, compare, cosine
from visage.faces import Detections, Embedding


@dataclass(frozen=True, slots=True)
class Bounds:
    """`overlap`: least intersection over union of a face's boxes, and `mean`, of all faces'; `offset`: of its landmarks,
    in widths of the face; `score`: of its scores; `cosine`: least of two embeddings; `norm`: of their lengths, as a part.
    """

    overlap: float
    mean: float
    offset: float
    score: float
    cosine: float
    norm: float


SINGLE = Bounds(overlap=0.99, mean=0.999, offset=0.01, score=1e-3, cosine=0.9999, norm=1e-3)
# Of two proposals for a face whose scores are nearly the same the other one may be kept: its box is another, too.
HALF = Bounds(overlap=0.8, mean=0.98, offset=0.1, score=5e-3, cosine=0.999, norm=1e-2)


def apart(
    names: Sequence[str], known: Sequence[Detections], found: Sequence[Detections], threshold: float, bounds: Bounds
) -> list[str]:
    """A line for each picture and difference; empty where both backends saw the same.

    A face whose score is as near to `threshold` as scores may differ need not be seen by both.
    """
    seen = [
        compare(name, other, one[one.scores > threshold + bounds.score])
        for name, a, b in zip(names, known, found, strict=True)
        for one, other in ((a, b), (b, a))
    ]
    said = [f"{one.picture}: {what}" for one in seen for what in _beyond(one, bounds)]
    mean = np.concatenate([np.ones(1), *(one.overlaps for one in seen)]).mean()
    return said if mean >= bounds.mean else [*said, f"boxes overlap by {mean:.4f} in the mean"]


def _beyond(seen: Comparison, bounds: Bounds) -> Iterator[str]:
    if len(seen.overlaps) < seen.expected:
        yield f"{seen.expected - len(seen.overlaps)} of {seen.expected} faces are not there"
    if seen.overlaps.min(initial=1) < bounds.overlap:
        yield f"boxes overlap by {seen.overlaps.min():.4f}"
    if seen.offsets.max(initial=0) > bounds.offset:
        yield f"landmarks off by {seen.offsets.max():.4f} of a face's width"
    if seen.scores.max(initial=0) > bounds.score:
        yield f"scores off by {seen.scores.max():.5f}"


def unlike(known: Sequence[Embedding], found: Sequence[Embedding], bounds: Bounds) -> list[str]:
    """A line for each crop whose embeddings differ."""
    said = []
    for i, (a, b) in enumerate(zip(known, found, strict=True)):
        alike, longer = cosine(a.vector, b.vector), abs(b.norm / a.norm - 1)
        if not (
            alike >= bounds.cosine and longer <= bounds.norm and np.isclose(np.linalg.norm(b.vector), 1, atol=1e-5)
        ):
            said.append(f"crop {i}: cosine {alike:.6f}, norms differ by {longer:.5f}")
    return said
