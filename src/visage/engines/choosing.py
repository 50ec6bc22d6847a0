"""The engine of a network: the one that is named, the only one, the one remembered, else the winner of a race."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from visage.backends import AUTO, ORACLE, backend, installed
from visage.backends.base import ModelFile, OpenSession
from visage.engines.race import Work, race
from visage.engines.record import Record, this_machine
from visage.engines.standing import Standing
from visage.errors import BackendUnavailable, ModelFileError
from visage.faces import Pixels
from visage.zoo.catalogue import Entry
from visage.zoo.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choosing:
    """Chooses as INFERENCE_BACKEND, here `wanted`, says. `picture`: the self-test's, uint8 (h, w, 3).

    `again`: measure although there is a choice that is remembered.
    """

    wanted: str
    store: Store
    picture: Pixels
    again: bool = False

    def engine(self, entry: Entry, model: ModelFile, work: Work) -> Standing:
        """Raises BackendUnavailable, and of an engine that is measured what the oracle raises."""
        if self.wanted != AUTO:
            backend(self.wanted)
            return Standing(self.wanted, "named")
        versions = installed()
        if len(versions) < 2:
            return Standing(ORACLE, "the only one installed")
        record = Record(self.store.path(entry.name).with_suffix(".engines.json"))
        machine, conditions = this_machine(), _conditions(entry, model, work, versions)
        remembered = None if self.again else record.standing(machine, conditions)
        if remembered is not None:
            return _said(entry, remembered)
        with ExitStack() as held:
            alone = self._alone(entry, held)
            # Another process may have measured while this one waited.
            remembered = None if self.again else record.standing(machine, conditions)
            if remembered is not None:
                return _said(entry, remembered)
            before = record.engine(machine, model.sha256) or ORACLE
            standing = race(model, _contenders(entry, versions), work, self.picture, before)
            if alone:
                _remember(entry, record, machine, conditions, standing)
        return standing

    def _alone(self, entry: Entry, held: ExitStack) -> bool:
        """Hold the model's lock; False, and said, where the folder lets nothing be written."""
        try:
            held.enter_context(self.store.alone(entry))
        except ModelFileError as exc:
            log.warning("the engine is chosen for this start only: %s", exc)
            return False
        return True


def _conditions(entry: Entry, model: ModelFile, work: Work, versions: Mapping[str, str]) -> dict[str, Any]:
    """What a measurement holds for; as JSON gives it back."""
    return {
        "weights": model.sha256,
        "rewrites": list(entry.graph_rewrites()),
        "engines": dict(versions),
        "threads": model.threads,
        "fp16": model.means.fp16,
        "providers": list(model.means.providers),
        "size": list(work.size),
        "batches": list(work.batches),
    }


def _contenders(entry: Entry, versions: Mapping[str, str]) -> dict[str, OpenSession]:
    """Those whose libraries can be imported, the oracle first."""
    found = {ORACLE: backend(ORACLE)}
    for name in versions:
        try:
            found[name] = backend(name)
        except BackendUnavailable as exc:  # installed, and broken
            log.warning("%s is not computed by %s: %s", entry.name, name, exc)
    return found


def _said(entry: Entry, standing: Standing) -> Standing:
    log.debug("%s is computed by %s, which was measured before", entry.name, standing.engine)
    return standing


def _remember(entry: Entry, record: Record, machine: str, conditions: Mapping[str, Any], standing: Standing) -> None:
    try:
        record.write(machine, conditions, standing)
    except OSError as exc:
        log.warning("%s: its engine is chosen for this start only: %s", entry.name, exc.strerror)
