"""What there is of a file that is being fetched: the bytes, and of which version they are."""

import errno
import json
import os
import shutil
from pathlib import Path

import httpx


class Part:
    """The beginning of a file on its way to `into`; a note beside it says of what.

    `known_as` tells the file: another's bytes are not gone on with.
    """

    def __init__(self, into: Path, known_as: str) -> None:
        self._into = into
        self._known_as = known_as
        self.path = into.with_name(f"{into.name}.part")
        self._note = into.with_name(f"{into.name}.part.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def state(self) -> tuple[int, str | None]:
        """How many bytes there are of this file, and of which version; none of anything else."""
        try:
            note = json.loads(self._note.read_text("utf-8"))
            if note["of"] == self._known_as and note["version"]:
                return self.path.stat().st_size, str(note["version"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return 0, None

    def remember(self, response: httpx.Response) -> None:
        """Without a version nothing can be resumed, and the next try begins anew."""
        version = None if is_encoded(response) else _version(response)
        self._note.write_text(json.dumps({"of": self._known_as, "version": version}), "utf-8")

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """It is whole."""
        self.path.replace(self._into)
        self._note.unlink(missing_ok=True)

    def goes_on_with(self, response: httpx.Response) -> bool:
        """Whether a 206 is the rest of what there is: from its `Content-Range: bytes 100-199/200` and its version."""
        have, version = self.state()
        rest: str = response.headers.get("content-range", "").partition(" ")[2]
        other = is_encoded(response) or _version(response) not in (None, version)
        return not other and rest.partition("-")[0] == str(have)

    def make_sure_of_room(self, needed: int) -> None:
        """Raises OSError before the disk is full rather than then."""
        if needed > shutil.disk_usage(self.path.parent).free:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for {needed / 1e6:.1f} MB")


def is_encoded(response: httpx.Response) -> bool:
    """Whether the server compressed it although it was asked not to: its counts are then not the file's."""
    return bool(response.headers.get("content-encoding", "identity") != "identity")


def _version(response: httpx.Response) -> str | None:
    """A weak ETag names no bytes."""
    tag: str = response.headers.get("etag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("last-modified")
