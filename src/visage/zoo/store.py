"""The models folder: files are fetched once, checked, prepared, and appear whole or not at all.

onnx/<name>/<name>.onnx            the file as it was published, put by hand or imported
onnx/<name>/<name>.json            where it came from and its sha256, written after it
onnx/<name>/<name>.prepared.onnx   what is opened, where the graph had to be rewritten
onnx/<name>/<name>.prepared.json   of what it was made and its sha256, written last: it means complete
onnx/<name>/<name>.engines.json    which engine computes it here (`engines.record`)
onnx/<name>/<name>.*.engine        what TensorRT made of it (`backends.tensorrt.cache`)
"""

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from visage.errors import ChecksumMismatch, DownloadFailed, ModelFileError
from visage.lock import alone, told_plainly
from visage.zoo import licences
from visage.zoo.catalogue import Entry, LocalFile, Place
from visage.zoo.hashes import agrees, expected, is_known
from visage.zoo.progress import metered
from visage.zoo.sources import Fetching, LocalSource, ModelSource, PackageSource, ZipSource, source
from visage.zoo.transfer import copied, digest, synced

log = logging.getLogger(__name__)

# Changes whenever a rewrite of `zoo.graph` gives another result: files prepared before are then made anew.
RECIPE_VERSION = 3

# What is being made is called so until it is whole.
_WORK = ".work-"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file ready to be opened.

    `sha256` identifies the weights: that of the published file where a rewrite made this one. `verified`: the
    catalogue's own hash agrees.
    """

    path: Path
    sha256: str
    verified: bool


class Store:
    """The models folder of `fetching`; safe against other processes and containers that share it.

    `accepted`: ids of the licences that the operator has accepted.
    """

    def __init__(self, fetching: Fetching, accepted: Collection[str] = ()) -> None:
        self.folder = fetching.folder
        self.fetching = fetching
        self._accepted = accepted

    def path(self, name: str) -> Path:
        """Where the file of model `name` lies, or is to be put by hand."""
        return self.folder / "onnx" / name / f"{name}.onnx"

    def prepare(self, entry: Entry) -> Prepared:
        """The file of `entry`, fetched and made now if it is not there yet.

        Raises LicenceNotAccepted, DownloadFailed, ChecksumMismatch, GraphRejected or ModelFileError.
        """
        licences.require(entry.name, entry.licence.id, self._accepted)
        raw = self._published(entry)
        if raw is None and not entry.sources:
            raise DownloadFailed(f"{entry.name}: no file at {self.path(entry.name)}; put the ONNX file there")
        if raw is None:
            with self.alone(entry):
                raw = self._published(entry) or self._fetch(entry)
        return self._prepared(entry, raw)

    def import_file(self, entry: Entry, file: Path, check: Callable[[Path], None] = lambda _: None) -> Prepared:
        """Take `file` as the model `entry`, whatever its hash, which is recorded: other bytes are used knowingly.

        `check` is given the prepared form before anything is replaced, and raises what is wrong with it.
        """
        licences.require(entry.name, entry.licence.id, self._accepted)
        if not file.is_file():
            raise ModelFileError(f"{file} is no file")
        with self.alone(entry), self._workplace(entry) as work:
            copy, made = work / file.name, work / f"{file.name}.made"
            copied(file, copy)
            check(made if _rewritten(entry, copy, made) else copy)
            sha256 = digest(copy)
            self._appear(copy, self.path(entry.name), {"sha256": sha256, "from": str(file), "imported": True})
        return self.prepare(entry)

    def fetch_anew(self, entry: Entry) -> Prepared:
        """As `prepare`, but from the sources even where there is a file, which stays until the new one is whole."""
        licences.require(entry.name, entry.licence.id, self._accepted)
        with self.alone(entry):
            raw = self._fetch(entry)
        return self._prepared(entry, raw)

    def located(self, entry: Entry) -> Path | None:
        """The published file that `prepare` would use, if there is one already."""
        path = self.path(entry.name)
        in_place = None if self.note(entry.name).get("imported") else self._own_place(entry)
        return in_place or (path if path.is_file() else None)

    def note(self, name: str) -> dict[str, Any]:
        """What was recorded of the file of model `name`; empty for none, and for one put by hand."""
        return _read(_note(self.path(name)))

    def _published(self, entry: Entry) -> Prepared | None:
        """The file as it was published, if it is there and right; None where it is to be fetched (anew).

        Raises ChecksumMismatch for one put by hand that is not the catalogue's.
        """
        path, note = self.path(entry.name), self.note(entry.name)
        imported = bool(note.get("imported"))
        in_place = None if imported else self._in_place(entry)
        if in_place is not None:
            return in_place
        if not path.is_file():
            return None
        sha256 = digest(path)
        verified = agrees(path, sha256, entry)
        recorded = note.get("sha256") == sha256
        if verified or (imported and recorded):
            return Prepared(path, sha256, verified)
        if "from" in note and not imported:
            return self._fetched_before(entry, note, Prepared(path, sha256, False))
        if is_known(entry):
            raise ChecksumMismatch(
                f"{entry.name}: {path} has sha256 {sha256}, the catalogue says {_told(entry)}; "
                f"to use it all the same: visage models import {entry.name} {path}"
            )
        log.warning("%s is unverified: the catalogue has no sha256 for it (file: %s)", entry.name, sha256)
        return Prepared(path, sha256, False)

    def _in_place(self, entry: Entry) -> Prepared | None:
        """The first source's file where that is one of this machine, which needs no copy, if it is the right one."""
        path = self._own_place(entry)
        if path is None:
            return None
        sha256 = digest(path)
        verified = agrees(path, sha256, entry)
        return Prepared(path, sha256, verified) if verified or not is_known(entry) else None

    def _own_place(self, entry: Entry) -> Path | None:
        origin = source(entry.sources[0], self.fetching) if entry.sources else None
        if not isinstance(origin, PackageSource | LocalSource):
            return None
        try:
            return origin.located()
        except DownloadFailed:
            return None

    def _fetched_before(self, entry: Entry, note: dict[str, Any], found: Prepared) -> Prepared | None:
        """A file without a hash of the catalogue's, as long as it is what was recorded when it came."""
        if note.get("sha256") != found.sha256:
            log.warning("%s: %s is not what was fetched; fetching it anew", entry.name, found.path)
            return None
        place = next((p for p in entry.sources if str(source(p, self.fetching)) == note["from"]), None)
        if isinstance(place, LocalFile) and _is_another(self.folder / place.path, note, found.path):
            return None
        if expected(entry, place) is not None:
            log.info("%s: the catalogue has another hash than it had; fetching it anew", entry.name)
            return None
        return found

    def _fetch(self, entry: Entry) -> Prepared:
        """Try the sources in order; all failed is one error that names each, and the place for a file put by hand."""
        failures: list[str] = []
        kind: type[ModelFileError] = DownloadFailed
        for number, place in enumerate(entry.sources):
            raw = self.path(entry.name).with_name(f".{entry.name}-{number}.download")
            origin = source(place, self.fetching)
            try:
                return self._fetch_from(entry, place, origin, raw)
            except (DownloadFailed, ChecksumMismatch) as exc:
                kind = ChecksumMismatch if isinstance(exc, ChecksumMismatch) else kind
                failures.append(f"{origin}: {exc}")
                log.warning("%s: %s: %s", entry.name, origin, exc)
            finally:
                raw.unlink(missing_ok=True)
        raise kind(f"{entry.name}: {'; '.join(failures)}; a file put by hand belongs at {self.path(entry.name)}")

    def _fetch_from(self, entry: Entry, place: Place, origin: ModelSource, raw: Path) -> Prepared:
        started = time.monotonic()
        # Taken before it is read: one that is replaced meanwhile is another.
        state = {"state": _state(self.folder / place.path)} if isinstance(place, LocalFile) else {}
        sha256 = self._brought(entry, place, origin, raw)
        verified = agrees(raw, sha256, entry)
        path = self._appear(raw, self.path(entry.name), {"sha256": sha256, "from": str(origin), **state})
        megabytes, seconds = path.stat().st_size / 1e6, time.monotonic() - started
        log.info("%s fetched from %s: %.1f MB, %.1f s", entry.name, origin, megabytes, seconds)
        if not verified:
            log.warning("%s is unverified: the catalogue has no hash for it (what came: sha256 %s)", entry.name, sha256)
        for left in path.parent.glob(f".{entry.name}-*.download.part*"):  # of sources that broke off
            left.unlink()
        return Prepared(path, sha256, verified)

    def _brought(self, entry: Entry, place: Place, origin: ModelSource, raw: Path) -> str:
        """The sha256 of what `origin` wrote to `raw`, which is what the catalogue says."""
        most = entry.bytes if expected(entry, place) == expected(entry) else None
        kept = isinstance(origin, ZipSource) and not self.fetching.offline and origin.has_archive()
        with metered(f"{entry.name} from {origin}") as meter:
            try:
                origin.fetch(raw, most, meter)
                return _checked(entry, place, raw)
            except ChecksumMismatch as exc:
                if not (kept and isinstance(origin, ZipSource)):
                    raise
                log.info("%s: %s in the archive that was kept; fetching it anew", entry.name, exc)
                origin.forget()
            origin.fetch(raw, most, meter)
        return _checked(entry, place, raw)

    def _prepared(self, entry: Entry, raw: Prepared) -> Prepared:
        if not entry.graph_rewrites():
            return raw
        ready = self._ready(entry, raw)
        if ready is not None:
            return ready
        if raw.path.parent == self.path(entry.name).parent and not os.access(raw.path.parent, os.W_OK):
            with told_plainly(entry.name, self.folder), tempfile.TemporaryDirectory() as folder:
                if not _rewritten(entry, raw.path, Path(folder) / "made.onnx"):
                    return raw
        with self.alone(entry):
            return self._ready(entry, raw) or self._make(entry, raw)

    def _ready(self, entry: Entry, raw: Prepared) -> Prepared | None:
        """What an earlier `prepare` left, if it is whole and made of this file in this way."""
        path = self.path(entry.name).with_suffix(".prepared.onnx")
        note = _read(_note(path))
        if (note.get("recipe"), note.get("source_sha256")) != (_recipe(entry), raw.sha256):
            return None
        if note.get("unchanged"):
            return raw
        if path.is_file() and note.get("sha256") == digest(path):
            return replace(raw, path=path)
        log.warning("%s: %s is not what was prepared; preparing it anew", entry.name, path)
        return None

    def _make(self, entry: Entry, raw: Prepared) -> Prepared:
        started = time.monotonic()
        path = self.path(entry.name).with_suffix(".prepared.onnx")
        note = {"recipe": _recipe(entry), "source_sha256": raw.sha256}
        with self._workplace(entry) as work:
            made = work / "made.onnx"
            if not _rewritten(entry, raw.path, made):
                self._write(_note(path), {**note, "unchanged": True})
                path.unlink(missing_ok=True)  # of another file or recipe
                return raw
            self._appear(made, path, {**note, "sha256": digest(made)})
        megabytes, seconds = path.stat().st_size / 1e6, time.monotonic() - started
        log.info("%s prepared: %s, %.1f MB, %.1f s", entry.name, path, megabytes, seconds)
        return replace(raw, path=path)

    def _appear(self, made: Path, path: Path, note: dict[str, Any]) -> Path:
        """`made` becomes `path`, then its note is written."""
        synced(made)
        made.replace(path)
        self._write(_note(path), note)
        return path

    def _write(self, path: Path, note: dict[str, Any]) -> None:
        draft = path.with_name(f"{_WORK}{path.name}")
        draft.write_text(json.dumps(note, indent=1) + "\n", "utf-8")
        synced(draft)
        draft.replace(path)

    @contextmanager
    def alone(self, entry: Entry) -> Iterator[None]:
        """No other process is at this model meanwhile; what the disk refuses is told plainly."""
        folder = self.path(entry.name).parent
        with told_plainly(entry.name, folder):
            folder.mkdir(parents=True, exist_ok=True)
            with alone(folder / ".lock", entry.name):
                for left in folder.glob(f"{_WORK}*"):  # by a process that was killed: we are alone
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                yield

    @contextmanager
    def _workplace(self, entry: Entry) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.path(entry.name).parent, prefix=_WORK) as folder:
            yield Path(folder)


def _checked(entry: Entry, place: Place, raw: Path) -> str:
    """The sha256 of what came. Raises ChecksumMismatch, and DownloadFailed for what cannot be the file."""
    sha256 = digest(raw)
    wanted = expected(entry, place)
    if wanted is None:
        from visage.zoo.preparing import is_onnx  # onnx takes long to import and is needed only here

        if not is_onnx(raw):
            raise DownloadFailed("what came is no ONNX file")
    elif not wanted.agrees(raw, sha256):
        raise ChecksumMismatch(f"the file fetched has sha256 {sha256}, the catalogue says {wanted}")
    return sha256


def _rewritten(entry: Entry, source_file: Path, target: Path) -> bool:
    from visage.zoo.preparing import prepare_graph  # as above

    return bool(entry.graph_rewrites()) and prepare_graph(entry, source_file, target)


def _is_another(archive: Path, note: Mapping[str, Any], extracted: Path) -> bool:
    """Whether it is not the one that the file was taken out of. Which of two is newer their dates alone do not tell:
    a copy may keep its date, and a clock may have been ahead.
    """
    state = _state(archive)
    if state is not None and note.get("state") is not None:
        return bool(state != note["state"])
    return state is not None and archive.stat().st_mtime > extracted.stat().st_mtime


def _state(file: Path) -> list[int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _told(entry: Entry) -> str:
    """The hash that a message names: the entry's own, or the first that a source has."""
    return str(next(h for h in (expected(entry, place) for place in (None, *entry.sources)) if h is not None))


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _read(note: Path) -> dict[str, Any]:
    try:
        found = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _recipe(entry: Entry) -> str:
    """What the prepared file depends on besides the published one; a change makes it stale."""
    return f"{RECIPE_VERSION}:{','.join(entry.graph_rewrites())}"
