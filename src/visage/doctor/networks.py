"""The models folder, and the networks that the settings name: licences, files, rights, room, memory."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from visage.choice import choose
from visage.doctor.finding import Finding, amount
from visage.doctor.machine import memory as memory_of_machine
from visage.errors import ConfigurationError
from visage.settings import Settings
from visage.zoo import licences
from visage.zoo.catalogue import Catalogue, Entry
from visage.zoo.inventory import State, state_of
from visage.zoo.sources import Fetching
from visage.zoo.store import Store

# An estimate: 0.3 GB at rest with the default pair (docs/operating.md), little of it the networks. Each is in memory in
# a form for all cores and one for a single core, and needs room for its runs.
_BASE = 250 * 2**20
_TIMES = 3
# As it came, and as it is prepared.
_COPIES = 2


def folder(models: Path) -> Iterator[Finding]:
    if not models.is_dir():
        if _may_write(models):
            yield Finding("models folder", "good", f"{models} will be made")
        else:
            yield Finding("models folder", "bad", f"{models} is not there, nor may it be made", "set MODELS_DIR")
    elif not os.access(models, os.R_OK | os.X_OK):
        yield Finding("models folder", "bad", f"{models} may not be read", f"give uid {os.getuid()} the right to")
    elif _may_write(models):
        yield Finding("models folder", "good", f"{models}, {amount(shutil.disk_usage(models).free)} free")
    else:
        yield Finding("models folder", "good", f"{models} may only be read")


def networks(settings: Settings, catalogue: Catalogue) -> Iterator[Finding]:
    """One finding a network, and one more where there is no room; about the "choice" where that is wrong."""
    try:
        licences.check_flags(settings.accept_licences, (entry.licence.id for entry in catalogue.entries.values()))
        entries = _chosen(settings, catalogue)
    except ConfigurationError as error:
        yield Finding("choice", "bad", str(error))
        return
    store = Store(Fetching(settings.models_dir, offline=settings.offline), settings.accept_licences)
    for entry in entries:
        yield _network(settings, store, entry)
    yield from _room(store, entries)


def memory(settings: Settings, catalogue: Catalogue) -> Iterator[Finding]:
    """An estimate, thus never bad."""
    store = Store(Fetching(settings.models_dir))
    here = sum(_size(store, entry) for entry in _chosen(settings, catalogue))
    needed = settings.num_workers * (_BASE + (0 if settings.inference_backend == "triton" else _TIMES * here))
    usable, whose = memory_of_machine()
    what = f"{amount(usable)} {whose}, about {amount(needed)} needed"
    if usable < needed:
        remedy = "fewer NUM_WORKERS, INFERENCE_THREADS=1, or smaller networks"
        yield Finding("memory", "doubtful", what, remedy)
    else:
        yield Finding("memory", "good", what)


def _chosen(settings: Settings, catalogue: Catalogue) -> list[Entry]:
    chosen = choose(settings, catalogue)
    return [*chosen.entries().values(), *chosen.further()]


def _network(settings: Settings, store: Store, entry: Entry) -> Finding:
    needed, place, state = entry.licence.id, store.path(entry.name), state_of(entry, store)
    if licences.needs_acceptance(needed) and needed.lower() not in settings.accept_licences:
        remedy = f"ACCEPT_LICENCES={','.join([*settings.accept_licences, needed.lower()])}, if you may use it"
        return Finding("networks", "bad", f"{entry.name} is under {needed}, which is not accepted", remedy)
    if not state.here and (settings.offline or state is State.MISSING):
        why = "no file, and OFFLINE is set" if state is not State.MISSING else "no file, and no place to fetch it from"
        return Finding("networks", "bad", f"{entry.name}: {why}", f"put it at {place}")
    if not _may_write(place.parent) and not (state.here and _is_prepared(store, entry)):
        what = f"{entry.name} is not prepared, and {place.parent} may not be written"
        return Finding(
            "networks", "bad", what, f"run `visage prepare` once with the right to, or give it uid {os.getuid()}"
        )
    size = f", {amount(entry.bytes)}" if entry.bytes else ""
    return Finding("networks", "good", f"{entry.name}: {state if state.here else f'will be fetched{size}'}")


def _is_prepared(store: Store, entry: Entry) -> bool:
    """At a glance: whether there is a note of it; a start holds the file to it."""
    return not entry.graph_rewrites() or store.path(entry.name).with_suffix(".prepared.json").is_file()


def _room(store: Store, entries: list[Entry]) -> Iterator[Finding]:
    coming = [entry for entry in entries if not state_of(entry, store).here]
    needed = _COPIES * sum(entry.bytes or 0 for entry in coming)
    free = shutil.disk_usage(_nearest(store.folder)).free
    if coming and free < needed:
        what = f"{store.folder} has {amount(free)} free, about {amount(needed)} are needed"
        yield Finding("models folder", "bad", what, "make room, or set MODELS_DIR to a folder that has it")


def _size(store: Store, entry: Entry) -> int:
    """As published and as prepared, of which one is loaded: the larger counts; of one to be fetched what is known."""
    there = [path.stat().st_size for path in store.path(entry.name).parent.glob("*.onnx")]
    return max([*there, entry.bytes or 0])


def _may_write(place: Path) -> bool:
    return os.access(_nearest(place), os.W_OK | os.X_OK)


def _nearest(place: Path) -> Path:
    """The folder itself, or the first above it that there is."""
    return next(one for one in (place.absolute(), *place.absolute().parents) if one.is_dir())
