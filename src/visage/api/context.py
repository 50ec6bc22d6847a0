"""What one request carries with it from the door to the log line."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import Scope

from visage.access.keys import Key
from visage.deadline import Deadline
from visage.faces import ImageFaces, Outcome

_KEY = "visage.request"


@dataclass(slots=True)
class RequestContext:
    """Filled in as the request goes along; `id` is echoed in X-Request-Id.

    `models`: role → name@sha256 of what answers it, once that is known. `key`: whose request it is, with AUTH=keys.
    """

    id: str
    deadline: Deadline
    started: float = field(default_factory=time.perf_counter)
    bytes_in: int = 0
    images: int = 0
    faces: int = 0
    failed: int = 0
    models: Mapping[str, str] = field(default_factory=dict)
    key: Key | None = None

    def count(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self.images += 1
            if isinstance(outcome.result, ImageFaces):
                self.faces += len(outcome.result.faces)
            else:
                self.failed += 1

    @property
    def milliseconds(self) -> float:
        return (time.perf_counter() - self.started) * 1000

    def attach(self, scope: Scope) -> None:
        scope[_KEY] = self


def context_of(where: Request | Scope) -> RequestContext:
    """The context that the door attached."""
    scope = where.scope if isinstance(where, Request) else where
    found: RequestContext = scope[_KEY]
    return found
