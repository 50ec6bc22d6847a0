"""What a race found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import geometric_mean

from visage.backends import backend
from visage.backends.base import ModelFile, OpenSession, Session


@dataclass(frozen=True, slots=True)
class Timing:
    """Median milliseconds of one run of `batch` pictures on `threads` cores; `spread`: its middle half's width ÷ it."""

    threads: int
    batch: int
    ms: float
    spread: float


@dataclass(frozen=True, slots=True)
class Standing:
    """The engine of one network, why that one, and the times of every engine that was measured."""

    engine: str
    why: str
    timings: Mapping[str, tuple[Timing, ...]] = field(default_factory=dict)


# By the network's name.
Standings = Mapping[str, Standing]


def score(timings: tuple[Timing, ...]) -> float:
    """Latency and throughput in one number of milliseconds: every case counts alike, however long it takes."""
    return geometric_mean(timing.ms for timing in timings)


def opening(standings: Standings) -> OpenSession:
    """Opens each network, by its name, with its engine."""

    def open_session(model: ModelFile, /) -> Session:
        return backend(standings[model.name].engine)(model)

    return open_session
