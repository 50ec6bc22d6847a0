"""What the service remembers, and who may ask it."""

import os
import shutil
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from visage.access.keyfile import FILE, KeyFile
from visage.access.keylist import KeyList
from visage.access.keys import Key
from visage.access.ring import valid_keys
from visage.doctor.finding import Finding, amount
from visage.errors import ConfigurationError
from visage.settings import Settings

_INSTALL = "pip install visage[milvus]"
_WAIT = 2.0  # seconds for a server to take a connection

_MOUNTS = Path("/proc/self/mountinfo")
# Where locks of one machine are not seen by the next, and memory that files are mapped into is not shared.
_SHARES = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "fuse.sshfs", "fuse.s3fs"})


def data(folder: Path) -> Iterator[Finding]:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not (there.is_dir() and os.access(there, os.R_OK | os.W_OK | os.X_OK)):
        remedy = f"set DATA_DIR, or give uid {os.getuid()} the right to write there; only galleries and keys need it"
        yield Finding("data folder", "doubtful", f"{folder} may not be written", remedy)
        return
    kind = _kind(there.resolve())
    if kind in _SHARES:
        remedy = "a local disk: SQLite's locks do not hold on network shares"
        yield Finding("data folder", "doubtful", f"{folder} is on {kind}", remedy)
    else:
        made = "" if folder.is_dir() else " will be made,"
        yield Finding("data folder", "good", f"{folder},{made} {amount(shutil.disk_usage(there).free)} free")


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
