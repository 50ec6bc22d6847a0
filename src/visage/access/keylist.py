"""Keys in a file that is only read: what several machines or pods share, each of which has a keys' file of its own.

A line a key, JSON, as `visage keys export` writes them: the secret's sha256, not the secret.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

from visage.access.keys import Key, rate_of, scopes_of
from visage.errors import ConfigurationError

log = logging.getLogger("visage.access")

_SHA256 = 32  # bytes
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)  # it names a file: that of the key's rate


class KeyList:
    """The keys of the file at `path`, read anew when it is another one. For one thread.

    Raises ConfigurationError, which names the line, where it cannot be read when the service starts. One that is broken
    later is told in the log, and the keys that were read before stay valid.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _state(path)
        self._keys = _read(path)

    def keys(self) -> tuple[list[Key], bool]:
        """All of them, and whether they are others than before."""
        state = _state(self._path)
        if state == self._state:
            return self._keys, False
        self._state = state
        try:
            self._keys = _read(self._path)
        except ConfigurationError as error:
            log.error("%s; the keys that were read before stay valid", error)
            return self._keys, False
        return self._keys, True


def line_of(key: Key) -> str:
    """The key as a line of such a file."""
    told = {
        "id": key.id,
        "name": key.name,
        "sha256": key.digest.hex(),
        "scopes": sorted(key.scopes),
        "collections": sorted(key.collections),
        "rate": key.rate,
        "created": key.created,
    }
    return json.dumps(told)


def _state(path: Path) -> tuple[int, int, int] | None:
    """Of the file that the path leads to now: where secrets are mounted it is a link, which is put elsewhere."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> list[Key]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"AUTH_KEYS_FILE={path} cannot be read: {exc}") from exc
    return [_key(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _key(path: Path, number: int, line: str) -> Key:
    try:
        told: dict[str, Any] = json.loads(line)
        digest = bytes.fromhex(told["sha256"])
        if len(digest) != _SHA256:
            raise ValueError("sha256 has 64 hexadecimal digits")
        if not _ID.fullmatch(told["id"]):
            raise ValueError("an id is of letters, digits, _ and -")
        return Key(
            told["id"],
            str(told["name"]),
            digest,
            scopes_of(_list(told["scopes"])),
            frozenset(_list(told.get("collections", []))),
            rate_of(str(told.get("rate", 0))),
            float(told.get("created", 0)),
        )
    except (ValueError, TypeError, KeyError, AttributeError, ConfigurationError) as exc:
        why = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        remedy = "`visage keys export` writes such lines"
        raise ConfigurationError(f"AUTH_KEYS_FILE={path}, line {number}: {why}; {remedy}") from exc


def _list(told: Any) -> list[str]:
    """A text alone would be taken for its letters."""
    if not isinstance(told, list) or not all(isinstance(word, str) for word in told):
        raise ValueError(f"a list of texts is expected; not {told!r}")
    return told
