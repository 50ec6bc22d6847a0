"""The catalogue: what each network is, where it comes from, under which licence. Data, validated when read."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visage.backends.base import Preprocess
from visage.errors import ConfigurationError, UnknownFamily, UnknownModel
from visage.families import family
from visage.families.base import Task


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PackageFile(_Data):
    """A file inside an installed Python package."""

    package: str
    file: str


class PreprocessOverride(_Data):
    """What differs from the family's own preprocessing."""

    mean: float | None = None
    std: float | None = Field(default=None, gt=0)
    colours: Literal["rgb", "bgr"] | None = None


class Licence(_Data):
    """`id`: SPDX, or a plain name where SPDX has none; `commercial`: what the licence text says of it."""

    id: str
    commercial: bool | None = None
    note: str = ""


class Canonical(_Data):
    """Known numbers of this network on the self-test picture, five at most, and how far off they may be."""

    numbers: tuple[float, ...]
    tolerance: float = 0.01


class Entry(_Data):
    """One model of the catalogue. A missing `sha256` means unverified, which is said and is no error.

    `rewrites` name functions of `zoo.graph`; `sources` are tried in order, and with none the file is put by
    hand at `onnx/<name>/<name>.onnx` of the models folder.
    """

    name: str
    description: str = ""
    family: str
    params: Mapping[str, Any] = Field(default_factory=dict)
    preprocess: PreprocessOverride = PreprocessOverride()
    sources: tuple[PackageFile, ...] = ()
    rewrites: tuple[str, ...] = ()
    sha256: str | None = None
    bytes: int | None = None
    licence: Licence
    threshold: float | None = None
    canonical: Canonical | None = None

    @property
    def task(self) -> Task:
        """What it does, as the family says."""
        return family(self.family).task

    def fed(self) -> Preprocess:
        """The family's preprocessing with this entry's differences."""
        base, other = family(self.family).preprocess, self.preprocess
        return Preprocess(
            base.mean if other.mean is None else other.mean,
            base.std if other.std is None else other.std,
            base.colours if other.colours is None else other.colours,
            base.layout,
        )


class Catalogue:
    """Entries by name, in the file's order."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = dict(entries)

    def __getitem__(self, name: str) -> Entry:
        if name not in self.entries:
            raise UnknownModel(f"model {name!r} is not in the catalogue; known: {', '.join(self.entries)}")
        return self.entries[name]

    def find(self, name: str, task: Task, variable: str) -> Entry:
        """The entry `name`, which must do `task`; `variable` is the setting that named it."""
        try:
            entry = self[name]
        except UnknownModel as exc:
            known = ", ".join(e.name for e in self.entries.values() if e.task == task) or "none"
            raise UnknownModel(f"{variable}={name!r} is not in the catalogue; for {task} there are: {known}") from exc
        if entry.task != task:
            article = "an" if entry.task.startswith("a") else "a"
            raise UnknownModel(f"{variable}={name!r} is {article} {entry.task} model; {variable} names one for {task}")
        return entry


def read_catalogue(models_dir: Path) -> Catalogue:
    """The catalogue in `models_dir`/models.json, or where there is none the one inside this package.

    Raises ConfigurationError naming the file, the entry and the field.
    """
    path = models_dir / "models.json"
    try:
        text = path.read_text("utf-8") if path.is_file() else _packaged()
        return parse_catalogue(json.loads(text))
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read ({exc.strerror}); set MODELS_DIR to the folder of it") from exc
    except UnknownFamily as exc:
        raise UnknownFamily(f"{path}: {exc}") from exc
    except ValueError as exc:
        raise ConfigurationError(f"{path}: {exc}") from exc


def parse_catalogue(data: Any) -> Catalogue:
    """{name: fields} → Catalogue; UnknownFamily or ValueError naming the entry and the field."""
    if not isinstance(data, dict):
        raise ValueError("a JSON object of models by name is expected")
    return Catalogue({name: _entry(name, fields) for name, fields in data.items()})


def _entry(name: str, fields: Any) -> Entry:
    if not isinstance(fields, dict):
        raise ValueError(f"model {name!r}: a JSON object of fields is expected")
    if "name" in fields:
        raise ValueError(f"model {name!r}, field 'name': the key is the name")
    try:
        entry = Entry(name=name, **fields)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"model {name!r}, field {where!r}: {first['msg']}") from exc
    try:
        family(entry.family)
    except UnknownFamily as exc:
        raise UnknownFamily(f"model {name!r}, field 'family': {exc}") from exc
    return entry


def _packaged() -> str:
    """The copy inside an installed package; in a source checkout the original."""
    inside = resources.files("visage.zoo") / "models.json"
    original = Path(__file__).resolve().parents[3] / "models" / "models.json"
    return inside.read_text("utf-8") if inside.is_file() or not original.is_file() else original.read_text("utf-8")
