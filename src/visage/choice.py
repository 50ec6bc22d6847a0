"""Which networks of the catalogue the settings name."""

from dataclasses import dataclass

from visage.errors import ConfigurationError, UnknownModel
from visage.families.base import SETTINGS, Task
from visage.settings import Settings
from visage.zoo.catalogue import Catalogue, Entry

# What a request may choose among: the rest has one network a service.
_NAMEABLE: tuple[Task, ...] = ("detection", "recognition")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The catalogue entries that the settings name; None where none is loaded. `more`: those of MODELS_LOADED."""

    detection: Entry
    recognition: Entry | None
    gender_age: Entry | None
    masks: Entry | None
    landmarks: Entry | None
    more: tuple[Entry, ...] = ()

    def entries(self) -> dict[str, Entry]:
        """By role, what answers a request that names nothing."""
        named = {
            "det": self.detection,
            "rec": self.recognition,
            "ga": self.gender_age,
            "mask": self.masks,
            "lmk": self.landmarks,
        }
        return {role: entry for role, entry in named.items() if entry is not None}

    def further(self) -> list[Entry]:
        """Those of `more` that answer no request but one that names them."""
        names = {entry.name for entry in self.entries().values()}
        return [entry for entry in self.more if entry.name not in names]


def choose(settings: Settings, catalogue: Catalogue) -> Chosen:
    """The entries that the settings name. Raises ConfigurationError naming the variable and the choice there is."""

    def named(name: str | None, task: Task) -> Entry | None:
        return None if name is None else catalogue.find(name, task, SETTINGS[task])

    return Chosen(
        catalogue.find(settings.det_name, "detection", SETTINGS["detection"]),
        named(None if settings.rec_ignore else settings.rec_name, "recognition"),
        named(None if settings.ga_ignore else settings.ga_name, "attributes-gender-age"),
        named(settings.mask_detector, "attributes-mask"),
        named(settings.landmarks_name, "landmarks-106"),
        _more(settings.models_loaded, catalogue),
    )


def _more(names: list[str], catalogue: Catalogue) -> tuple[Entry, ...]:
    """The entries of MODELS_LOADED; that DET_NAME or REC_NAME names one of them too is no fault."""
    for i, name in enumerate(names):
        if name in names[:i]:
            once = ", ".join(dict.fromkeys(names))
            raise ConfigurationError(f"MODELS_LOADED names {name!r} twice; name each once: {once}")
    return tuple(_nameable(name, catalogue) for name in names)


def _nameable(name: str, catalogue: Catalogue) -> Entry:
    if name in catalogue.packs and name not in catalogue.entries:
        held = ", ".join(entry.name for entry in catalogue.packs[name]().values() if entry.task in _NAMEABLE)
        raise ConfigurationError(
            f"MODELS_LOADED: {name!r} is a pack; name its networks: {held or 'it has none to name'}"
        )
    try:
        entry = catalogue[name]
    except UnknownModel as exc:
        known = ", ".join(e.name for e in catalogue.entries.values() if e.task in _NAMEABLE) or "none"
        raise UnknownModel(
            f"MODELS_LOADED: {name!r} is not in the catalogue; of detection and recognition there are: {known}"
        ) from exc
    if entry.task not in _NAMEABLE:
        article = "an" if entry.task.startswith("a") else "a"
        raise ConfigurationError(
            f"MODELS_LOADED: {name!r} is {article} {entry.task} model; name it in {SETTINGS[entry.task]}"
        )
    return entry


def chosen_names(settings: Settings, catalogue: Catalogue) -> list[str]:
    """The names of all models that the settings load."""
    chosen = choose(settings, catalogue)
    return [entry.name for entry in (*chosen.entries().values(), *chosen.further())]
