"""What a backup says of itself, in the file that is written last: without it there is none."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visage.backup.parts import PARTS, Part
from visage.databases.lineage import LOGS
from visage.errors import BackupRefused

FILE = "manifest.json"

_FORM = 1
_PROGRAM = "visage"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Copied:
    """A part of a backup."""

    form: int
    size: int
    sha256: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Manifest:
    """`begun`: all that was acknowledged before, as ISO 8601 in UTC, is in it. `copies` by the parts' names."""

    begun: str
    version: str
    copies: Mapping[str, Copied]

    def encoded(self) -> bytes:
        about = {
            "program": _PROGRAM,
            "form": _FORM,
            "begun": self.begun,
            "version": self.version,
            "parts": {
                name: {"form": one.form, "bytes": one.size, "sha256": one.sha256, "counts": dict(one.counts)}
                for name, one in self.copies.items()
            },
        }
        return _sealed(about)


def read(folder: Path) -> Manifest:
    """That of the backup in `folder`, of which no file is read yet. Raises BackupRefused, OSError."""
    path = folder / FILE
    try:
        written = path.read_bytes()
    except FileNotFoundError:
        raise BackupRefused(
            f"{folder} is no backup, or one that was not finished: it has no {FILE}; name a folder that `visage "
            "collections backup` wrote"
        ) from None
    try:
        about = json.loads(written)
        form, program = about["form"], about["program"]
    except (ValueError, KeyError, TypeError):
        raise BackupRefused(
            f"{path} cannot be read: it is damaged, or of another program; take another backup"
        ) from None
    if program == _PROGRAM and isinstance(form, int) and form > _FORM:
        raise BackupRefused(
            f"{path} is of a newer visage ({about.get('version')}), which this one cannot read: use that"
        )
    about.pop("sha256", None)
    if written != _sealed(about) or (program, form) != (_PROGRAM, _FORM):
        raise BackupRefused(f"{path} is damaged: it is not what was written; take another backup")
    copies = {
        name: Copied(one["form"], one["bytes"], one["sha256"], one["counts"]) for name, one in about["parts"].items()
    }
    return Manifest(about["begun"], about["version"], copies)


def hold_complete(folder: Path, manifest: Manifest) -> None:
    """Whether these files are those that the manifest tells of, and can be read by this version; what is in them is
    not looked at. Raises BackupRefused, OSError.
    """
    known = {part.name: part for part in PARTS}
    for name, copied in manifest.copies.items():
        if name not in known or copied.form > known[name].form:
            raise BackupRefused(
                f"{folder} is of a newer visage ({manifest.version}): its {name} cannot be read by this one; use that"
            )
    for part in PARTS:
        path = folder / part.file
        for log in LOGS:
            if (found := path.with_name(f"{path.name}{log}")).exists():
                raise BackupRefused(
                    f"{found} is no part of the backup: somebody opened {part.file} there, or put that file in; "
                    "take another backup, or move it away if you know that nothing was changed"
                )
        if part.name not in manifest.copies:
            if path.exists():
                raise BackupRefused(f"{path} is of another backup: {FILE} does not know it; take it away")
            continue
        if not path.is_file():
            raise BackupRefused(f"{path} is missing, of which {FILE} tells: take another backup")
        hold_size(path, path.stat().st_size, manifest.copies[part.name])


def hold_size(path: Path, size: int, copied: Copied) -> None:
    if size != copied.size:
        raise BackupRefused(f"{path} has {size} bytes and not the {copied.size} of {FILE}: {_OTHER}")


def hold_digest(path: Path, digest: str, copied: Copied) -> None:
    if digest != copied.sha256:
        raise BackupRefused(f"{path} is not the file of {FILE} (its sha256 is another): {_OTHER}")


_OTHER = "it is damaged, or of another backup; take another one"


def digest_of(path: Path) -> str:
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
    return whole.hexdigest()


def copied(part: Part, path: Path, counts: Mapping[str, int]) -> Copied:
    return Copied(part.form, path.stat().st_size, digest_of(path), counts)


def _sealed(about: Mapping[str, Any]) -> bytes:
    """With its own sha256, so that no bit of it can turn unseen."""
    seal = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return json.dumps({**about, "sha256": seal}, indent=1).encode() + b"\n"
