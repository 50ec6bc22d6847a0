"""What the routes share: the settings, the metrics, and the runtime once it is ready."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request

from visage.api.access import Gate
from visage.api.metrics import Metrics
from visage.errors import NotReady, VisageError
from visage.networks import described
from visage.runtime import Runtime
from visage.settings import Settings


@dataclass(slots=True)
class State:
    """One application's state. `failure`: why the runtime could not be opened, if so."""

    settings: Settings
    metrics: Metrics
    gate: Gate
    runtime: Runtime | None = None
    failure: VisageError | None = None

    def ready(self) -> Runtime:
        """The runtime. Raises NotReady."""
        if self.runtime is None:
            why = (
                "The networks could not be loaded; see the service's log"
                if self.failure
                else "The networks are being loaded"
            )
            raise NotReady(why, retry_after=2)
        return self.runtime

    @contextmanager
    def enter(self) -> Iterator[None]:
        """A place for one request. Raises NotReady or Overloaded."""
        with self.ready().service.door.enter():
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
