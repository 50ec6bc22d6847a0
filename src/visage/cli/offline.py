"""The networks without a service around them, for commands that embed many pictures."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from visage.deadline import Deadline
from visage.errors import ConfigurationError, ImageError
from visage.faces import Floats, Outcome
from visage.images.fetching import Raw
from visage.options import ExtractOptions
from visage.runtime import Runtime, Unwatched, choose_engines, open_runtime, prepare
from visage.search.base import Recogniser
from visage.search.identity import identity
from visage.settings import Settings

T = TypeVar("T")

_TOGETHER = 32  # crops at a time
_SECONDS = 600.0  # for so many


class Embedder:
    """The default recogniser, asked from a thread that has no event loop."""

    def __init__(self, runtime: Runtime, loop: asyncio.AbstractEventLoop) -> None:
        self._runtime = runtime
        self._loop = loop

    def recogniser(self) -> Recogniser:
        """Raises ConfigurationError where REC_NAME names none."""
        loaded = self._runtime.networks.answering().get("rec")
        if loaded is None:
            raise ConfigurationError("REC_NAME names no network: there is nothing to embed with")
        dimension = self._done(self._runtime.service.dimension(ExtractOptions(), Deadline(_SECONDS)))
        return identity(loaded.entry, loaded.file.sha256, dimension)

    def embed(self, crops: Sequence[bytes]) -> list[Floats | None]:
        """Pictures of aligned crops → for each float32 (D,) of unit length, or None where it is no such picture."""
        vectors: list[Floats | None] = []
        for start in range(0, len(crops), _TOGETHER):
            sources = [Raw(crop) for crop in crops[start : start + _TOGETHER]]
            found = self._runtime.service.extract(sources, ExtractOptions(), Deadline(_SECONDS), crops=True)
            vectors += map(_vector, self._done(found))
        return vectors

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _vector(outcome: Outcome) -> Floats | None:
    if isinstance(outcome.result, ImageError) or outcome.result.faces[0].embedding is None:
        return None
    return outcome.result.faces[0].embedding.vector


@contextmanager
def embedder(settings: Settings) -> Iterator[Embedder]:
    """Loads the networks that the settings name. Raises what `prepare` and `open_runtime` raise."""
    runtime = open_runtime(settings, Unwatched(), choose_engines(settings, prepare(settings)))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="networks")
    thread.start()
    try:
        yield Embedder(runtime, loop)
    finally:
        asyncio.run_coroutine_threadsafe(runtime.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
