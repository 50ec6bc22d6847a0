"""How many cores there are to compute on: those that this process may use, or fewer where its time is limited."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from visage.cgroup import ROOT, limits

# A quota that is short of a whole core by so little is meant to be one.
_NEARLY = 0.05


@dataclass(frozen=True, slots=True)
class Cores:
    """`usable`: cores that this process may run on (affinity, cpusets). `quota`: how many cores' worth of time it gets
    (docker --cpus, limits.cpu); None for no limit.
    """

    usable: int
    quota: float | None = None

    @property
    def count(self) -> int:
        """Threads that may compute at once, at least one; a quota is rounded down.

        The threads of a network's run wait for each other, and once the quota is used up all of them are stopped for
        the rest of its period (100 ms): with 2 threads under a quota of 1.5 a run of SFace took no less time than with
        one, and one in twenty more than twice as long. What is left over the event loop and the decoding of pictures
        use, which have threads of their own. Rust and Go's automaxprocs round down likewise; the JVM and Go itself,
        whose threads are those of all the work, round up.
        """
        return self.usable if self.quota is None else max(1, min(self.usable, math.floor(self.quota + _NEARLY)))

    @property
    def limited(self) -> bool:
        """Whether the quota is less than the cores."""
        return self.quota is not None and self.quota < self.usable

    def __str__(self) -> str:
        shown = f"{self.usable} core{'s' * (self.usable != 1)}"
        return f"{shown}, quota {self.quota:g}" if self.limited else shown


def available(root: Path = ROOT) -> Cores:
    """Now. `root`: where /proc and /sys are."""
    return Cores(len(os.sched_getaffinity(0)), limits(root).cpus)
