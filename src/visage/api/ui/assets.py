"""The page's files, read once, under an address that changes with their content."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from visage.errors import ConfigurationError

_ROOT = Path(__file__).parent
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_LANGUAGE = re.compile(r"[a-z]{2}\.js")


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Assets:
    """`digest` stands in every address, so that a browser may keep a file for good: another content is another address.

    Scripts import one another by relative addresses, thus all of one page come from one digest.
    """

    page: Asset
    files: Mapping[str, Asset]
    digest: str


@cache
def assets() -> Assets:
    """Raises ConfigurationError where the installation lacks them."""
    paths = sorted(path for path in _ROOT.rglob("*") if path.suffix in _TYPES)
    page = _ROOT / "index.html"
    if not page.is_file() or not paths:
        raise ConfigurationError("the page's files are not in this installation: install visage again")
    contents = {path.relative_to(_ROOT).as_posix(): path.read_bytes() for path in paths}
    whole = hashlib.sha256()
    for name, content in contents.items():
        whole.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    digest = whole.hexdigest()[:12]
    html = page.read_text("utf-8").replace("ASSETS", f"ui/assets/{digest}")
    files = {name: _asset(content, _TYPES[Path(name).suffix]) for name, content in contents.items()}
    return Assets(_asset(html.encode(), "text/html; charset=utf-8"), files, digest)


def languages() -> list[str]:
    """The languages that the page speaks, by their codes."""
    return sorted(path.stem for path in (_ROOT / "js" / "texts").iterdir() if _LANGUAGE.fullmatch(path.name))


def _asset(content: bytes, media_type: str) -> Asset:
    return Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:20]}"')
