"""Writes what stands between `<!-- generated: NAME -->` and `<!-- end -->` in docs/; `--check` only compares."""

import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from visage import errors
from visage.api.app import create_app
from visage.api.problems import STATUS, kind_of, status_of
from visage.api.schemas import DrawFields, ExtractFields
from visage.api.v1.bodies import CompareBody, DetectFields, EmbeddingFields, PersonFields, SearchFields
from visage.errors import VisageError
from visage.quality import LIMITS
from visage.settings import IGNORED, SPELLINGS, Settings
from visage.zoo.catalogue import Entry, Figure, PackageFile
from visage.zoo.hashes import expected
from visage.zoo.licences import MEANINGS, needs_acceptance
from visage.zoo.reading import read_catalogue

DOCS = Path(__file__).resolve().parent
CATALOGUE = read_catalogue(DOCS.parent / "models")
_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings() -> str:
    rows = []
    for field, names in SPELLINGS.items():
        info = Settings.model_fields[field]
        first, *others = (f"`{name}`" for name in names)
        also = f" ({', '.join(others)})" if others else ""
        rows.append(f"| {first}{also} | {_default(info.default)} | {info.description} |")
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def ignored() -> str:
    return "\n".join(["| variable | why |", "|---|---|", *(f"| `{name}` | {why} |" for name, why in IGNORED.items())])


def problems() -> str:
    kinds = sorted(
        (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VisageError)),
        key=lambda kind: (status_of(kind("")), kind.__name__),
    )
    served = [kind for kind in kinds if any(base in STATUS for base in kind.__mro__[:-2] if base is not VisageError)]
    rows = [f"| {status_of(kind(''))} | `urn:visage:{kind_of(kind(''))}` | {kind.title} |" for kind in served]
    return "\n".join(["| status | `type` | title |", "|---|---|---|", *rows])


def fields(model: Any, without: Any = None) -> str:
    known = without.model_fields if without else {}
    rows = [
        f"| `{name}` | {info.description} |"
        for name, info in model.model_fields.items()
        if name not in known and info.description
    ]
    return "\n".join(["| field | meaning |", "|---|---|", *rows])


def quality() -> str:
    modes = {mode: asdict(limits) for mode, limits in LIMITS.items() if limits is not None}
    names = next(iter(modes.values()))
    rows = [f"| {name} | {' | '.join(f'{limits[name]:g}' for limits in modes.values())} |" for name in names]
    return "\n".join([f"| | {' | '.join(modes)} |", f"|---|{'---|' * len(modes)}", *rows])


def routes() -> str:
    document = create_app(Settings()).openapi()
    rows = [
        f"| `{method.upper()} {path}` | {operation['summary']} |"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return "\n".join(["| route | what |", "|---|---|", *rows])


def models() -> str:
    rows = []
    for entry in CATALOGUE.entries.values():
        threshold = "" if entry.threshold is None else f"{entry.threshold:g}"
        rows.append(
            f"| `{entry.name}` | {entry.task} | {entry.family} | {entry.licence.id} | {_how_had(entry)} | "
            f"{_hashes(entry)} | {threshold} | {entry.description} |"
        )
    head = "| name | task | family | licence of the weights | file | hash | threshold | what |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *rows])


def _how_had(entry: Entry) -> str:
    if not entry.sources:
        return "by hand"
    return "embedded" if isinstance(entry.sources[0], PackageFile) else "download"


def _hashes(entry: Entry) -> str:
    """Of what kind the hash is that each source's file must have, in the order of the sources."""
    known = [expected(entry, place) for place in entry.sources or (None,)]
    return ", ".join(dict.fromkeys("unverified" if one is None else one.kind for one in known))


def licences() -> str:
    rows = [
        f"| `{name}` | {meaning} | {'yes' if needs_acceptance(name) else 'no'} | "
        f"{sum(entry.licence.id == name for entry in CATALOGUE.entries.values())} |"
        for name, meaning in MEANINGS.items()
    ]
    return "\n".join(["| licence | what it says | to be accepted | networks |", "|---|---|---|---|", *rows])


def figures(*columns: str) -> str:
    """The published figures so called, a row a network that has the first of them."""
    rows, units = [], dict.fromkeys(columns, "")
    for entry in CATALOGUE.entries.values():
        known: dict[str, Figure] = {figure.what: figure for figure in entry.figures}
        if columns[0] in known:
            units |= {what: f" ({figure.unit})" for what, figure in known.items() if what in units and figure.unit}
            cells = [f"{known[what].value:g}" if what in known else "" for what in columns]
            rows.append(f"| `{entry.name}` | {' | '.join(cells)} | {known[columns[0]].source} |")
    titles = [f"{what}{units[what]}" for what in columns]
    return "\n".join([f"| network | {' | '.join(titles)} | whose word |", f"|---|{'---|' * len(titles)}---|", *rows])


def _default(value: object) -> str:
    if value in (None, "", [], {}):
        return "–"
    if isinstance(value, tuple):
        return f"`{','.join(str(part) for part in value)}`"
    return f"`{str(value).replace(chr(39), chr(34))}`"


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "ignored": ignored,
    "problems": problems,
    "extract-fields": lambda: fields(ExtractFields),
    "draw-fields": lambda: fields(DrawFields),
    "detect-fields": lambda: fields(DetectFields),
    "embedding-fields": lambda: fields(EmbeddingFields, DetectFields),
    "compare-fields": lambda: fields(CompareBody),
    "person-fields": lambda: fields(PersonFields),
    "search-fields": lambda: fields(SearchFields),
    "quality": quality,
    "routes": routes,
    "models": models,
    "licences": licences,
    "published-accuracy": lambda: figures("WIDER FACE easy", "WIDER FACE medium", "WIDER FACE hard"),
    "published-detection-speed": lambda: figures("detection", "inference", "GPU utilisation"),
    "published-recognition-speed": lambda: figures("inference, batch 1", "inference, batch 64"),
}


def written(text: str) -> str:
    return _BLOCK.sub(lambda block: f"{block[1]}{PARTS[block[2]]()}\n{block[3]}", text)


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text("utf-8")
        fresh = written(text)
        if fresh != text:
            stale.append(path.relative_to(DOCS.parent))
            if not check:
                path.write_text(fresh, "utf-8")
    if check and stale:
        print(f"out of date: {', '.join(map(str, stale))}; run: make docs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
