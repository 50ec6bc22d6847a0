"""A network that Triton servers compute; needs the extra `visage[triton]`.

Normalisation is done here: the server is sent the float32 tensor that the network takes, so that every platform it has
(ONNX Runtime, TensorRT, Python) serves the file as it is. Outputs are asked for by name, in the file's order.
"""

import itertools
import math
import time
from collections.abc import Iterator

import numpy as np
from tritonclient.grpc import service_pb2 as wire

from visage.backends.base import ModelFile, Sizes
from visage.backends.planes import fed_shape, filled
from visage.backends.triton.regions import Region, Regions
from visage.backends.triton.server import Away, Server
from visage.backends.triton.signature import DATATYPE, DYNAMIC, Signature, of_file
from visage.errors import BackendUnavailable, ConfigurationError, DeadlineExceeded, InferenceFailed, Overloaded
from visage.faces import Floats, Pixels

# While no server answers at the start.
_BETWEEN_LOOKS = 0.2


class TritonSession:
    """One network on one or several servers, which take turns; thread-safe, a caller waits on a thread of their own.

    A server that is away is left out and looked at again by and by; a question that it lost is put to the next one.
    """

    def __init__(self, model: ModelFile, signature: Signature, servers: list[Server]) -> None:
        self._model = model
        self._signature = signature
        self._servers = servers
        self._regions = {server.address: Regions(server) for server in servers if model.means.asking.shared_memory}
        self._turn = itertools.count()
        self.streams = model.means.asking.streams
        height, width = signature.sides(model.preprocess.layout)
        self.sizes = Sizes(None if DYNAMIC in (height, width) else (width, height), model.stride)
        self._fixed_batch = max(0, signature.shape[0])
        self.max_batch = self._fixed_batch or min((s.max_batch for s in servers if s.max_batch), default=0)
        for server in servers:
            server.relied_on = None if self._fixed_batch else self.max_batch

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        given = len(pixels)
        if self._fixed_batch > given:  # a file of fixed batch takes no fewer
            pixels = np.concatenate([pixels, np.zeros((self._fixed_batch - given, *pixels.shape[1:]), np.uint8)])
        outputs = self._answered(pixels)
        return tuple(out[:given] for out in outputs) if self._fixed_batch > given else outputs

    def close(self) -> None:
        """Give back the shared memory and hang up; a later `run` fails."""
        for regions in self._regions.values():
            regions.close()
        for server in self._servers:
            server.close()

    def _answered(self, pixels: Pixels) -> tuple[Floats, ...]:
        """Of the first server that answers. Raises Overloaded where none does, DeadlineExceeded, InferenceFailed."""
        until = time.monotonic() + self._model.means.asking.seconds
        for server in self._in_turn():
            if not server.take(until - time.monotonic()):
                continue
            try:
                return self._asked(server, pixels, until)
            except Away as exc:
                server.leave_alone(exc)
            except DeadlineExceeded:
                server.doubt()
                raise
        soonest = min(server.rests for server in self._servers)
        raise Overloaded(f"no server answers for {self._model.name} now", retry_after=max(1, math.ceil(soonest)))

    def _in_turn(self) -> Iterator[Server]:
        first = next(self._turn)
        return (self._servers[(first + i) % len(self._servers)] for i in range(len(self._servers)))

    def _asked(self, server: Server, pixels: Pixels, until: float) -> tuple[Floats, ...]:
        shape = fed_shape(self._model.preprocess, pixels)
        regions = self._regions.get(server.address)
        if regions is None:
            return self._sent(server, pixels, until)
        with regions.lent(4 * math.prod(shape)) as region:
            if region is None:
                return self._sent(server, pixels, until)
            filled(self._model.preprocess, pixels, region.array(shape))
            request = self._request(shape, region)
            try:
                answer = server.infer(request, _left(until, self._model))
            except (Away, InferenceFailed):
                # A server that was started anew between two questions knows the region no more (Triton says NOT_FOUND).
                # Told of it again it answers; what fails for another reason fails again.
                if not regions.share_again(region):
                    return self._sent(server, pixels, until)
                answer = server.infer(request, _left(until, self._model))
        return self._read(answer, len(pixels))

    def _sent(self, server: Server, pixels: Pixels, until: float) -> tuple[Floats, ...]:
        tensor = filled(self._model.preprocess, pixels)
        request = self._request(tensor.shape)
        request.raw_input_contents.append(tensor.tobytes())
        return self._read(server.infer(request, _left(until, self._model)), len(pixels))

    def _request(self, shape: tuple[int, ...], region: Region | None = None) -> wire.ModelInferRequest:
        request = wire.ModelInferRequest(model_name=self._model.name)
        picture = request.inputs.add(name=self._signature.picture.name, datatype=DATATYPE, shape=shape)
        if region is not None:
            picture.parameters["shared_memory_region"].string_param = region.name
            picture.parameters["shared_memory_byte_size"].int64_param = 4 * math.prod(shape)
        for output in self._signature.outputs:
            request.outputs.add(name=output.name)
        return request

    def _read(self, answer: wire.ModelInferResponse, count: int) -> tuple[Floats, ...]:
        """The outputs in the file's order. Raises InferenceFailed for an answer to another question."""
        found = {}
        for tensor, raw in zip(answer.outputs, answer.raw_output_contents, strict=False):
            if tensor.datatype == DATATYPE and len(raw) == 4 * math.prod(tensor.shape):
                found[tensor.name] = np.frombuffer(raw, np.float32).reshape(tuple(tensor.shape)).copy()
        for output in self._signature.outputs:
            if output.name not in found or not self._fits(output.shape, found[output.name].shape, count):
                got = ", ".join(f"{tensor.name!r} {tensor.datatype} {list(tensor.shape)}" for tensor in answer.outputs)
                raise InferenceFailed(
                    f"{self._model.name}: {output.told()} expected of {count}, its server gave: {got}"
                )
        return tuple(found[output.name] for output in self._signature.outputs)

    @staticmethod
    def _fits(expected: tuple[int, ...] | None, found: tuple[int, ...], count: int) -> bool:
        if expected is None:
            return True
        wanted = (count if i == 0 and axis == DYNAMIC else axis for i, axis in enumerate(expected))
        return len(found) == len(expected) and all(a in (DYNAMIC, b) for a, b in zip(wanted, found, strict=True))


def open_session(model: ModelFile, /) -> TritonSession:
    """The network on the servers of `model.means`, each held against the file; one of them must answer.

    Waits for one as long as for an answer. Raises ConfigurationError, BackendUnavailable, GraphRejected.
    """
    if not model.means.servers:
        raise ConfigurationError("INFERENCE_BACKEND=triton needs TRITON_URI: the servers' host:port, 8001 as a rule")
    signature = of_file(model)
    servers = [Server(address, model, signature) for address in dict.fromkeys(model.means.servers)]
    try:
        _one_there(servers, model)
        return TritonSession(model, signature, servers)
    except Exception:
        for server in servers:
            server.close()
        raise


def _one_there(servers: list[Server], model: ModelFile) -> None:
    """Look at every server until one is there; the others are looked at again when it is their turn."""
    until = time.monotonic() + model.means.asking.seconds
    while True:
        away = {}
        for server in servers:
            try:
                server.look()
            except Away as exc:
                away[server] = exc
        if len(away) < len(servers):
            break
        if time.monotonic() > until:
            told = "; ".join(f"{server.address}: {why}" for server, why in away.items())
            raise BackendUnavailable(
                f"no server of TRITON_URI answers for {model.name}: {told}; is it running, with what "
                "`visage triton-repo` wrote for these settings?"
            )
        time.sleep(_BETWEEN_LOOKS)
    for server, why in away.items():
        server.leave_alone(why)


def _left(until: float, model: ModelFile) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded(f"{model.name} was not answered in time by its server")
    return left
