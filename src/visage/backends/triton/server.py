"""One Triton server and one network on it: asked with a deadline, left alone while it is away."""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as wire
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from visage.backends.base import ModelFile
from visage.backends.triton.signature import SHA256, Signature, Tensor
from visage.errors import DeadlineExceeded, GraphRejected, InferenceFailed

log = logging.getLogger(__name__)

# A server that went away is looked at again after so long, then twice as long each time.
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0
# What a look may take; a server that is not busy answers one in a millisecond.
_LOOK_SECONDS = 2.0
# A server that was not asked for so long may have been started anew meanwhile, with another network.
_TRUSTED_SECONDS = 1.0

# The server, or this model on it, is not there now: any other that is there may be asked.
_AWAY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a connection a network: large pictures hold up no small crops
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Away(Exception):
    """A server that does not answer; why, in one line."""


class Server:
    """`address` as gRPC takes it: host:port or unix:path. Usable when made; whether it answers `take` tells."""

    def __init__(self, address: str, model: ModelFile, signature: Signature) -> None:
        self.address = address
        self.max_batch = 0  # the most pictures of one question; 0 for any number
        self.relied_on: int | None = None  # what its callers take for that, once they do
        self.starts = 0  # how often it was found there after it had been away, or at first
        self._model = model
        self._signature = signature
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._looking = threading.Lock()
        self._lock = threading.Lock()
        self._there = False
        self._seen = 0.0
        self._until = 0.0
        self._pause = _FIRST_PAUSE
        self._said: type[Exception] | None = None  # why it is left alone, as the log knows

    @property
    def rests(self) -> float:
        """Seconds until it is looked at again."""
        return max(0.0, self._until - time.monotonic())

    def take(self, seconds: float) -> bool:
        """Whether it may be asked. One that was away, or was not asked of late, is looked at first, by one caller."""
        if self._fresh():
            return True
        if self.rests or not self._looking.acquire(timeout=max(0.0, min(seconds, _LOOK_SECONDS))):
            return False
        try:
            if self._fresh() or self.rests:  # another caller has looked
                return self._fresh()
            self.look()
        except (Away, GraphRejected) as exc:
            self.leave_alone(exc)
            return False
        finally:
            self._looking.release()
        return True

    def look(self) -> None:
        """Hold what it says of the model against the file. Raises Away, and GraphRejected naming the difference."""
        name = self._model.name
        said = self._asked("ModelMetadata", wire.ModelMetadataRequest(name=name))
        config = self._asked("ModelConfig", wire.ModelConfigRequest(name=name)).config
        inputs = [Tensor(t.name, t.datatype, tuple(t.shape)) for t in said.inputs]
        outputs = tuple(Tensor(t.name, t.datatype, tuple(t.shape)) for t in said.outputs)
        if len(inputs) != 1:
            raise self._differs(f"it has {len(inputs)} inputs, the file one")
        difference = self._signature.difference(inputs[0], outputs)
        weights = config.parameters[SHA256].string_value if SHA256 in config.parameters else self._model.sha256
        if difference is None and weights != self._model.sha256:
            difference = f"its weights have sha256 {weights[:12]}…, the file's {self._model.sha256[:12]}…"
        if difference is None and not _as_many(config.max_batch_size, self.relied_on):
            difference = f"its max_batch_size is {config.max_batch_size}, at the start of this service {self.relied_on}"
        if difference is not None:
            raise self._differs(difference)
        if not self._there and SHA256 not in config.parameters:
            log.warning("Triton at %s does not say of which weights its %s is: unverified", self.address, name)
        self._found(config.max_batch_size)

    def infer(self, request: Any, seconds: float) -> Any:
        """The answer. Raises Away, DeadlineExceeded and InferenceFailed."""
        try:
            answer = self._stub.ModelInfer(request, timeout=seconds)
        except grpc.RpcError as exc:
            raise self._translated(exc) from exc
        except ValueError as exc:  # a closed channel
            raise InferenceFailed(f"{self._model.name} is closed") from exc
        self._seen = time.monotonic()
        return answer

    def share(self, name: str, key: str, size: int) -> None:
        """Let it read the shared memory `key`, under `name`, which is nobody else's. Raises Away, InferenceFailed."""
        request = wire.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=0, byte_size=size)
        self._asked("SystemSharedMemoryRegister", request, well=grpc.StatusCode.ALREADY_EXISTS)

    def unshare(self, name: str) -> None:
        """Let go of it; an unknown name is no fault. Raises Away, and InferenceFailed while it is in use."""
        self._asked("SystemSharedMemoryUnregister", wire.SystemSharedMemoryUnregisterRequest(name=name))

    def shared(self) -> list[str]:
        """The names of all that it reads of shared memory, whoever's it is."""
        return list(self._asked("SystemSharedMemoryStatus", wire.SystemSharedMemoryStatusRequest()).regions)

    def doubt(self) -> None:
        """Look at it before it is asked again: it did not answer in time."""
        with self._lock:
            self._seen = 0.0

    def leave_alone(self, why: Exception) -> None:
        """It is away: ask it nothing for a while."""
        with self._lock:
            if self.rests:
                return  # others who waited for it have said so
            if self._said is not type(why):
                log.warning("Triton at %s is left alone for %s: %s", self.address, self._model.name, why)
                self._said = type(why)
            self._there = False
            self._until = time.monotonic() + self._pause * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
            self._pause = min(_LONGEST_PAUSE, 2 * self._pause)

    def close(self) -> None:
        self._channel.close()

    def _found(self, max_batch: int) -> None:
        with self._lock:
            if not self._there:
                self.starts += 1
                log.info("Triton at %s answers for %s", self.address, self._model.name)
            self.max_batch = max_batch
            self._there, self._until, self._pause, self._seen = True, 0.0, _FIRST_PAUSE, time.monotonic()
            self._said = None

    def _fresh(self) -> bool:
        return self._there and time.monotonic() - self._seen < _TRUSTED_SECONDS

    def _asked(self, method: str, request: Any, well: grpc.StatusCode | None = None) -> Any:
        """One of the small questions; None where it ends with `well`."""
        call: Callable[..., Any] = getattr(self._stub, method)
        try:
            return call(request, timeout=_LOOK_SECONDS)
        except grpc.RpcError as exc:
            if well is not None and exc.code() is well:
                return None
            translated = self._translated(exc)
            raise Away(str(translated)) if isinstance(translated, DeadlineExceeded) else translated from exc
        except ValueError as exc:
            raise Away("the channel is closed") from exc

    def _translated(self, exc: Any) -> Exception:
        """Every failure of gRPC as ours; the server's own words reach the log, and its first line the caller."""
        status, words = exc.code(), (exc.details() or "").strip().splitlines()
        told = f"{status.name}: {words[0][:300] if words else 'no reason given'}"
        if status in _AWAY:
            return Away(told)
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{self._model.name} was not answered in time by its server")
        return InferenceFailed(f"{self._model.name} failed on its server: {told}")

    def _differs(self, difference: str) -> GraphRejected:
        return GraphRejected(
            f"{self._model.name}: the Triton server {self.address} serves another network of that name: {difference}; "
            "write its repository anew (visage triton-repo) and restart it"
        )


def _as_many(batch: int, relied_on: int | None) -> bool:
    """Whether a max_batch_size will do where so many are relied on; of both 0 is any number."""
    return relied_on is None or batch == 0 or 0 < relied_on <= batch
