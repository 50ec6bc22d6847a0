"""Writes what stands between `<!-- generated: NAME -->` and `<!-- end -->` in docs/; `--check` only compares."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from visage import errors
from visage.api.app import create_app
from visage.api.problems import STATUS, kind_of, status_of
from visage.api.schemas import DrawFields, ExtractFields
from visage.errors import VisageError
from visage.settings import IGNORED, SPELLINGS, Settings
from visage.zoo.catalogue import read_catalogue

DOCS = Path(__file__).resolve().parent
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


def fields(model: Any) -> str:
    rows = [f"| `{name}` | {info.description} |" for name, info in model.model_fields.items()]
    return "\n".join(["| field | meaning |", "|---|---|", *rows])


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
    for entry in read_catalogue(DOCS.parent / "models").entries.values():
        source = "embedded" if entry.sources else "by hand"
        threshold = "" if entry.threshold is None else f"{entry.threshold:g}"
        rows.append(
            f"| `{entry.name}` | {entry.task} | {entry.family} | {entry.licence.id} | {source} | {threshold} | "
            f"{entry.description} |"
        )
    head = "| name | task | family | licence of the weights | file | threshold | what |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


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
    "routes": routes,
    "models": models,
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
