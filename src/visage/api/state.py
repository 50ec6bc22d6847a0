"""What the routes share: the settings, the metrics, and the runtime once it is ready."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.requests import Request

from visage.api.access import Gate
from visage.api.galleries import Galleries
from visage.api.idempotency import Keys
from visage.api.metrics import Metrics
from visage.api.stopping import Stopping
from visage.errors import DeviceLost, NotReady, SelfTestFailed, VisageError
from visage.networks import described
from visage.runtime import Runtime
from visage.settings import Settings

log = logging.getLogger(__name__)

_RESTART_SECONDS = 5


@dataclass(slots=True)
class State:
    """One application's state. `failure`: why the runtime could not be opened, if so; `dimensions`: how long the
    vectors of each recogniser are, as far as that was asked; `lost`: why it answers no more, which `on_loss` is told
    once.
    """

    settings: Settings
    metrics: Metrics
    gate: Gate
    galleries: Galleries
    keys: Keys
    runtime: Runtime | None = None
    failure: VisageError | None = None
    dimensions: dict[str, int] = field(default_factory=dict)
    lost: DeviceLost | None = None
    on_loss: Callable[[], None] = lambda: None
    stopping: Stopping = field(default_factory=Stopping)

    def ready(self) -> Runtime:
        """The runtime. Raises NotReady."""
        if self.lost is not None:
            raise NotReady(str(self.lost), retry_after=_RESTART_SECONDS)
        if self.runtime is None:
            raise NotReady(self._why_not(), retry_after=2)
        return self.runtime

    @property
    def is_ready(self) -> bool:
        return self.runtime is not None and self.lost is None

    def failed(self, error: VisageError) -> None:
        """Count a request's error, and see whether another request can fare better: not where the device is lost."""
        self.metrics.failure(error)
        lost = error if isinstance(error, DeviceLost) else error.__cause__  # of a network that was to be loaded again
        if self.lost is None and isinstance(lost, DeviceLost):
            self.lost = lost
            self.metrics.lost()
            log.error("not ready any more: %s", lost)
            self.on_loss()

    def _why_not(self) -> str:
        """Other failures than the self-test's may name folders of this machine, which are the log's."""
        if isinstance(self.failure, SelfTestFailed):
            return f"The networks could not be loaded: {self.failure}"
        if self.failure is not None:
            return "The networks could not be loaded; see the service's log"
        return "The networks are being loaded"

    @contextmanager
    def enter(self) -> Iterator[None]:
        """A place for one request. Raises NotReady or Overloaded."""
        with self.ready().service.door.enter():
            self.metrics.at_door()
            yield

    def models(self) -> Mapping[str, str]:
        """Role → name@sha256 of what answers a request that names none; the same everywhere it is told."""
        return {} if self.runtime is None else described(self.runtime.networks.answering())

    @property
    def compat(self) -> bool:
        return self.settings.compat_api is not None


def state_of(request: Request) -> State:
    found: State = request.app.state.visage
    return found
