"""Engines beside the weights: built once for all processes and containers that share the folder.

onnx/<name>/<name>.<which>.engine    what it is built of and for, then the engine; written whole or not at all
onnx/<name>/<name>.<which>.timing    what TensorRT measured when it built
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from visage.backends.tensorrt.profile import Profile
from visage.errors import GraphRejected, ModelFileError
from visage.lock import alone, told_plainly

T = TypeVar("T")

log = logging.getLogger(__name__)

_MAGIC = b"visage engine 1\n"
TIMING = "timing"
# More than any note has.
_LONGEST_NOTE = 1 << 16


class Unusable(Exception):
    """An engine that is not to be used, and why; it is built anew."""


@dataclass(frozen=True, slots=True)
class Key:
    """All that an engine depends on; of another it is foreign.

    `library`: TensorRT's name and version; `capability`: the GPU's ("sm86"); `weights`: the published file's sha256;
    `file`: that of the file that is built of it, rewritten or not.
    """

    library: str
    capability: str
    weights: str
    file: str
    precision: Literal["fp32", "fp16"]
    profile: Profile

    @property
    def short(self) -> str:
        """Fit for a file's name: what a person asks first, then a digest of all."""
        told = json.dumps(asdict(self), sort_keys=True).encode()
        version = self.library.replace(" ", "-")
        return f"{version}.{self.capability}.{self.precision}.{hashlib.sha256(told).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class EngineCache:
    """One network's engines in `folder`."""

    folder: Path
    name: str
    key: Key

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.{self.key.short}.engine"

    @property
    def timings(self) -> Path:
        version = self.key.library.replace(" ", "-")
        return self.folder / f"{self.name}.{version}.{self.key.capability}.{TIMING}"

    def obtain(self, build: Callable[[bytes], tuple[bytes, bytes]], load: Callable[[bytes], T]) -> T:
        """What `load` makes of the engine that is there, or of the one that `build` makes now.

        `load` raises Unusable for one that cannot be used. `build` is given what was measured before and returns the
        engine and what was measured. Raises what it raises, and GraphRejected where what it built is unusable.
        """
        try:
            return load(self.read())
        except Unusable:
            pass  # said below, by whoever builds
        with ExitStack() as held:
            kept = self._alone(held)
            try:  # another process may have built it meanwhile
                return load(self.read())
            except Unusable as exc:
                log.info("%s: building its TensorRT engine: %s", self.name, exc)
            engine, measured = build(_bytes(self.timings))
            if kept:
                self._keep(engine, measured)
        try:
            return load(engine)
        except Unusable as exc:
            raise GraphRejected(f"{self.name}: the engine that was just built cannot be used: {exc}") from exc

    def read(self) -> bytes:
        """The engine that is there. Raises Unusable, also where there is none."""
        data = _bytes(self.path)
        if not data:
            raise Unusable("there is none for this GPU, TensorRT, precision and sizes yet")
        if not data.startswith(_MAGIC):
            raise Unusable(f"{self.path.name} is no engine of ours")
        head, _, engine = data[len(_MAGIC) :].partition(b"\n")
        try:
            note = json.loads(head)
            key, sha256 = note["key"], note["sha256"]
        except (ValueError, KeyError, TypeError) as exc:
            raise Unusable(f"{self.path.name} is damaged") from exc
        if key != json.loads(json.dumps(asdict(self.key))):
            raise Unusable(f"{self.path.name} was built of or for something else")
        if sha256 != hashlib.sha256(engine).hexdigest():
            raise Unusable(f"{self.path.name} is damaged")
        return engine

    def _alone(self, held: ExitStack) -> bool:
        """Whether nobody else builds it meanwhile; False, and said, where the folder lets nothing be written."""
        try:
            with told_plainly(self.name, self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                # Not the lock of whoever prepares the model, which a race of engines holds while it opens them.
                held.enter_context(alone(self.folder / ".lock-engine", self.name))
        except ModelFileError as exc:
            log.warning("an engine is built for this start only: %s", exc)
            return False
        for left in self.folder.glob(f".engine-{self.name}.*"):  # by a process that was killed: we are alone
            left.unlink(missing_ok=True)
        return True

    def _keep(self, engine: bytes, measured: bytes) -> None:
        note = {"key": asdict(self.key), "sha256": hashlib.sha256(engine).hexdigest()}
        try:
            with told_plainly(self.name, self.folder):
                self._appear(self.path, _MAGIC + json.dumps(note, sort_keys=True).encode() + b"\n" + engine)
                if measured:
                    self._appear(self.timings, measured)
        except ModelFileError as exc:
            log.warning("an engine is built for this start only: %s", exc)

    def _appear(self, path: Path, data: bytes) -> None:
        draft = path.with_name(f".engine-{path.name}")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def key_of(path: Path) -> dict[str, Any] | None:
    """The `Key` of an engine's file, as it is written there; None for what is no engine of ours."""
    try:
        with path.open("rb") as file:
            if file.readline(len(_MAGIC)) != _MAGIC:
                return None
            key = json.loads(file.readline(_LONGEST_NOTE))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key if isinstance(key, dict) else None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
