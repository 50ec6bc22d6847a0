"""What lies in the models folder, and whether it is what it should be."""

from enum import StrEnum

from visage.errors import ChecksumMismatch, DownloadFailed
from visage.zoo.catalogue import Entry, LocalFile, PackageFile
from visage.zoo.hashes import agrees, is_known
from visage.zoo.store import Store
from visage.zoo.transfer import digest


class State(StrEnum):
    """How the file of a model is had."""

    EMBEDDED = "embedded"
    IMPORTED = "imported"
    DOWNLOADED = "downloaded"
    BY_HAND = "put by hand"
    LOCAL = "local file"
    TO_DOWNLOAD = "to download"
    MISSING = "to be put by hand"

    @property
    def here(self) -> bool:
        return self not in (State.TO_DOWNLOAD, State.MISSING)


def state_of(entry: Entry, store: Store) -> State:
    """At a glance: no file is read through."""
    note = store.note(entry.name)
    first = entry.sources[0] if entry.sources else None
    if store.path(entry.name).is_file() and (note.get("imported") or not isinstance(first, PackageFile)):
        return State.IMPORTED if note.get("imported") else State.DOWNLOADED if "from" in note else State.BY_HAND
    if isinstance(first, PackageFile):
        return State.EMBEDDED
    if isinstance(first, LocalFile) and (store.folder / first.path).is_file():
        return State.LOCAL
    return State.TO_DOWNLOAD if entry.sources else State.MISSING


def bytes_of(entry: Entry, store: Store) -> str:
    """Megabytes of its file, or what the catalogue says of them; empty where nobody knows."""
    path = store.path(entry.name)
    size = path.stat().st_size if path.is_file() else entry.bytes
    return "" if size is None else f"{size / 1e6:.1f}"


def checked(entry: Entry, store: Store) -> str:
    """What is to be said of the file of `entry`, read through.

    Raises DownloadFailed where there is none, ChecksumMismatch where it is not what it should be.
    """
    path = store.located(entry)
    if path is None:
        raise DownloadFailed(f"{entry.name}: there is no file yet: visage models pull {entry.name}")
    sha256 = digest(path)
    note = store.note(entry.name) if path == store.path(entry.name) else {}
    if agrees(path, sha256, entry):
        return f"verified, sha256 {sha256}"
    if note.get("sha256") == sha256:
        how = "imported" if note.get("imported") else f"fetched from {note.get('from')}"
        return f"unchanged since it was {how}; not the catalogue's hash, sha256 {sha256}"
    if note:
        raise ChecksumMismatch(f"{entry.name}: {path} has sha256 {sha256}, {note.get('sha256')} was recorded")
    if is_known(entry):
        raise ChecksumMismatch(f"{entry.name}: {path} has sha256 {sha256}, which is not the catalogue's")
    return f"unverified: the catalogue has no hash for it, sha256 {sha256}"
