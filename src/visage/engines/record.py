"""The choices of engines that a models folder remembers, for each machine that used it.

onnx/<name>/<name>.engines.json    by machine: the engine, what it was measured with, and the times
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visage.cores import available
from visage.engines.standing import Standing, Timing
from visage.zoo.transfer import synced

log = logging.getLogger(__name__)

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Record:
    """One network's file."""

    path: Path

    def standing(self, machine: str, conditions: Mapping[str, Any]) -> Standing | None:
        """What was found under just these conditions on `machine`."""
        said = self._of(machine)
        if said.get("conditions") != conditions:
            return None
        try:
            timings = {name: tuple(Timing(**one) for one in times) for name, times in said["timings"].items()}
            return Standing(str(said["engine"]), "remembered", timings)
        except (KeyError, TypeError, AttributeError):  # written by hand, or by another version
            return None

    def engine(self, machine: str, weights: str) -> str | None:
        """What computed these weights on `machine` until now, under whatever conditions."""
        said = self._of(machine)
        conditions = said.get("conditions")
        known = isinstance(conditions, dict) and conditions.get("weights") == weights
        return str(said.get("engine")) if known else None

    def write(self, machine: str, conditions: Mapping[str, Any], standing: Standing) -> None:
        """Whole or not at all; the caller holds the model's lock. Raises OSError."""
        timings = {name: [asdict(timing) for timing in times] for name, times in standing.timings.items()}
        said = {"engine": standing.engine, "conditions": dict(conditions), "timings": timings}
        draft = self.path.with_name(f".work-{self.path.name}")
        draft.write_text(json.dumps(self._read() | {machine: said}, indent=1) + "\n", "utf-8")
        synced(draft)
        draft.replace(self.path)

    def _of(self, machine: str) -> dict[str, Any]:
        said = self._read().get(machine)
        return said if isinstance(said, dict) else {}

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def this_machine() -> str:
    """The processor's name and on how many cores of it this process computes."""
    try:
        lines = _CPU_INFO.read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == "model name"]
    return f"{names[0] if names else os.uname().machine}, {available().count} cores"
