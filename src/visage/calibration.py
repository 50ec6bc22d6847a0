"""From pairs of faces that are known to be one person's or two's: how well they are told apart, and from where on."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

# Past so many persons they are left out in so many groups, each person once.
_MOST_FOLDS = 50

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Pairs: `scores` float64 (n,) their cosines; `same` bool (n,); `persons` the two of each, where they are known."""

    scores: Scores
    same: Flags
    persons: tuple[tuple[Hashable, Hashable], ...] = ()

    def __post_init__(self) -> None:
        if self.scores.shape != self.same.shape or self.scores.ndim != 1:
            raise ValueError(f"{self.scores.shape} scores do not go with {self.same.shape} flags")
        if self.persons and len(self.persons) != len(self.scores):
            raise ValueError(f"{len(self.persons)} pairs of persons do not go with {len(self.scores)} scores")

    def __getitem__(self, which: Flags) -> "Judged":
        return Judged(self.scores[which], self.same[which])


@dataclass(frozen=True, slots=True)
class Accepted:
    """At the false accept rate `far`: the least threshold that keeps it, and how many of one person's it accepts.

    `tar` and `threshold` None: so small a rate cannot be seen with so few pairs of two persons.
    """

    far: float
    threshold: float | None
    tar: float | None


@dataclass(frozen=True, slots=True)
class Spread:
    """Thresholds chosen without some persons each time, and how they did on the pairs of those.

    `thresholds`: one each time; `accuracy`: over all pairs that were judged by a threshold that did not know them.
    """

    thresholds: tuple[float, ...]
    accuracy: float
    persons: int

    @property
    def mean(self) -> float:
        return float(np.mean(self.thresholds))

    @property
    def deviation(self) -> float:
        return float(np.std(self.thresholds))


def roc_auc(judged: Judged) -> float:
    """The probability that a pair of one person scores above a pair of two; ties count half (Mann & Whitney, 1947)."""
    positive, negative = _both(judged)
    below = np.searchsorted(negative, positive, "left").sum(dtype=np.float64)
    upto = np.searchsorted(negative, positive, "right").sum(dtype=np.float64)
    return float((below + upto) / 2 / (len(positive) * len(negative)))


def accuracy(judged: Judged, threshold: float) -> float:
    """The share of pairs that a threshold judges as they are; at the threshold itself it is one person."""
    return float(((judged.scores >= threshold) == judged.same).mean())


def best_threshold(judged: Judged) -> float:
    """The threshold of the greatest accuracy: the middle of the widest gap between scores that has it."""
    _both(judged)
    order = np.argsort(judged.scores, kind="stable")
    scores, same = judged.scores[order], judged.same[order]
    # right[i]: how many are judged as they are when the first i are called two persons'
    right = np.concatenate([[0], np.cumsum(~same)]) + np.concatenate([[0], np.cumsum(same[::-1])])[::-1]
    edges = np.concatenate([[-1.0], scores, [1.0]])  # a cosine is no less and no more
    gaps = edges[1:] - edges[:-1]  # (n + 1,)
    possible = gaps > 0
    best = np.flatnonzero((right == right[possible].max()) & possible)
    chosen = best[np.argmax(gaps[best])]
    return float((edges[chosen] + edges[chosen + 1]) / 2)


def true_accepts(judged: Judged, rates: Iterable[float] = RATES) -> list[Accepted]:
    """TAR at each FAR. With n pairs of two persons no rate below 1/n is to be seen (ISO/IEC 19795-1)."""
    positive, negative = _both(judged)
    return [_at(rate, positive, negative) for rate in rates]


def _at(rate: float, positive: Scores, negative: Scores) -> Accepted:
    allowed = int(np.floor(rate * len(negative) + 1e-9))
    if not allowed:
        return Accepted(rate, None, None)
    # Just above the first that must not be accepted; without one, everything may be.
    threshold = np.nextafter(negative[-allowed - 1], np.inf) if allowed < len(negative) else -1.0
    return Accepted(rate, float(threshold), float((positive >= threshold).mean()))


def curve(judged: Judged) -> tuple[Scores, Scores]:
    """The ROC curve: false and true accept rates (m,), rising, from 0 to 1."""
    positive, negative = _both(judged)
    thresholds = np.concatenate([[np.inf], np.unique(judged.scores)[::-1]])
    false = 1 - np.searchsorted(negative, thresholds, "left") / len(negative)
    true = 1 - np.searchsorted(positive, thresholds, "left") / len(positive)
    return false, true


def spread(judged: Judged) -> Spread | None:
    """Leave persons out, choose a threshold with the others, judge with it the pairs of those.

    None where too few persons are known: without some the rest must still have pairs of both kinds.
    """
    everybody = sorted({person for pair in judged.persons for person in pair}, key=str)
    folds = min(len(everybody), _MOST_FOLDS)
    group = {person: i % folds for i, person in enumerate(everybody)}
    groups = np.array([[group[a], group[b]] for a, b in judged.persons]).reshape(-1, 2)  # (n, 2)
    thresholds, right, count = [], 0, 0
    for fold in range(folds):
        out = (groups == fold).any(axis=1)
        known, held = judged[~out], judged[out]
        if not known.same.any() or known.same.all():
            continue
        threshold = best_threshold(known)
        thresholds.append(threshold)
        right += int(((held.scores >= threshold) == held.same).sum())
        count += len(held.scores)
    return Spread(tuple(thresholds), right / count, len(everybody)) if count else None


def persons_of(pairs: Sequence[tuple[str, str, bool]]) -> tuple[tuple[str, str], ...]:
    """The two persons of each pair of pictures, where nobody says who they are: pictures that pairs of one person join.

    Each is called by one of their pictures.
    """
    parent: dict[str, str] = {}

    def root(picture: str) -> str:
        parent.setdefault(picture, picture)
        while parent[picture] != picture:
            parent[picture] = parent[parent[picture]]
            picture = parent[picture]
        return picture

    for a, b, same in pairs:
        one, other = root(a), root(b)
        if same:
            parent[other] = one
    return tuple((root(a), root(b)) for a, b, _ in pairs)


def _both(judged: Judged) -> tuple[Scores, Scores]:
    """The scores of pairs of one person and of two, ascending. Raises ValueError where there are none of a kind."""
    positive, negative = np.sort(judged.scores[judged.same]), np.sort(judged.scores[~judged.same])
    if not len(positive) or not len(negative):
        raise ValueError(f"pairs of one person and of two are needed; there are {len(positive)} and {len(negative)}")
    return positive, negative
