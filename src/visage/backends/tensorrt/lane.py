"""One run at a time on a stream of its own. Not run on a GPU: tests run it on memory and streams of their own."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from visage.backends.tensorrt.library import Context, Engine, Shape, Words
from visage.backends.tensorrt.profile import Profile
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats, Pixels

log = logging.getLogger(__name__)

# How the input is filled: pixels on the device, the input there, N, h, w; on the current stream.
Fill = Callable[[Any, Any, tuple[int, int, int]], None]


@dataclass(frozen=True, slots=True)
class Tensors:
    """The engine's tensors by name, the outputs in the order of the file; `planar`: the input is (N, 3, h, w)."""

    input: str
    outputs: Sequence[str]
    planar: bool


class Lane:
    """An execution context with all the memory that its largest run needs, so that no run allocates on the device.

    `cuda` is the package cupy. Pinned memory here, so that copies overlap with what the other lanes compute.
    """

    def __init__(
        self,
        engine: Engine,
        cuda: Any,
        tensors: Tensors,
        profile: Profile,
        fill: Fill,
        words: Words,
        *,
        graphs: bool = False,
    ) -> None:
        context = engine.create_execution_context()
        if context is None:
            raise MemoryError("no execution context")
        self._context: Context = context
        self._tensors = tensors
        self._fill = fill
        self._words = words
        self._stream = cuda.cuda.Stream(non_blocking=True)
        self._shape: Shape = ()
        self._results: list[Shape] = []
        self._graphs = graphs
        self._graph: Any = None
        numbers = prod(profile.most)
        self._staged, self._pixels = _pinned(cuda, numbers, np.uint8), cuda.empty(numbers, np.uint8)
        self._fed = cuda.empty(numbers, np.float32)
        context.set_tensor_address(tensors.input, self._fed.data.ptr)
        self._given: list[Any] = []
        self._taken: list[Floats] = []
        self._set_shape(profile.most)
        for name, shape in zip(tensors.outputs, self._results, strict=True):
            self._given.append(cuda.empty(prod(shape), np.float32))
            self._taken.append(_pinned(cuda, prod(shape), np.float32))
            context.set_tensor_address(name, self._given[-1].data.ptr)

    def run(self, pixels: Pixels) -> tuple[Floats, ...]:
        """uint8 (N, h, w, 3) BGR → fresh arrays in the file's order.

        Raises InferenceFailed for a shape that is refused, and what CuPy raises.
        """
        count, height, width, _ = pixels.shape
        shape = (count, 3, height, width) if self._tensors.planar else (count, height, width, 3)
        known = shape == self._shape
        if not known:
            self._graph = None  # what was recorded holds for the shape before
            self._set_shape(shape)
        np.copyto(self._staged[: pixels.size], pixels.reshape(-1))
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._enqueue((count, height, width))
        self._stream.synchronize()
        answers = tuple(
            taken[: prod(result)].reshape(result).copy()
            for taken, result in zip(self._taken, self._results, strict=True)
        )
        if self._graphs and known and self._graph is None:  # this shape comes again
            self._record((count, height, width))
        return answers

    def settle(self) -> None:
        """Wait for whatever a run that failed has left under way."""
        self._graph, self._shape = None, ()
        self._stream.synchronize()

    def _set_shape(self, shape: Shape) -> None:
        self._shape = ()
        if not self._context.set_input_shape(self._tensors.input, shape):
            raise InferenceFailed(f"the engine was not built for {'×'.join(map(str, shape))}")
        self._results = [tuple(self._context.get_tensor_shape(name)) for name in self._tensors.outputs]
        unknown = [name for name, sides in zip(self._tensors.outputs, self._results, strict=True) if min(sides) < 0]
        if unknown:
            raise GraphRejected(f"how large {', '.join(unknown)} will be depends on what the picture shows")
        self._shape = shape

    def _enqueue(self, shape: tuple[int, int, int]) -> None:
        """Up, fill, compute, down; nothing is waited for."""
        size = prod(shape) * 3
        self._words.fresh()
        with self._stream:
            self._pixels[:size].set(self._staged[:size], self._stream)
            self._fill(self._pixels, self._fed, shape)
            if not self._context.execute_async_v3(self._stream.ptr):
                raise InferenceFailed(f"the engine did not start: {self._words.complaint}")
            for given, taken, result in zip(self._given, self._taken, self._results, strict=True):
                size = prod(result)
                given[:size].get(stream=self._stream, out=taken[:size], blocking=False)

    def _record(self, shape: tuple[int, int, int]) -> None:
        """One graph, of the shape that the context stands at: its memory is laid out for that."""
        try:
            with self._stream:
                self._stream.begin_capture()
                try:
                    self._enqueue(shape)
                finally:
                    graph = self._stream.end_capture()
        except Exception as exc:  # CuPy's errors share no base but this; the answers are there without
            self._graphs = False
            log.warning(
                "TRT_CUDA_GRAPHS has no effect, this network cannot be recorded: %s", str(exc).partition("\n")[0]
            )
        else:
            self._graph = graph


def _pinned(cuda: Any, numbers: int, kind: Any) -> Any:
    """Memory of the host that the device copies from and to by itself."""
    memory = cuda.cuda.alloc_pinned_memory(numbers * np.dtype(kind).itemsize)
    return np.frombuffer(memory, kind, numbers)
