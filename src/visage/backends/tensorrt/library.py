"""TensorRT as far as it is used: names that 10 and 11 have alike, and TensorRT for RTX, which is 11's.

The package is a parameter everywhere, so that tests build with TensorRT for RTX, which needs no GPU for it.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Any, Protocol

log = logging.getLogger("visage.tensorrt")

Shape = tuple[int, ...]


class Tensor(Protocol):
    """An input or output of a network; -1 in its shape is a dynamic axis."""

    name: str

    @property
    def shape(self) -> Sequence[int]: ...


class Network(Protocol):
    @property
    def num_inputs(self) -> int: ...
    def get_input(self, index: int, /) -> Tensor: ...


class ParserError(Protocol):
    def desc(self) -> str: ...


class Parser(Protocol):
    @property
    def num_errors(self) -> int: ...
    def parse(self, model: bytes, /) -> bool: ...
    def get_error(self, index: int, /) -> ParserError: ...


class OptimizationProfile(Protocol):
    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None: ...  # noqa: A002  TensorRT's names


class TimingCache(Protocol):
    def serialize(self) -> Any: ...


class BuilderConfig(Protocol):
    progress_monitor: Any

    def set_memory_pool_limit(self, pool: Any, size: int, /) -> None: ...
    def clear_flag(self, flag: Any, /) -> None: ...
    def add_optimization_profile(self, profile: OptimizationProfile, /) -> int: ...
    def create_timing_cache(self, data: bytes, /) -> TimingCache: ...
    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool, /) -> bool: ...
    def get_timing_cache(self) -> TimingCache | None: ...


class Builder(Protocol):
    def create_network(self, flags: int, /) -> Network: ...
    def create_builder_config(self) -> BuilderConfig: ...
    def create_optimization_profile(self) -> OptimizationProfile: ...
    def build_serialized_network(self, network: Network, config: BuilderConfig, /) -> Any: ...


class Context(Protocol):
    """One run of an engine at a time."""

    def set_input_shape(self, name: str, shape: Shape, /) -> bool: ...
    def get_tensor_shape(self, name: str, /) -> Sequence[int]: ...
    def set_tensor_address(self, name: str, address: int, /) -> bool: ...
    def execute_async_v3(self, stream: int, /) -> bool: ...


class Engine(Protocol):
    @property
    def num_io_tensors(self) -> int: ...
    def get_tensor_name(self, index: int, /) -> str: ...
    def get_tensor_dtype(self, name: str, /) -> Any: ...
    def get_tensor_profile_shape(self, name: str, profile: int, /) -> Sequence[Sequence[int]]: ...
    def create_execution_context(self) -> Context | None: ...


class Runtime(Protocol):
    def deserialize_cuda_engine(self, engine: bytes, /) -> Engine | None: ...


class Library(Protocol):
    """The package `tensorrt`, or `tensorrt_rtx`."""

    __name__: str
    __version__: str
    ILogger: Any
    IProgressMonitor: Any
    NetworkDefinitionCreationFlag: Any
    MemoryPoolType: Any
    BuilderFlag: Any
    DataType: Any

    def Builder(self, logger: Any, /) -> Builder: ...
    def OnnxParser(self, network: Network, logger: Any, /) -> Parser: ...
    def Runtime(self, logger: Any, /) -> Runtime: ...


def named(library: Any) -> str:
    """Its name and version: engines of another are foreign to it."""
    return f"{library.__name__} {library.__version__}"


class Words:
    """What TensorRT says, in our log; the last that it complained of in a thread says why its call there failed."""

    def __init__(self) -> None:
        self._of = threading.local()

    def heard(self, level: int, said: str) -> None:
        """A message of TensorRT's, `level` one of logging's."""
        if level >= logging.ERROR and not getattr(self._of, "first", ""):
            self._of.first = said  # later ones follow from it
        log.log(level if level < logging.ERROR else logging.WARNING, said)

    def fresh(self) -> None:
        """Forget what this thread's earlier calls were told."""
        self._of.first = ""

    @property
    def complaint(self) -> str:
        """One line, without where in its sources TensorRT says so."""
        said = str(getattr(self._of, "first", "")).partition(" In ")[0]
        return said[:300] or "TensorRT does not say why"


def logger(library: Library, words: Words) -> Any:
    """An ILogger that speaks into `words`; TensorRT's chatter is debugging here."""
    severity = library.ILogger
    levels = {severity.INTERNAL_ERROR: logging.ERROR, severity.ERROR: logging.ERROR, severity.WARNING: logging.INFO}

    base: Any = library.ILogger

    class Logger(base):  # type: ignore[misc]  # whichever package was given
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            words.heard(levels.get(severity, logging.DEBUG), " ".join(msg.split()))

    return Logger()
