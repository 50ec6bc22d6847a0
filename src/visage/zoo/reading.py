"""Reading catalogues: ours, the models folder's, and those of InsightFace-REST.

Three files, each over the one before: the catalogue inside this package, `models.json` of the models folder, whose
entries replace those of the same name, and `models.override.json`, whose fields replace single fields.
"""

import json
import logging
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from visage.errors import ConfigurationError, UnknownFamily
from visage.families import family
from visage.zoo import reference_catalogue
from visage.zoo.catalogue import Catalogue, Entry
from visage.zoo.packs import packs

Fields = dict[str, Any]

log = logging.getLogger(__name__)


def read_catalogue(models_dir: Path) -> Catalogue:
    """The catalogue for `models_dir`. Raises ConfigurationError naming the file, the entry and the field."""
    known = _entries(json.loads(_packaged()))
    for name, whole in (("models.json", True), ("models.override.json", False)):
        file = models_dir / name
        try:
            if file.is_file():
                known = _merged(known, _entries(json.loads(file.read_text("utf-8"))), whole)
            entries = {of: _entry(of, fields) for of, fields in known.items()}
        except OSError as exc:
            raise ConfigurationError(f"{file} cannot be read ({exc.strerror}); set MODELS_DIR to its folder") from exc
        except UnknownFamily as exc:
            raise UnknownFamily(f"{file}: {exc}") from exc
        except ValueError as exc:
            raise ConfigurationError(f"{file}: {exc}") from exc
    return Catalogue(entries, packs(models_dir))


def parse_catalogue(data: Any) -> Catalogue:
    """{name: fields} → Catalogue; UnknownFamily or ValueError naming the entry and the field."""
    merged = _merged({}, _entries(data), whole=True)
    return Catalogue({name: _entry(name, fields) for name, fields in merged.items()})


def _merged(known: dict[str, Fields], said: dict[str, Fields], whole: bool) -> dict[str, Fields]:
    """`known` with what `said` replaces: entries where `whole`, else single fields."""
    merged = dict(known)
    for name, fields in said.items():
        before = known.get(name, {})
        if reference_catalogue.is_one(fields):
            ours = reference_catalogue.translated(name, fields, before)
            if ours is None:
                log.warning("model %r is passed over: nothing here reads function %r", name, fields.get("function"))
            else:
                merged[name] = ours
        else:
            merged[name] = fields if whole else {**before, **fields}
    return merged


def _entries(data: Any) -> dict[str, Fields]:
    if not isinstance(data, dict):
        raise ValueError("a JSON object of models by name is expected")
    for name, fields in data.items():
        if not isinstance(fields, dict):
            raise ValueError(f"model {name!r}: a JSON object of fields is expected")
        if fields.get("name", name) != name:
            raise ValueError(f"model {name!r}, field 'name': the key is the name")
    return data


def _entry(name: str, fields: Fields) -> Entry:
    said = {key: value for key, value in fields.items() if key not in ("name", "task")}
    try:
        entry = Entry(name=name, **said)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"model {name!r}, field {where!r}: {first['msg']}") from exc
    try:
        task = family(entry.family).task
    except UnknownFamily as exc:
        raise UnknownFamily(f"model {name!r}, field 'family': {exc}") from exc
    if fields.get("task", task) != task:
        raise ValueError(f"model {name!r}, field 'task': family {entry.family} does {task}, not {fields['task']!r}")
    return entry


def _packaged() -> str:
    """The copy inside an installed package; in a source checkout the original."""
    inside = resources.files("visage.zoo") / "models.json"
    original = Path(__file__).resolve().parents[3] / "models" / "models.json"
    return inside.read_text("utf-8") if inside.is_file() or not original.is_file() else original.read_text("utf-8")
