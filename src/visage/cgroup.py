"""What control groups leave this process: Linux's cgroup v2 and v1 (kernel documentation, admin-guide)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")

# Where system and containers mount them; what mountinfo tells comes besides.
_USUAL = "sys/fs/cgroup"


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory` in bytes, `cpus` as a share of processor time (1.5: one and a half cores' worth); None for no limit."""

    memory: int | None = None
    cpus: float | None = None


@dataclass(frozen=True, slots=True)
class _Mount:
    """`top`: which group is shown at `place`. `controllers`: of v1; none of v2."""

    top: str
    place: Path
    controllers: frozenset[str]


def limits(root: Path = ROOT) -> Limits:
    """The tightest of the group that this process is in and of those above it. `root`: where /proc and /sys are."""
    memory, cpus = [], []
    for folder in set(_folders(root)):
        memory += [_number(folder / "memory.max"), _number(folder / "memory.limit_in_bytes")]
        cpus += [_share(folder)]
    # v1 writes "no limit" as the largest multiple of a page
    return Limits(
        min((limit for limit in memory if limit is not None and limit < 2**60), default=None),
        min((share for share in cpus if share is not None), default=None),
    )


def _folders(root: Path) -> Iterator[Path]:
    """Those of this process's groups, of each hierarchy from the innermost to the one that is mounted.

    Lines are "0::/path" (v2) and "4:cpu,cpuacct:/path" (v1). In a container the path may be one of the host's, which is
    not there: its own group is what is mounted then.
    """
    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = frozenset(filter(None, controllers.split(",")))
        usual = root / _USUAL / controllers
        for mount in (
            _Mount("/", usual, names),
            *(one for one in mounts if one.controllers & names or one.controllers == names),
        ):
            inner = mount.place / _below(path, mount.top)
            yield from (
                folder for folder in (inner, *inner.parents) if folder.is_relative_to(mount.place) and folder.is_dir()
            )


def _below(path: str, top: str) -> str:
    """The way from the mounted group to that of the process."""
    if ".." in path.split("/"):  # outside of what this process may see
        return ""
    rest = path.removeprefix(top) if top != "/" and f"{path}/".startswith(f"{top}/") else path
    return rest.strip("/")


def _mounts(root: Path) -> Iterator[_Mount]:
    """Of lines like "36 35 0:31 /top /place rw,nosuid shared:9 - cgroup cgroup rw,cpu" (man proc_pid_mountinfo)."""
    for line in _lines(root / "proc/self/mountinfo"):
        here, _, there = (part.split() for part in line.partition(" - "))
        if len(here) < 5 or len(there) < 3 or there[0] not in ("cgroup", "cgroup2"):
            continue
        names = frozenset(there[2].split(",")) if there[0] == "cgroup" else frozenset[str]()
        yield _Mount(_unescaped(here[3]), root / _unescaped(here[4]).lstrip("/"), names)


def _unescaped(path: str) -> str:
    """Blanks are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _share(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text("utf-8").split()
        return None if quota == "max" else _ratio(int(quota), int(period))
    except (OSError, ValueError):
        return _ratio(_number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us"))


def _ratio(quota: int | None, period: int | None) -> float | None:
    """v1 writes "no limit" as -1."""
    return quota / period if quota is not None and period is not None and quota > 0 and period > 0 else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("utf-8"))
    except (OSError, ValueError):  # "max", too
        return None
