"""The valid keys in memory, kept up with their file."""

import hmac
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from visage.access.keyfile import FILE, KeyFile, read_keys
from visage.access.keylist import KeyList
from visage.access.keys import Key, digest_of
from visage.errors import ConfigurationError, NotReady

log = logging.getLogger("visage.access")

# Keys are found by the start of their digest and compared whole. Who tries secrets cannot steer the digest, so what
# the first step's time gives away is of no use to them.
_START = 4
_UNREAD = -1
# Who writes when keys were used is done within a millisecond, and is waited for: a key that was added or taken back
# before must not be missed for it.
_WAIT = 0.05  # seconds


class KeyRing:
    """Asked at every request: a few microseconds as long as the file is what it was, read anew when it changed.

    `listed`: keys that are valid besides, unless the file says that one of them is revoked. For one thread.
    """

    def __init__(self, file: KeyFile, listed: KeyList | None = None) -> None:
        try:
            file.make()
        except ConfigurationError as error:
            if listed is None or file.path.exists():
                raise
            log.warning("%s; the keys of AUTH_KEYS_FILE are valid", error)
        self._listed = listed
        self._path = file.path
        self._db: sqlite3.Connection | None = None
        self._place: tuple[int, int] | None = None
        self._version = _UNREAD
        self._keys: dict[bytes, list[Key]] = {}

    def __len__(self) -> int:
        self._catch_up()
        return sum(len(several) for several in self._keys.values())

    def find(self, secret: str) -> Key | None:
        """The valid key with this secret."""
        self._catch_up()
        digest = digest_of(secret)
        near = self._keys.get(digest[:_START], ())
        return next((key for key in near if hmac.compare_digest(key.digest, digest)), None)

    def hold_usable(self) -> None:
        """Raises NotReady."""
        self._catch_up()

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _catch_up(self) -> None:
        """What takes longer to be written than is waited for is seen at a later request. Raises NotReady where the file
        cannot be read: which keys were taken back nobody knows then.
        """
        try:
            db = self._opened()
            version = db.execute("PRAGMA data_version").fetchone()[0] if db else 0
            listed, changed = self._listed.keys() if self._listed else ([], False)
            if changed:
                self._version = _UNREAD  # until both were read: the file may be locked just now
            if version != self._version:
                self._keys = _by_start(valid_keys(list(read_keys(db)) if db else [], listed))
                self._version = version
        except (sqlite3.Error, OSError) as exc:
            if "locked" in str(exc):
                return
            self.close()
            self._version = _UNREAD
            log.error("the keys' file %s cannot be read: %s", self._path, exc)
            why = exc.strerror if isinstance(exc, OSError) else exc
            said = f"The keys' file DATA_DIR/{FILE} cannot be read ({why}): restore it from a copy"
            raise NotReady(said, retry_after=10) from exc

    def _opened(self) -> sqlite3.Connection | None:
        """The file that is there now, which another may have taken the place of; None where there is none."""
        place = _place(self._path)
        if place != self._place:
            self.close()
            self._place, self._version, self._keys = place, _UNREAD, {}
        if self._db is None and place is not None:
            address = f"file:{quote(str(self._path))}?mode=ro"
            self._db = sqlite3.connect(address, uri=True, timeout=_WAIT, check_same_thread=False)
        return self._db


def valid_keys(kept: list[Key], listed: list[Key]) -> Iterator[Key]:
    """Of the keys' file and of a list: what the file says is revoked is so, though it be listed."""
    yield from (key for key in kept if key.revoked is None)
    known = {key.digest for key in kept}
    yield from (key for key in listed if key.digest not in known)


def _place(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _by_start(keys: Iterable[Key]) -> dict[bytes, list[Key]]:
    found: dict[bytes, list[Key]] = {}
    for key in keys:
        found.setdefault(key.digest[:_START], []).append(key)
    return found
