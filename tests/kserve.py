"""A server that speaks KServe v2 as Triton does, in this process: one network, computed by ONNX Runtime, and what a test
wants to go wrong. What the real one does is held against it in tests/contract/test_triton.py.
"""

import mmap
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import onnxruntime as ort
from tritonclient.grpc import service_pb2 as wire
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server

from visage.backends.triton.signature import SHA256


@dataclass
class FakeTriton(GRPCInferenceServiceServicer):
    """Serves `path`, whose batch axis is any; the rest says how it misbehaves, and may be changed while it runs."""

    path: Path
    name: str
    max_batch: int = 16
    weights: str | None = None
    shares: bool = True  # can it see our shared memory?
    refuses: grpc.StatusCode | None = None  # what every run ends with
    away: grpc.StatusCode | None = None  # what everything ends with
    busy: int = 0  # so many times it says that a region is in use
    says: Any = None  # changes what it says of the model: metadata → metadata
    answers: Any = None  # changes what it answers: response → response
    calls: Counter[str] = field(default_factory=Counter)
    regions: dict[str, tuple[str, int]] = field(default_factory=dict)
    sent: int = 0  # bytes of pictures that came over the wire

    def __post_init__(self) -> None:
        self._session = ort.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        self._graph = onnx.load(str(self.path)).graph
        self._lock = threading.Lock()

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        self._called("look", request.name, context)
        said = wire.ModelMetadataResponse(name=self.name)
        for values, told in ((self._graph.input, said.inputs), (self._graph.output, said.outputs)):
            for value in values:
                shape = [axis.dim_value or -1 for axis in value.type.tensor_type.shape.dim]
                told.add(name=value.name, datatype="FP32", shape=shape)
        outputs = list(said.outputs)[::-1]  # an order of its own
        del said.outputs[:]
        said.outputs.extend(outputs)
        return self.says(said) if self.says else said

    def ModelConfig(self, request: Any, context: Any) -> Any:
        self._called("config", request.name, context)
        response = wire.ModelConfigResponse()
        response.config.max_batch_size = self.max_batch
        if self.weights is not None:
            response.config.parameters[SHA256].string_value = self.weights
        return response

    def ModelInfer(self, request: Any, context: Any) -> Any:
        self._called("run", request.model_name, context)
        (picture,) = request.inputs
        if "shared_memory_region" in picture.parameters:
            raw = self._read(picture, context)
        else:
            (raw,) = request.raw_input_contents
            with self._lock:
                self.sent += len(raw)
        tensor = np.frombuffer(raw, np.float32).reshape(tuple(picture.shape))
        if self.refuses is not None:
            context.abort(self.refuses, "a reason\nand more of it")
        response = wire.ModelInferResponse(model_name=self.name, model_version="1")
        names = [output.name for output in request.outputs]
        outputs = self._session.run(names, {picture.name: tensor})
        for name, output in reversed(list(zip(names, outputs, strict=True))):
            response.outputs.add(name=name, datatype="FP32", shape=output.shape)
            response.raw_output_contents.append(output.tobytes())
        return self.answers(response) if self.answers else response

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:
        self._called("share", None, context)
        if not self.shares:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Unable to open shared memory region")
        if request.name in self.regions:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "shared memory region already in manager")
        self.regions[request.name] = (request.key, request.byte_size)
        return wire.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:
        self._called("unshare", None, context)
        if self.busy:
            self.busy -= 1
            context.abort(grpc.StatusCode.INTERNAL, f"Cannot unregister '{request.name}', it is currently in use.")
        self.regions.pop(request.name, None)
        return wire.SystemSharedMemoryUnregisterResponse()

    def SystemSharedMemoryStatus(self, request: Any, context: Any) -> Any:
        response = wire.SystemSharedMemoryStatusResponse()
        for name, (key, size) in self.regions.items():
            response.regions[name].name, response.regions[name].key = name, key
            response.regions[name].byte_size = size
        return response

    def _read(self, picture: Any, context: Any) -> bytes:
        name = picture.parameters["shared_memory_region"].string_param
        if name not in self.regions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Unable to find shared memory region: '{name}'")
        key, size = self.regions[name]
        with (Path("/dev/shm") / key[1:]).open("r+b") as file, mmap.mmap(file.fileno(), size) as memory:
            return memory[: picture.parameters["shared_memory_byte_size"].int64_param]

    def _called(self, what: str, name: str | None, context: Any) -> None:
        with self._lock:
            self.calls[what] += 1
        if self.away is not None:
            context.abort(self.away, "away")
        if name is not None and name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")


@contextmanager
def serving(fake: FakeTriton, address: str = "127.0.0.1:0") -> Iterator[str]:
    """Where it listens, while it does; with an address it listens there (again)."""
    with ThreadPoolExecutor(16) as pool:
        options = (("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0))
        server = grpc.server(pool, options=options)
        add_GRPCInferenceServiceServicer_to_server(fake, server)
        port = server.add_insecure_port(address)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(grace=None).wait()
