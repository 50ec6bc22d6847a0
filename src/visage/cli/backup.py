"""`visage collections backup` and `restore`: all of DATA_DIR that cannot be made again."""

import argparse
import sys
import time
from pathlib import Path

from visage.backup.making import back_up
from visage.backup.parts import ONLY, PARTS, Part, told
from visage.backup.restoring import Restored, check, restore
from visage.settings import Settings

_SAY_EVERY = 2.0  # seconds
_BACKUP = (
    "Write galleries, idempotency keys and access keys of DATA_DIR, as they are at one moment, into a folder that is "
    "new or empty; services may run and write meanwhile. The backup is checked before it counts."
)
_RESTORE = (
    "Put a backup back, after holding it against its manifest. No service may use DATA_DIR meanwhile. What is replaced "
    "is kept beside it."
)


def arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    backing = commands.add_parser("backup", help="copy all of DATA_DIR that counts, while it runs", description=_BACKUP)
    backing.set_defaults(run_collections=_backup)
    backing.add_argument("target", metavar="DEST", type=Path, help="a folder that is not there yet, or is empty")
    restoring = commands.add_parser("restore", help="put a backup back", description=_RESTORE)
    restoring.set_defaults(run_collections=_restore)
    restoring.add_argument("source", metavar="SRC", type=Path, help="a folder that `backup` wrote")
    restoring.add_argument("--force", action="store_true", help="replace what is there, which is kept beside it")
    restoring.add_argument("--dry-run", action="store_true", help="check the backup and say what is in it")
    for command in (backing, restoring):
        command.add_argument(
            "--only", choices=sorted(ONLY), help="galleries with their idempotency keys, or access keys"
        )
        command.add_argument("--at", metavar="FOLDER", type=Path, help="a folder as DATA_DIR names one")


class _Progress:
    """A line now and then, of work that takes long."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, part: Part, done: int, of_all: int) -> None:
        if time.monotonic() - self._said >= _SAY_EVERY:
            self._said = time.monotonic()
            print(f"{part.name}: {done / 1e6:,.0f} of {of_all / 1e6:,.0f} MB", file=sys.stderr, flush=True)


def _backup(given: argparse.Namespace, settings: Settings) -> int:
    data, target = given.at or settings.data_dir, given.target
    manifest = back_up(data, target, _parts(given), _Progress())
    for name, copied in manifest.copies.items():
        print(f"{name}: {told(copied.counts)} ({copied.size / 1e6:,.1f} MB)")
    print(f"{target}: a backup of {data} as of {manifest.begun}")
    if settings.milvus_uri is not None:
        print("galleries in Milvus are not in it: back these up with Milvus' own tools", file=sys.stderr)
    return 0


def _restore(given: argparse.Namespace, settings: Settings) -> int:
    data, source = given.at or settings.data_dir, given.source
    if given.dry_run:
        found = check(source, _parts(given))
        _tell(found)
        print(f"{source} is whole: as it was backed up at {found.manifest.begun}; nothing was restored")
        return 0
    restored = restore(source, data, _parts(given), _Progress(), force=given.force)
    _tell(restored)
    print(f"{data}: as it was backed up at {restored.manifest.begun}")
    return 0


def _parts(given: argparse.Namespace) -> tuple[Part, ...]:
    return ONLY[given.only] if given.only else PARTS


def _tell(restored: Restored) -> None:
    for name, counts in restored.parts.items():
        print(f"{name}: {told(counts)}")
    if restored.revoked:
        print(f"keys: {restored.revoked} that were revoked since stay revoked")
    for folder in restored.kept:
        print(f"kept: what was there is in {folder}; delete it when it is not needed")
