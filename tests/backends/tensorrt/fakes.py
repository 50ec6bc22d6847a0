"""A CuPy on this machine's memory, and a TensorRT 10 whose engines are computed by ONNX Runtime.

What they prove: order, lifetime, addresses, shapes and errors of what runs on a device. A stream does nothing until it is
waited for, so whatever is read too early is wrong. What they cannot prove: that CUDA and TensorRT do the same.
"""

import ctypes
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime as ort

from visage.backends.base import Preprocess
from visage.backends.tensorrt.fill import filled


class CudaError(RuntimeError):
    """As `cupy.cuda.runtime.CUDARuntimeError`."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Stream:
    here: ClassVar[dict[int, "Stream"]] = {}

    def __init__(self, cuda: "Cuda", *, non_blocking: bool) -> None:
        assert non_blocking
        self.cuda, self.waiting, self.captured = cuda, list[Callable[[], None]](), None
        self.ptr = id(self)
        self.runs: list[int] = []
        Stream.here[self.ptr] = self

    def __enter__(self) -> "Stream":
        self.cuda.current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.cuda.current.pop() is self

    def add(self, operation: Callable[[], None]) -> None:
        (self.waiting if self.captured is None else self.captured).append(operation)

    def begin_capture(self) -> None:
        assert not self.waiting
        self.captured: Any = []

    def end_capture(self) -> "Graph":
        captured, self.captured = self.captured, None
        return Graph(captured)

    def synchronize(self) -> None:
        waiting, self.waiting = self.waiting, []
        self.runs.append(len(waiting))
        if self.cuda.sick:
            raise self.cuda.sick
        for operation in waiting:
            operation()


class Graph:
    def __init__(self, operations: list[Callable[[], None]]) -> None:
        self.operations, self.launched = operations, 0

    def launch(self, stream: Stream) -> None:
        self.launched += 1
        stream.waiting += self.operations


class Array:
    """One axis of memory "on the device"."""

    def __init__(self, of: Any) -> None:
        self.of = of

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.of.ctypes.data)

    def __getitem__(self, part: slice) -> "Array":
        return Array(self.of[part])

    def set(self, host: Any, stream: Stream) -> None:
        assert (host.dtype, host.shape) == (self.of.dtype, self.of.shape) and host.flags.c_contiguous
        stream.add(lambda: np.copyto(self.of, host))

    def get(self, *, stream: Stream, out: Any, blocking: bool) -> None:
        assert (out.dtype, out.shape) == (self.of.dtype, self.of.shape) and not blocking
        stream.add(lambda: np.copyto(out, self.of))


class Cuda:
    """The package cupy. `room`: bytes on the device; `sick`: what every wait raises."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room, self.taken, self.freed, self.sick = room, 0, 0, None
        self.current: list[Stream] = []
        self.streams: list[Stream] = []
        self.capability = "86"
        self.cuda = SimpleNamespace(
            Stream=self._stream, alloc_pinned_memory=lambda size: bytearray(-(-size // 512) * 512), Device=self._device
        )

    def _stream(self, *, non_blocking: bool) -> Stream:
        self.streams.append(Stream(self, non_blocking=non_blocking))
        return self.streams[-1]

    def _device(self) -> Any:
        if not self.capability:
            raise CudaError(35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient")
        return SimpleNamespace(compute_capability=self.capability, synchronize=self._synchronize)

    def _synchronize(self) -> None:
        if self.sick:
            raise self.sick

    def empty(self, numbers: int, kind: Any) -> Array:
        self.taken += numbers * np.dtype(kind).itemsize
        if self.taken > self.room:
            raise MemoryError(f"Out of memory allocating {numbers} bytes")
        return Array(np.full(numbers, 113, kind))

    def RawKernel(self, source: str, name: str) -> Callable[..., None]:
        assert f"void {name}(" in source

        def kernel(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            pixels, fed, count, plane, mean, std, rgb, planar = arguments
            assert grid[0] * block[0] >= count > (grid[0] - 1) * block[0]
            feed = Preprocess(float(mean), float(std), "rgb" if rgb else "bgr", "nchw" if planar else "nhwc")

            def fill() -> None:
                pictures = pixels.of[: 3 * count].reshape(count // plane, plane, 1, 3)
                fed.of[: 3 * count] = filled(np, pictures, feed).reshape(-1)

            self.current[-1].add(fill)

        return kernel

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_all_blocks=self._free)

    get_default_pinned_memory_pool = get_default_memory_pool

    def _free(self) -> None:
        self.freed += 1


class _Logger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class _Monitor:
    pass


class _Config:
    def __init__(self, library: "TensorRT10") -> None:
        self.library, self.profiles, self.cache = library, list[Any](), b""
        self.progress_monitor: Any = None
        self.limits: dict[str, int] = {}
        self.cleared: list[str] = []

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.limits[pool] = size

    def clear_flag(self, flag: str) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> bytes:
        return data

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.cache = cache
        return not cache or cache.startswith(b"timings")

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: memoryview(b"timings" + str(len(self.cache)).encode()))


class _Profile:
    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002  TensorRT's names
        self.shapes = [input, min, opt, max]


class _Builder:
    def __init__(self, library: "TensorRT10", logger: Any) -> None:
        self.library, self.logger = library, logger

    def create_network(self, flags: int) -> Any:
        self.library.flags.append(flags)
        return SimpleNamespace(num_inputs=1, model=b"")

    def create_builder_config(self) -> _Config:
        self.library.configs.append(_Config(self.library))
        return self.library.configs[-1]

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: Any, config: _Config) -> memoryview | None:
        self.library.built += 1
        if self.library.refusal:
            self.logger.log(_Logger.ERROR, self.library.refusal)
            return None
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 3)
        assert all(monitor.step_complete("Building engine", step) for step in range(3))
        monitor.phase_finish("Building engine")
        return memoryview(json.dumps(config.profiles[0]).encode() + b"\n" + network.model)


class _Parser:
    def __init__(self, network: Any, logger: Any) -> None:
        self.network, self.num_errors = network, 0

    def parse(self, data: bytes) -> bool:
        self.network.model = data
        self.network.get_input = lambda index: onnx.load_model_from_string(data).graph.input[index]
        return True

    def get_error(self, index: int) -> Any:
        raise IndexError(index)


class _Engine:
    def __init__(self, library: "TensorRT10", logger: Any, data: bytes) -> None:
        head, _, model = data.partition(b"\n")
        self.library, self.logger = library, logger
        self.input, *self.shapes = json.loads(head)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # TensorRT's order need not be the file's.
        self.names = [*reversed([one.name for one in self.session.get_outputs()]), self.input]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_dtype(self, name: str) -> str:
        kinds = {one.name: one.type for one in (*self.session.get_outputs(), *self.session.get_inputs())}
        return {"tensor(float)": "FLOAT"}.get(kinds[name], kinds[name])

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        assert (name, profile) == (self.input, 0)
        return self.shapes

    def create_execution_context(self) -> "_Context | None":
        return None if self.library.no_context else _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.addresses, self.shape = engine, dict[str, int](), ()
        engine.library.contexts.append(self)

    def set_input_shape(self, name: str, shape: Any) -> bool:
        assert name == self.engine.input
        least, _, most = self.engine.shapes
        if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            return False
        self.shape: Any = tuple(shape)
        self.outputs = dict(zip(self._names(), self._run(np.zeros(shape, np.float32)), strict=True))
        return True

    def get_tensor_shape(self, name: str) -> Any:
        return [-1] if self.engine.library.unknown_shapes else list(self.outputs[name].shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        refusal = self.engine.library.run_refusal
        if refusal:
            self.engine.logger.log(_Logger.ERROR, refusal)
            return False
        shape = self.shape

        def compute() -> None:
            for name, out in zip(self._names(), self._run(_at(self.addresses[self.engine.input], shape)), strict=True):
                np.copyto(_at(self.addresses[name], out.shape), out)

        Stream.here[stream].add(compute)
        return True

    def _names(self) -> list[str]:
        return [one.name for one in self.engine.session.get_outputs()]

    def _run(self, fed: Any) -> Any:
        return self.engine.session.run(None, {self.engine.input: fed})


def _at(address: int, shape: Any) -> Any:
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), tuple(shape))


class TensorRT10:
    """The package tensorrt."""

    __name__, __version__ = "tensorrt", "10.13.0"
    ILogger, IProgressMonitor = _Logger, _Monitor
    NetworkDefinitionCreationFlag = SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
    BuilderFlag = SimpleNamespace(TF32="TF32")
    DataType = SimpleNamespace(FLOAT="FLOAT")
    OnnxParser = staticmethod(_Parser)

    def __init__(self) -> None:
        self.flags: list[int] = []
        self.configs: list[_Config] = []
        self.contexts: list[_Context] = []
        self.built = self.refused = 0
        self.refusal = self.run_refusal = ""
        self.no_context = self.unknown_shapes = False

    def Builder(self, logger: Any) -> _Builder:
        return _Builder(self, logger)

    def Runtime(self, logger: Any) -> Any:
        def deserialize(data: bytes) -> _Engine | None:
            if self.refused:
                self.refused -= 1
                logger.log(_Logger.ERROR, "incompatible serialization version. In deserialize at engine.cpp:1")
                return None
            return _Engine(self, logger, data)

        return SimpleNamespace(deserialize_cuda_engine=deserialize)
