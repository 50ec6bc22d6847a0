"""What the service remembers, and who may ask it."""

import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit

from visage.access.keyfile import FILE, KeyFile
from visage.access.keylist import KeyList
from visage.access.keys import Key
from visage.access.ring import valid_keys
from visage.backup.parts import IDEMPOTENCY_FILE
from visage.databases.lineage import LogOfAnother, hold
from visage.doctor.finding import Finding, amount
from visage.doctor.shares import known_of
from visage.errors import ConfigurationError, StoreUnavailable
from visage.locking import NoLocks, hold_locks
from visage.search.folder import FILE as GALLERIES
from visage.search.folder import FOLDER, is_begun
from visage.settings import Settings

_INSTALL = "pip install visage[milvus]"
_WAIT = 2.0  # seconds for a server to take a connection

_MOUNTS = Path("/proc/self/mountinfo")


def data(folder: Path) -> Iterator[Finding]:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not (there.is_dir() and os.access(there, os.R_OK | os.W_OK | os.X_OK)):
        remedy = f"set DATA_DIR, or give uid {os.getuid()} the right to write there; only galleries and keys need it"
        what = (
            f"{folder} may not be written: what is enrolled there can be searched, nothing can be enrolled or deleted"
        )
        yield Finding("data folder", "doubtful", what, remedy)
        return
    try:
        if there == folder:
            hold_locks(folder)
    except NoLocks as reason:
        yield Finding("data folder", "bad", f"{folder} cannot hold galleries and keys: {reason}")
        return
    kind = _kind(there.resolve())
    if against := known_of(kind):
        yield Finding("data folder", "doubtful", f"{folder} is on {kind}: {against}", "use a disk of this machine")
    else:
        made = "" if folder.is_dir() else " will be made,"
        yield Finding("data folder", "good", f"{folder},{made} {amount(shutil.disk_usage(there).free)} free")


def stored(settings: Settings) -> Iterator[Finding]:
    """Whether what is kept can be used, as far as a start sees that; nothing is made or changed."""
    where = settings.data_dir / FOLDER
    if settings.milvus_uri is None and is_begun(where):
        from visage.search.embedded.database import look  # takes a while to load: only where there is something

        try:
            look(where)
        except StoreUnavailable as error:
            yield Finding("galleries", "bad" if error.lasting else "doubtful", f"in {where}: {error}")
        else:
            yield Finding("galleries", "good", f"{amount((where / GALLERIES).stat().st_size)} in {where / GALLERIES}")
    yield from _answers(settings.data_dir / IDEMPOTENCY_FILE)


def _answers(file: Path) -> Iterator[Finding]:
    """Those that are kept for idempotency keys."""
    if not file.exists():
        return
    log = file.with_name(f"{file.name}-wal")
    how = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    try:
        hold(file)
        with closing(sqlite3.connect(f"file:{quote(str(file))}?{how}", uri=True)) as database:
            database.execute("SELECT count(*) FROM answers").fetchone()
    except LogOfAnother as error:
        yield Finding("idempotency keys", "doubtful", str(error))
    except sqlite3.Error as exc:
        remedy = "stop the service and delete it: repeated writes of the last day are then answered as new ones"
        yield Finding("idempotency keys", "doubtful", f"{file} cannot be used: {exc}", remedy)


def milvus(settings: Settings) -> Iterator[Finding]:
    """Of the Milvus that keeps the galleries, if one does: its client, and whether somebody listens there."""
    if settings.milvus_uri is None:
        return
    if find_spec("pymilvus") is None:
        yield Finding("milvus", "doubtful", "its client is not installed: galleries would answer 503", _INSTALL)
        return
    where = urlsplit(settings.galleries_place)
    if where.scheme == "milvus":
        yield Finding("milvus", "good", f"Milvus Lite in {where.path}, for one process")
        return
    port = where.port or (443 if where.scheme == "https" else 19530)
    try:
        socket.create_connection((where.hostname or "", port), timeout=_WAIT).close()
    except OSError as exc:
        remedy = "start it, or mend MILVUS_URI; until then galleries answer 503 and pictures are answered as ever"
        yield Finding("milvus", "doubtful", f"{where.hostname}:{port} does not answer: {exc.strerror or exc}", remedy)
    else:
        yield Finding("milvus", "good", f"{where.hostname}:{port} listens")


def access(settings: Settings) -> Iterator[Finding]:
    try:
        settings.check_auth()
    except ConfigurationError as error:
        yield Finding("access", "bad", str(error))
        return
    if not settings.asks_for_keys:
        yield Finding("access", "good", f"AUTH=off: whoever reaches {settings.host}:{settings.port} may do everything")
        return
    file = settings.data_dir / FILE
    kept, listed = KeyFile(settings.data_dir).all(), list[Key]()
    where = str(file)
    if settings.auth_keys_file is not None:
        listed = KeyList(settings.auth_keys_file).keys()[0]
        where += f" and {settings.auth_keys_file}"
    if valid := list(valid_keys(kept, listed)):
        yield Finding("access", "good", f"AUTH=keys, {len(valid)} valid in {where}")
    else:
        remedy = "visage keys add NAME --scopes read,write"
        yield Finding("access", "doubtful", f"AUTH=keys, and none is valid in {where}", remedy)


def _kind(folder: Path) -> str:
    """The file system's, of the deepest mount that holds the folder (proc_pid_mountinfo(5))."""
    try:
        lines = [line.split(" ") for line in _MOUNTS.read_text("utf-8").splitlines()]
    except OSError:
        return ""
    mounts = [(_path(line[4]), line[line.index("-") + 1]) for line in lines if "-" in line]
    holding = [(len(at.parts), kind) for at, kind in mounts if folder.is_relative_to(at)]
    return max(enumerate(holding), key=lambda one: (one[1][0], one[0]))[1][1] if holding else ""


def _path(told: str) -> Path:
    """Spaces and the like are told as octal numbers there."""
    return Path(told.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"))
