"""What Prometheus reads at /metrics."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from visage.api.living import Living
from visage.api.problems import kind_of
from visage.errors import VisageError
from visage.faces import ImageFaces, Outcome
from visage.rack import Standing

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts one application's work; the runtime's watcher.

    With several worker processes PROMETHEUS_MULTIPROC_DIR names the folder they share, and /metrics of any of them
    tells of all: counters and histograms of those that are gone, too, gauges of those that live. What a gauge tells is
    therefore written when it changes, not when somebody asks: another worker may be the one that is asked.
    """

    def __init__(self) -> None:
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._living = Living(Path(folder)) if folder else None  # before the first gauge
        self.registry = CollectorRegistry()
        if self._living is None:
            ProcessCollector(registry=self.registry)
        r = self.registry
        self._requests = Counter("visage_requests", "Requests answered", ["route", "method", "status"], registry=r)
        self._seconds = Histogram("visage_request_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=r)
        self._images = Counter("visage_images", "Images processed", ["status"], registry=r)
        self._faces = Counter("visage_faces", "Faces answered", registry=r)
        self._stages = Histogram(
            "visage_stage_seconds", "Time of a stage, an image", ["stage"], buckets=_SECONDS, registry=r
        )
        self._batches = Histogram(
            "visage_batch_size", "Items in one run of a network", ["stage"], buckets=_SIZES, registry=r
        )
        self._failures = Counter("visage_failures", "Failed images and requests", ["kind"], registry=r)
        self._inside = Gauge(
            "visage_requests_inside", "Requests being worked on", multiprocess_mode="livesum", registry=r
        )
        self._bytes = Gauge(
            "visage_bytes_inside", "Bytes of the requests inside", multiprocess_mode="livesum", registry=r
        )
        self._waiting = Gauge(
            "visage_queue_depth",
            "Items waiting for a network",
            ["stage", "model"],
            multiprocess_mode="livesum",
            registry=r,
        )
        self._in_memory = Gauge(
            "visage_model_in_memory",
            "Processes that have a network in memory; 0 while it is unloaded for want of use",
            ["stage", "model"],
            multiprocess_mode="livesum",
            registry=r,
        )
        self._ready = Gauge(
            "visage_ready",
            "1 when the networks of every process are loaded and tested",
            multiprocess_mode="livemin",
            registry=r,
        )
        self._models = Gauge(
            "visage_model_info", "Networks in use", ["role", "name", "sha256"], multiprocess_mode="livemax", registry=r
        )
        self._standing: Callable[[], Iterable[Standing]] = tuple
        self._stood: dict[tuple[str, str], bool] = {}
        self._door: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def image(self, outcome: Outcome, /) -> None:
        if isinstance(outcome.result, ImageFaces):
            self._images.labels("ok").inc()
            self._faces.inc(len(outcome.result.faces))
        else:
            self._images.labels("failed").inc()
            self.failure(outcome.result)

    def stage(self, name: str, seconds: float, /) -> None:
        self._stages.labels(name).observe(seconds)

    def batch(self, stage: str, size: int, /) -> None:
        self._batches.labels(stage).observe(size)

    def failure(self, error: VisageError) -> None:
        self._failures.labels(kind_of(error)).inc()

    def unforeseen(self) -> None:
        self._failures.labels("unforeseen").inc()

    def waiting(self, stage: str, model: str, /) -> Callable[[int], None]:
        return self._waiting.labels(stage, model).set

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One that has been answered, and has left."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if self._living is not None:
            self.at_door()
            self.networks()

    def ready(self, models: Iterable[tuple[str, str, str]], standing: Callable[[], Iterable[Standing]]) -> None:
        """`models`: role, name and sha256 of each; `standing` tells how they stand when /metrics is read."""
        for role, name, sha256 in models:
            self._models.labels(role, name, sha256).set(1)
        self._standing = standing
        self.networks()
        self._ready.set(1)

    def lost(self) -> None:
        self._ready.set(0)

    def close(self) -> None:
        """Of a worker that ends, the others' sums keep what it counted, but not how it stood."""
        if self._living is not None:
            self._living.close()

    def watch_door(self, inside: Callable[[], tuple[int, int]]) -> None:
        """`inside` tells requests and bytes, and `at_door` is called when either has changed."""
        self._door = inside

    def at_door(self) -> None:
        """Somebody came in or left, or more of a body came."""
        if self._living is not None:
            self._look_at_door()

    def networks(self) -> None:
        """One may have been loaded or unloaded."""
        for network in self._standing():
            key = (network.stage, network.name)
            if self._stood.get(key) != network.in_memory:
                self._stood[key] = network.in_memory
                self._in_memory.labels(*key).set(network.in_memory)

    def _look_at_door(self) -> None:
        requests, size = self._door()
        self._inside.set(requests)
        self._bytes.set(size)

    def render(self) -> tuple[bytes, str]:
        """The text and its media type."""
        self.networks()
        self._look_at_door()
        registry = self.registry
        if self._living is None:
            for network in self._standing():
                self._waiting.labels(network.stage, network.name).set(network.waiting)
        else:
            self._living.bury()
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST
