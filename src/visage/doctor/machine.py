"""The machine by itself: Python, cores, memory, open files, the port."""

import errno
import os
import platform
import resource
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from visage.cgroup import limits
from visage.cores import available
from visage.doctor.finding import Finding

# pyproject's requires-python; a test holds them together.
PYTHONS = ((3, 11), (3, 15))

_LEAST_FILES = 1024
_MEMORY = Path("/proc/meminfo")


def python() -> Iterator[Finding]:
    what = f"{platform.python_version()} on {platform.machine()}"
    first, end = PYTHONS
    if first <= sys.version_info[:2] < end:
        yield Finding("python", "good", what)
    else:
        yield Finding("python", "bad", what, f"{first[0]}.{first[1]} to {end[0]}.{end[1] - 1} are supported")


def cores(workers: int) -> Iterator[Finding]:
    mine, there = available(), os.cpu_count() or 1
    shown = f"{mine.usable} of {there} may be used" if mine.usable < there else f"{mine.usable}"
    if mine.limited:
        what = (
            f"{shown}, but this container gets the time of {mine.quota:g}: a run of a network takes {mine.count}, and "
            "all threads are stopped when the time is used up"
        )
        yield Finding("cores", "doubtful", what, "give whole cores instead (docker --cpuset-cpus), or a larger quota")
    elif workers > mine.count:
        remedy = f"NUM_WORKERS={mine.count} or less; one process fills all cores"
        yield Finding("cores", "doubtful", f"{shown}, for {workers} processes", remedy)
    else:
        yield Finding("cores", "good", shown)


def memory() -> tuple[int, str]:
    """The bytes that may be taken now, and who says so."""
    limit, free = limits().memory, _free()
    if limit is not None and limit < free:
        return limit, "is this container's limit"
    return free, "are free"


def _free() -> int:
    """What Linux believes can be taken without swapping."""
    try:
        lines = _MEMORY.read_text("utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, IndexError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _LEAST_FILES:
        remedy = f"ulimit -n {_LEAST_FILES} or more (hard limit: {hard})"
        yield Finding("open files", "doubtful", f"{soft} at most", remedy)
    else:
        yield Finding("open files", "good", "no limit" if soft == resource.RLIM_INFINITY else f"{soft} at most")


def scratch() -> Iterator[Finding]:
    """Downloads, proofs and the metrics of several workers need a place."""
    try:
        yield Finding("temporary files", "good", tempfile.gettempdir())
    except FileNotFoundError as exc:
        remedy = "set TMPDIR; of a container with a read-only root: --tmpfs /tmp"
        yield Finding("temporary files", "bad", f"there is no place for them: {exc.strerror}", remedy)


def port(host: str, number: int) -> Iterator[Finding]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, number))
        except OSError as exc:
            what = f"HOST={host} PORT={number} cannot be had: {exc.strerror}"
            yield Finding("port", "bad", what, _remedy(exc))
        else:
            yield Finding("port", "good", f"{host}:{number} is free" if number else f"the system chooses one of {host}")


def _remedy(exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return "choose another PORT, or stop what listens there"
    if exc.errno in (errno.EACCES, errno.EPERM):
        return "choose a PORT from 1024 on"
    return "HOST has to be an address of this machine, 0.0.0.0 for all of them"
