"""The rows of a table: what was measured, what it should be, what it is."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """`aim`: the most, or with `at_least` the least, that the value should be; None for a value that is only told."""

    what: str
    value: float
    unit: str = ""
    aim: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool:
        if self.aim is None:
            return True
        return self.value >= self.aim if self.at_least else self.value <= self.aim

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        aim = "" if self.aim is None else f"{sign} {self.aim:g}"
        return f"| {self.what} | {aim} | {self.value:.3g} {self.unit}".rstrip() + (" |" if self.met else " (missed) |")


@dataclass(slots=True)
class Table:
    """Rows, printed as they come."""

    rows: list[Row] = field(default_factory=list)

    def head(self, title: str) -> None:
        print(f"\n**{title}**\n\n| what | aim | value |\n|---|---|---|", flush=True)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(row, flush=True)

    def verdict(self) -> str:
        missed = [row.what.strip() for row in self.rows if not row.met]
        return "all aims met" if not missed else f"missed: {'; '.join(missed)}"


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` (0..1) of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The median of a/b over runs that alternated: a machine whose speed drifts drifts for both."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))
