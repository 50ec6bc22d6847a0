"""A backup is put back: copied and held against its manifest beside what is there, which then makes way and is kept."""

import hashlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from visage.backup.manifest import Copied, Manifest, digest_of, hold_complete, hold_digest, hold_size, read
from visage.backup.parts import GALLERIES, IDEMPOTENCY, KEYS, PARTS, Part
from visage.databases.copying import OWNER_ONLY, Damaged, hold_whole, reading, sync
from visage.databases.lineage import LOGS
from visage.databases.using import InUse, alone
from visage.errors import BackupRefused
from visage.search.folder import FOLDER

log = logging.getLogger(__name__)

UNFINISHED = ".restoring"

_BESIDE = (*LOGS, "-shm")
_CHUNK = 1 << 20
_BUSY_SECONDS = 5.0

Told = Callable[[Part, int, int], None]  # bytes, of so many


@dataclass(frozen=True, slots=True)
class Restored:
    """`parts` with what each holds; `kept`: folders with what was there before; `revoked`: keys that stay revoked,
    which they were not yet when the backup was made.
    """

    manifest: Manifest
    parts: Mapping[str, Mapping[str, int]]
    kept: Sequence[Path] = ()
    revoked: int = 0


def check(source: Path, parts: Sequence[Part]) -> Restored:
    """Whether the backup is whole; nothing is written. Raises BackupRefused."""
    with _told(source):
        manifest, chosen = _chosen(source, parts)
        for part in chosen:
            path = source / part.file
            hold_digest(path, digest_of(path), manifest.copies[part.name])
            _hold_counts(path, part, manifest.copies[part.name])
    return Restored(manifest, {part.name: manifest.copies[part.name].counts for part in chosen})


def restore(source: Path, data: Path, parts: Sequence[Part], told: Told, *, force: bool = False) -> Restored:
    """Those of `parts` that the backup `source` has, into the folder `data`. With `force` in the place of what is
    there, which is kept beside it. Until all is copied and found to be whole nothing is changed.

    Raises BackupRefused: also where somebody uses the databases.
    """
    with _told(data), ExitStack() as held:
        manifest, chosen = _chosen(source, parts)
        going = _going(data, chosen)
        if going and not force:
            raise BackupRefused(
                f"{data} has {', '.join(part.name for part in going)} already: restore into another folder (--at), or "
                "with --force into the place of what is there, which is then kept beside it"
            )
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if GALLERIES in chosen:
            (data / FOLDER).mkdir(mode=0o700, exist_ok=True)
            _give(data / FOLDER, data)
        new = _copied(source, data, chosen, manifest, held, told)
        counts = {part.name: dict(manifest.copies[part.name].counts) for part in chosen}
        if revoked := _still_revoked(data, new[KEYS]) if KEYS in new else 0:
            counts[KEYS.name]["valid"] -= revoked
        held.enter_context(_alone(data, going, galleries=GALLERIES in chosen))
        kept = _swap(data, going, new)
    return Restored(manifest, counts, kept, revoked)


def _chosen(source: Path, parts: Sequence[Part]) -> tuple[Manifest, list[Part]]:
    """Of the manifest those that are asked for."""
    manifest = read(source)
    hold_complete(source, manifest)
    chosen = [part for part in PARTS if part in parts and part.name in manifest.copies]
    if not chosen:
        raise BackupRefused(f"{source} has no {' or '.join(part.name for part in parts)}")
    return manifest, chosen


def _going(data: Path, chosen: Sequence[Part]) -> list[Part]:
    """Those that are there and make way. Answers that are kept for idempotency keys tell of writes: where galleries are
    put back to what they were, the answers that came after must not be given again.
    """
    also = [IDEMPOTENCY] if GALLERIES in chosen and IDEMPOTENCY not in chosen else []
    return [part for part in [*also, *chosen] if any(_of(data / part.place))]


def _of(path: Path) -> Iterator[Path]:
    """A database's files that are there."""
    return (found for suffix in ("", *_BESIDE) if (found := path.with_name(f"{path.name}{suffix}")).exists())


def _copied(
    source: Path, data: Path, chosen: Sequence[Part], manifest: Manifest, held: ExitStack, told: Told
) -> dict[Part, Path]:
    new = {}
    for part in chosen:
        place = data / part.place
        path = new[part] = place.with_name(f"{place.name}{UNFINISHED}")
        held.callback(path.unlink, missing_ok=True)
        _copy(source / part.file, path, part, manifest.copies[part.name], told)
        _hold_counts(path, part, manifest.copies[part.name])
        _give(path, data)
    return new


def _copy(source: Path, target: Path, part: Part, copied: Copied, told: Told) -> None:
    """What is written is what was read, and what was read is what the manifest tells of."""
    target.unlink(missing_ok=True)
    whole, size = hashlib.sha256(), 0
    opened = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, OWNER_ONLY)
    with source.open("rb") as old, os.fdopen(opened, "wb") as new:
        while chunk := old.read(_CHUNK):
            whole.update(chunk)
            new.write(chunk)
            size += len(chunk)
            told(part, size, copied.size)
    hold_size(source, size, copied)
    hold_digest(source, whole.hexdigest(), copied)
    sync(target)


def _hold_counts(path: Path, part: Part, copied: Copied) -> None:
    with reading(path) as connection:
        hold_whole(connection)
        if part.counts(connection) != dict(copied.counts):
            raise Damaged(f"{path} does not hold what its manifest tells of")


def _still_revoked(data: Path, new: Path) -> int:
    """A key that was taken back after the backup was made is not given back with it."""
    there = data / KEYS.place
    if not there.exists():
        return 0
    try:
        old = sqlite3.connect(there, timeout=_BUSY_SECONDS)
        try:
            revoked = old.execute("SELECT revoked, id FROM keys WHERE revoked IS NOT NULL").fetchall()
        finally:
            old.close()
    except sqlite3.Error as exc:
        log.warning("%s cannot be read (%s): keys that were revoked since the backup are valid again", there, exc)
        return 0
    connection = sqlite3.connect(new)
    try:
        with connection:
            changed = connection.executemany("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", revoked)
            return max(changed.rowcount, 0)
    finally:
        connection.close()


@contextmanager
def _alone(data: Path, going: Sequence[Part], *, galleries: bool) -> Iterator[None]:
    """Of keys alone a service that runs takes notice at its next request."""
    try:
        with alone(data / FOLDER if galleries else None, [data / part.place for part in going]):
            yield
    except InUse as exc:
        raise BackupRefused(
            f"a service, or another command, uses {exc} in {data} just now: end it, then restore"
        ) from exc


def _swap(data: Path, going: Sequence[Part], new: Mapping[Part, Path]) -> list[Path]:
    """At every moment there is either the old database or the new one; a log that was not yet moved away when this was
    broken off is seen to be of another one by whoever opens it.
    """
    name = f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    kept = []
    for part in [part for part in PARTS if part in going or part in new]:
        place = data / part.place
        aside = place.parent / name
        old = [*_of(place), *(path for pattern in part.made_of_it for path in place.parent.glob(pattern))]
        if part in going:
            aside.mkdir(mode=0o700, exist_ok=True)
            _give(aside, data)
            kept += [aside] if aside not in kept else []
            if place in old:
                _keep(place, aside / place.name)
        if part in new:
            new[part].replace(place)
        elif place.exists():
            place.unlink()  # it is kept by its other name
        for path in old:
            if path != place and part in going:
                path.replace(aside / path.name)
        sync(place.parent)
    return kept


def _keep(path: Path, aside: Path) -> None:
    try:
        os.link(path, aside)
    except OSError:  # a file system without them
        shutil.copy2(path, aside)


def _give(path: Path, folder: Path) -> None:
    """What root restores belongs to whom the folder belongs to: the service is seldom root."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def _told(where: Path) -> Iterator[None]:
    """What the disk and SQLite refuse, in one line."""
    try:
        yield
    except Damaged as exc:
        raise BackupRefused(f"the backup is damaged: {exc}; take another one") from exc
    except sqlite3.Error as exc:
        raise BackupRefused(f"the backup is damaged, or {where} cannot be used: {exc}") from exc
    except OSError as exc:
        raise BackupRefused(f"{exc.filename or where}: {exc.strerror or exc}") from exc
