"""Does this machine fit these settings? Each check is a finding with a remedy; nothing is loaded or downloaded."""

import os
import platform
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from visage.backends import AUTO, PACKAGES, backend, installed
from visage.choice import choose
from visage.errors import VisageError
from visage.settings import Settings
from visage.zoo import licences
from visage.zoo.catalogue import Catalogue
from visage.zoo.reading import read_catalogue

Verdict = Literal["good", "doubtful", "bad"]

# Resident memory of the default pair (docs/performance), and how often a network is in memory, its arena besides.
_BASE = 250 * 2**20
_TIMES = 3
_LEAST_FREE = 2**30
_LEAST_FILES = 1024
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_NVIDIA = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` is empty where nothing is to be done."""

    about: str
    verdict: Verdict
    what: str
    remedy: str = ""


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything that a start depends on, in the order in which it would stumble."""
    yield Finding("python", "good", f"{platform.python_version()} on {platform.machine()}")
    yield from _guarded("settings", lambda: _cores(settings))
    yield from _guarded("models folder", lambda: _folder(settings.models_dir))
    catalogue = None
    try:
        catalogue = read_catalogue(settings.models_dir)
    except VisageError as error:
        yield Finding("catalogue", "bad", str(error), "mend or remove models.json in MODELS_DIR")
    if catalogue is not None:
        yield from _guarded("networks", lambda: _networks(settings, catalogue))
        yield from _guarded("memory", lambda: _memory(settings, catalogue))
    yield from _guarded("engines", lambda: _engines(settings))
    yield from _guarded("gpu", lambda: _gpu(settings))
    yield from _guarded("port", lambda: _port(settings))
    yield from _guarded("open files", _files)


def _guarded(about: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check that fails for a reason of its own is a finding, too."""
    try:
        yield from check()
    except VisageError as error:
        yield Finding(about, "bad", str(error))
    except OSError as exc:
        yield Finding(about, "bad", f"could not be checked: {exc.strerror}")


def _cores(settings: Settings) -> Iterator[Finding]:
    usable, there = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    shown = f"{usable} of {there} may be used" if usable < there else f"{usable}"
    if settings.num_workers > usable:
        remedy = f"NUM_WORKERS={usable} or less; one process fills all cores"
        yield Finding("cores", "doubtful", f"{shown}, for {settings.num_workers} processes", remedy)
    else:
        yield Finding("cores", "good", shown)


def _folder(models: Path) -> Iterator[Finding]:
    if not models.is_dir():
        parent = next(folder for folder in (models, *models.absolute().parents) if folder.is_dir())
        if os.access(parent, os.W_OK):
            yield Finding("models folder", "good", f"{models} will be made")
        else:
            yield Finding("models folder", "bad", f"{models} is not there, nor may it be made", "set MODELS_DIR")
        return
    if not os.access(models, os.R_OK | os.X_OK):
        yield Finding("models folder", "bad", f"{models} may not be read", f"give uid {os.getuid()} the right to")
        return
    free = shutil.disk_usage(models).free
    if not os.access(models, os.W_OK):
        remedy = "that is fine once `visage prepare` has run with the right to write"
        yield Finding("models folder", "doubtful", f"{models} may only be read", remedy)
    elif free < _LEAST_FREE:
        remedy = f"networks take up to {_mb(_LEAST_FREE)}"
        yield Finding("models folder", "doubtful", f"{models} has {_mb(free)} free", remedy)
    else:
        yield Finding("models folder", "good", f"{models}, {_mb(free)} free")


def _networks(settings: Settings, catalogue: Catalogue) -> Iterator[Finding]:
    chosen = choose(settings, catalogue)
    entries = [*chosen.entries().values(), *chosen.further()]
    for entry in entries:
        needed = entry.licence.id
        if licences.needs_acceptance(needed) and needed not in settings.accept_licences:
            remedy = f"ACCEPT_LICENCES={','.join([*settings.accept_licences, needed])}, if you may use it"
            yield Finding("networks", "bad", f"{entry.name} is under {needed}, which is not accepted", remedy)
            continue
        there = (settings.models_dir / "onnx" / entry.name / f"{entry.name}.onnx").is_file()
        embedded = not there and entry.sources and "package" in entry.sources[0].model_dump(exclude_none=True)
        if there or embedded:
            yield Finding("networks", "good", f"{entry.name}: {'embedded' if embedded else 'its file is there'}")
        elif not entry.sources or settings.offline:
            place = settings.models_dir / "onnx" / entry.name / f"{entry.name}.onnx"
            yield Finding(
                "networks", "bad", f"{entry.name}: no file, and no place to fetch it from", f"put it at {place}"
            )
        else:
            yield Finding("networks", "good", f"{entry.name}: will be fetched")


def _memory(settings: Settings, catalogue: Catalogue) -> Iterator[Finding]:
    chosen = choose(settings, catalogue)
    # As published and as prepared, of which one is loaded: the larger counts.
    sizes = [
        max((path.stat().st_size for path in (settings.models_dir / "onnx" / entry.name).glob("*.onnx")), default=0)
        for entry in (*chosen.entries().values(), *chosen.further())
    ]
    needed = settings.num_workers * (_BASE + _TIMES * sum(sizes))
    usable, limit = _usable_memory()
    what = f"{_mb(usable)} {limit}, about {_mb(needed)} needed"
    if usable < needed:
        remedy = "fewer NUM_WORKERS, INFERENCE_THREADS=1, or smaller networks"
        yield Finding("memory", "doubtful", what, remedy)
    else:
        yield Finding("memory", "good", what)


def _usable_memory() -> tuple[int, str]:
    """Bytes, and whose limit that is."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _MEMORY_LIMITS:
        try:
            limit = int(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if limit < total:
            return limit, "is this container's limit"
    return total, "in this machine"


def _engines(settings: Settings) -> Iterator[Finding]:
    there = installed()
    yield Finding("engines", "good", ", ".join(f"{name} {version}" for name, version in there.items()))
    wanted = settings.inference_backend
    if wanted == AUTO:
        return
    try:
        backend(wanted)
    except VisageError as error:
        yield Finding("engines", "bad", str(error))
    else:
        yield Finding("engines", "good", f"{wanted} ({PACKAGES.get(wanted, 'here')}) computes all networks")
    if wanted == "triton" and not settings.triton_uri:
        yield Finding("engines", "bad", "INFERENCE_BACKEND=triton, but no server is named", "TRITON_URI=host:8001")
    for server in settings.triton_uri if wanted == "triton" else []:
        yield _reached(server)


def _reached(server: str) -> Finding:
    host, _, port = server.rpartition(":")
    try:
        with closing(socket.create_connection((host.strip("[]"), int(port)), timeout=3)):
            return Finding("engines", "good", f"Triton's port at {server} answers")
    except (OSError, ValueError) as exc:
        return Finding("engines", "bad", f"Triton at {server} is not reached: {exc}", "start it, or mend TRITON_URI")


def _gpu(settings: Settings) -> Iterator[Finding]:
    wants = settings.inference_backend == "trt" or any(name in ("cuda", "tensorrt") for name in settings.ort_providers)
    try:
        driver = _NVIDIA.read_text("utf-8").splitlines()[0].split("Module")[-1].split()[0]
    except (OSError, IndexError):
        driver = ""
    if driver:
        yield Finding("gpu", "good", f"NVIDIA's driver {driver}")
    elif wants:
        remedy = "install it; in a container, start it with --gpus and nvidia-container-toolkit"
        yield Finding("gpu", "bad", "NVIDIA's driver is not there", remedy)
    else:
        yield Finding("gpu", "good", "none is asked for")


def _port(settings: Settings) -> Iterator[Finding]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((settings.host, settings.port))
        except OSError as exc:
            what = f"HOST={settings.host} PORT={settings.port} cannot be had: {exc.strerror}"
            yield Finding("port", "bad", what, "choose another PORT, or stop what listens there")
        else:
            yield Finding("port", "good", f"{settings.host}:{settings.port} is free")


def _files() -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _LEAST_FILES:
        yield Finding("open files", "doubtful", f"{soft} at most", f"ulimit -n {_LEAST_FILES} or more")
    else:
        yield Finding("open files", "good", f"{soft} at most")


def _mb(size: int) -> str:
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"
