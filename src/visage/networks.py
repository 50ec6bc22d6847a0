"""Which networks are in use, and which of them answer a request."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from visage.families.base import Task
from visage.zoo.catalogue import Entry
from visage.zoo.hashes import named
from visage.zoo.store import Prepared, Store

# The short names that X-Visage-Models tells, in its order.
ROLES: Mapping[Task, str] = {
    "detection": "det",
    "recognition": "rec",
    "attributes-gender-age": "ga",
    "attributes-mask": "mask",
    "landmarks-106": "lmk",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network in use. `stamp`: what the file looked like when it was prepared."""

    entry: Entry
    file: Prepared
    stamp: tuple[int, int] | None = None

    @classmethod
    def prepared(cls, entry: Entry, store: Store) -> "Loaded":
        """Its file made ready. Raises ModelFileError."""
        file = store.prepare(entry)
        return cls(entry, file, stamp_of(file.path))

    def described(self) -> str:
        return named(self.entry.name, self.file.sha256)


@dataclass(frozen=True, slots=True)
class Networks:
    """What is loaded: `defaults` by role, and `named`, by role and name all that a request may name, defaults first."""

    defaults: Mapping[str, Loaded]
    named: Mapping[str, Mapping[str, Loaded]]

    @classmethod
    def of(cls, defaults: Mapping[str, Loaded], more: Iterable[Loaded] = ()) -> "Networks":
        named = {role: {model.entry.name: model} for role, model in defaults.items()}
        for model in more:
            named.setdefault(ROLES[model.entry.task], {}).setdefault(model.entry.name, model)
        return cls(dict(defaults), named)

    def answering(self, **names: str | None) -> dict[str, Loaded]:
        """By role, what answers a request that names these (`det="yunet"`), each of which is loaded."""
        asked = {role: self.named[role][name] for role, name in names.items() if name is not None}
        chosen = {**self.defaults, **asked}
        return {role: chosen[role] for role in ROLES.values() if role in chosen}

    def all(self) -> list[tuple[str, Loaded]]:
        """Each with its role."""
        return [(role, model) for role, models in self.named.items() for model in models.values()]


def described(models: Mapping[str, Loaded]) -> dict[str, str]:
    """Role → name@sha256, as answers tell it."""
    return {role: model.described() for role, model in models.items()}


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
