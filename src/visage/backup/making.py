"""A backup is made: each part whole under its name, and last the manifest."""

import errno
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from visage import __version__
from visage.backup.manifest import FILE, Copied, Manifest, copied
from visage.backup.parts import PARTS, Part
from visage.databases.copying import Damaged, copy, sync
from visage.databases.using import InUse, Use
from visage.errors import BackupRefused
from visage.search.folder import FOLDER

log = logging.getLogger(__name__)

UNFINISHED = ".unfinished"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Told = Callable[[Part, int, int], None]  # bytes, of about so many


def back_up(data: Path, target: Path, parts: Sequence[Part], told: Told) -> Manifest:
    """What there is of `parts` in the folder `data`, into the folder `target`, which is not there or is empty.

    Everything that was acknowledged before the call is in it. It may be called while services write; what fails, or is
    broken off, leaves nothing. Raises BackupRefused, KeyboardInterrupt.
    """
    there = [part for part in PARTS if part in parts and (data / part.place).exists()]
    if not there:
        raise BackupRefused(f"there is nothing to back up in {data}: no {' or '.join(part.name for part in parts)}")
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    with _told(data, target), _used(data), _folder(data, target) as put:
        manifest = Manifest(begun, __version__, {part.name: _copied(data, target, part, put, told) for part in there})
        _write(target / FILE, manifest.encoded(), put)
        sync(target)
    return manifest


def _copied(data: Path, target: Path, part: Part, put: list[Path], told: Told) -> Copied:
    path = target / part.file
    unfinished = path.with_name(f"{path.name}{UNFINISHED}")
    counts: dict[str, int] = {}

    def finish(connection: sqlite3.Connection) -> None:
        part.finish(connection)
        counts.update(part.counts(connection))

    put.append(unfinished)
    try:
        copy(data / part.place, unfinished, finish, partial(told, part))
    except Damaged as exc:
        raise BackupRefused(f"{part.place} is damaged, and no backup of it would be whole: {exc}") from exc
    put.append(path)
    unfinished.rename(path)
    return copied(part, path, counts)


def _write(path: Path, content: bytes, put: list[Path]) -> None:
    unfinished = path.with_name(f"{path.name}{UNFINISHED}")
    put += [unfinished, path]
    unfinished.touch(0o600)
    unfinished.write_bytes(content)
    sync(unfinished)
    sync(path.parent)  # the parts are there before what tells of them
    unfinished.rename(path)


@contextmanager
def _folder(data: Path, target: Path) -> Iterator[list[Path]]:
    """Whatever is put into the list goes again where it fails; the folder, too, if it was not there."""
    inside = target.resolve()
    if inside == data.resolve() or inside.is_relative_to((data / FOLDER).resolve()):
        raise BackupRefused(f"{target} is where the service itself keeps its data: name another folder")
    _hold_empty(target)
    made = not target.exists()
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    put: list[Path] = []
    try:
        yield put
    except BaseException:
        for path in put:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if made:
            with suppress(OSError):
                target.rmdir()
        raise


def _hold_empty(target: Path) -> None:
    """A backup that was killed leaves files that count for nothing: they are cleared away. So is nothing else."""
    if not target.exists():
        return
    if not target.is_dir():
        raise BackupRefused(f"{target} is no folder: name one that is not there yet, or is empty")
    found = {path.name for path in target.iterdir()} - {"lost+found"}
    files = {part.file for part in PARTS}
    of_one_killed = {f"{file}{suffix}" for file in {*files, FILE} for suffix in (UNFINISHED, f"{UNFINISHED}-journal")}
    if FILE in found or (found - of_one_killed - files) or (found & files and not found & of_one_killed):
        raise BackupRefused(f"{target} is not empty: name a folder that is not there yet, or is empty")
    for name in found:
        (target / name).unlink()


@contextmanager
def _used(data: Path) -> Iterator[None]:
    """Nobody restores meanwhile."""
    if not (data / FOLDER).is_dir():
        yield
        return
    use = Use(data / FOLDER)
    try:
        yield
    finally:
        use.close()


@contextmanager
def _told(data: Path, target: Path) -> Iterator[None]:
    """What the disk and SQLite refuse, in one line."""
    try:
        yield
    except InUse as exc:
        raise BackupRefused(f"a backup is being restored into {data} just now: try again when that is done") from exc
    except sqlite3.Error as exc:
        log.debug("backup", exc_info=True)
        said = str(exc)
        remedy = f": make room, or name a folder on another disk than {target}" if "full" in said else ""
        raise BackupRefused(f"{data} could not be backed up: {said}{remedy}") from exc
    except OSError as exc:
        where = exc.filename or target
        remedy = ": make room, or name a folder on another disk" if exc.errno in _FULL else ""
        raise BackupRefused(f"{where}: {exc.strerror or exc}{remedy}") from exc
