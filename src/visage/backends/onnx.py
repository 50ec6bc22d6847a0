"""ONNX Runtime on the CPU, or on whatever ORT_PROVIDERS names."""

from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort

from visage.backends.base import ModelFile, Sizes
from visage.backends.planes import filled
from visage.backends.providers import CPU, is_cpu, providers, streams
from visage.errors import BackendUnavailable, GraphRejected, InferenceFailed
from visage.faces import Floats, Pixels
from visage.memory import keeps_memory

# y = x, one float: the smallest network there is.
_IDENTITY = bytes.fromhex(
    "080812003a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a00100d"
)
_AS_REQUESTED = 1  # grow by what is asked for, not by doubling
_QUIET = 3  # errors only: warnings about unused initialisers help no operator


class OnnxSession:
    """One network in ONNX Runtime; thread-safe, since `InferenceSession.run` is."""

    def __init__(self, session: ort.InferenceSession, model: ModelFile) -> None:
        self.streams = streams(model.means.providers)
        self._session = session
        self._model = model
        spec = session.get_inputs()[0]
        self._input: str = spec.name
        batch, height, width = _axes(spec, model)
        fixed = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        self.sizes = Sizes(fixed, model.stride)
        self.max_batch = batch if isinstance(batch, int) else 0

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        given = len(pixels)
        if self.max_batch > given:  # a file of fixed batch takes no fewer
            pixels = np.concatenate([pixels, np.zeros((self.max_batch - given, *pixels.shape[1:]), np.uint8)])
        feed = {self._input: filled(self._model.preprocess, pixels)}
        try:
            return tuple(out[:given] if self.max_batch > given else out for out in self._session.run(None, feed))
        except Exception as exc:  # ONNX Runtime's own exception types share no base but this
            raise InferenceFailed(f"{self._model.name} failed on {pixels.shape}: {_first_line(exc)}") from exc

    def close(self) -> None:
        """Let the native session go, and its memory with it; a later `run` fails."""
        del self._session


@cache
def _share_memory() -> None:
    """One arena for all sessions of the process: what a run needed serves the next run of any network.

    Each session's own would keep the most that it ever needed (43 MB for four faces in SFace), and memory from the
    system for every run scatters under load (measured: 1.6 GB where this takes 0.4).
    """
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"arena_extend_strategy": _AS_REQUESTED}))
    options = _quiet_options(threads=1)
    options.add_session_config_entry("session.use_env_allocators", "1")
    nothing = ort.InferenceSession(_IDENTITY, options, providers=[CPU])
    shrinking = ort.RunOptions()
    shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    number = np.zeros(1, np.float32)
    # The arena lets go at the end of a run that says so; a run of nothing will do.
    keeps_memory(lambda: nothing.run(None, {"x": number}, shrinking))


def open_session(model: ModelFile, /) -> OnnxSession:
    """Load `model` with its own fixed number of threads, which sleep while idle.

    Spinning pools of several sessions fight for the same cores (measured 1.5× slower on two cores). Raises
    BackendUnavailable where one of the model's providers is not here, drops out or cannot load it.
    """
    session = _on_the_cpu(model) if is_cpu(model.means.providers) else _on_devices(model)
    if len(session.get_inputs()) != 1:
        names = ", ".join(i.name for i in session.get_inputs())
        raise GraphRejected(f"{model.name}: one input expected, the file wants: {names}")
    return OnnxSession(session, model)


def _on_the_cpu(model: ModelFile) -> ort.InferenceSession:
    _share_memory()
    options = _quiet_options(model.threads)
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return ort.InferenceSession(str(model.path), options, providers=[CPU])
    except Exception as exc:  # as above
        raise GraphRejected(f"{model.name}: ONNX Runtime cannot load {model.path.name}: {_first_line(exc)}") from exc


def _on_devices(model: ModelFile) -> ort.InferenceSession:
    """All of the providers or none: a service that was to use a GPU does not run on the CPU unsaid."""
    wanted = providers(model.means.providers)
    options = _quiet_options(model.threads)
    if CPU not in wanted:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    source: str | bytes = str(model.path)
    if model.means.fp16:
        source = _halved(model.path)
    named = f"ORT_PROVIDERS={','.join(model.means.providers)!r}"
    try:  # left alone it would try again with the CPU, and print so
        session = ort.InferenceSession(source, options, providers=wanted, enable_fallback=0)
    except Exception as exc:  # as above
        raise BackendUnavailable(f"{named}: ONNX Runtime cannot load {model.name} so: {_first_line(exc)}") from exc
    got = session.get_providers()
    dropped = [name for name in wanted if name not in got]
    if dropped:
        raise BackendUnavailable(
            f"{named}: ONNX Runtime leaves {', '.join(dropped)} out for {model.name} and would compute with "
            f"{', '.join(got)}; its driver and libraries are missing or too old"
        )
    return session


def _halved(path: Path) -> bytes:
    import onnx  # takes long to import and is needed only here

    from visage.backends.half import halved

    return bytes(halved(onnx.load(path)).SerializeToString())


def _quiet_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # one is kept for every shape there ever was, and with each the arena grows
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _axes(spec: ort.NodeArg, model: ModelFile) -> tuple[int | str | None, int | str | None, int | str | None]:
    """Batch, height and width of the input; a name or None where the axis is dynamic."""
    shape = spec.shape
    channels_at = 1 if model.preprocess.layout == "nchw" else 3
    if len(shape) != 4 or shape[channels_at] != 3:
        raise GraphRejected(f"{model.name}: input {spec.name!r} has shape {shape}, not {model.preprocess.layout} of 3")
    first = 2 if model.preprocess.layout == "nchw" else 1
    return shape[0], shape[first], shape[first + 1]


def _first_line(exc: Exception) -> str:
    return str(exc).strip().splitlines()[0][:300] if str(exc).strip() else type(exc).__name__
