"""What a control group leaves a process: Linux's cgroup v2 and v1 (kernel documentation, admin-guide)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory` in bytes, `cpus` as a share of processor time (1.5: one and a half cores' worth); None for no limit."""

    memory: int | None = None
    cpus: float | None = None


def limits(membership: Path = _MEMBERSHIP, mount: Path = _MOUNT) -> Limits:
    """The tightest of the group that this process is in and of those above it."""
    memory, cpus = [], []
    for folder in _folders(membership, mount):
        memory += [_number(folder / "memory.max"), _number(folder / "memory.limit_in_bytes")]
        cpus += [_share(folder)]
    # v1 writes "no limit" as the largest multiple of a page
    return Limits(
        min((limit for limit in memory if limit is not None and limit < 2**60), default=None),
        min((share for share in cpus if share is not None), default=None),
    )


def _folders(membership: Path, mount: Path) -> Iterator[Path]:
    """Lines are "0::/path" (v2) and "4:memory:/path" (v1). In a container the path may be one of the host's."""
    try:
        lines = membership.read_text("utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = mount / controllers if controllers else mount
        inner = base / path.strip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(base) and folder.is_dir())


def _share(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text("utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    old, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return old / period_us if old is not None and period_us and old > 0 else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("utf-8"))
    except (OSError, ValueError):  # "max", too
        return None
