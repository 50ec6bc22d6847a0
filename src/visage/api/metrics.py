"""What Prometheus reads at /metrics."""

import os
from collections.abc import Callable, Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from visage.api.problems import kind_of
from visage.errors import VisageError
from visage.faces import ImageFaces, Outcome
from visage.rack import Standing

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts one application's work; the runtime's watcher.

    With several worker processes PROMETHEUS_MULTIPROC_DIR names the folder they share, and /metrics of any of
    them sums all.
    """

    def __init__(self) -> None:
        self._shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self.registry = CollectorRegistry()
        if not self._shared:
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
            "1 where a network is in memory, 0 while it is unloaded for want of use",
            ["stage", "model"],
            multiprocess_mode="livesum",
            registry=r,
        )
        self._ready = Gauge(
            "visage_ready", "1 when the networks are loaded and tested", multiprocess_mode="livemin", registry=r
        )
        self._models = Gauge(
            "visage_model_info", "Networks in use", ["role", "name", "sha256"], multiprocess_mode="livemax", registry=r
        )
        self._standing: Callable[[], Iterable[Standing]] = tuple
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

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def ready(self, models: Iterable[tuple[str, str, str]], standing: Callable[[], Iterable[Standing]]) -> None:
        """`models`: role, name and sha256 of each; `standing` tells how they stand when /metrics is read."""
        for role, name, sha256 in models:
            self._models.labels(role, name, sha256).set(1)
        self._standing = standing
        self._ready.set(1)

    def lost(self) -> None:
        self._ready.set(0)

    def close(self) -> None:
        """Of a worker that ends, the others' sums keep what it counted, but not how it stood."""
        if self._shared:
            mark_process_dead(os.getpid())

    def watch_door(self, inside: Callable[[], tuple[int, int]]) -> None:
        """`inside` tells requests and bytes."""
        self._door = inside

    def render(self) -> tuple[bytes, str]:
        """The text and its media type."""
        for network in self._standing():
            self._waiting.labels(network.stage, network.name).set(network.waiting)
            self._in_memory.labels(network.stage, network.name).set(network.in_memory)
        requests, size = self._door()
        self._inside.set(requests)
        self._bytes.set(size)
        registry = self.registry
        if self._shared:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST
