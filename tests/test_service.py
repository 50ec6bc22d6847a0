import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import uvloop

from tests.support import ConstantDetector, b64, constant_runtime, settings_of
from visage.api.metrics import Metrics
from visage.deadline import Deadline
from visage.errors import (
    CropRejected,
    DeadlineExceeded,
    ImageError,
    ImageTooLarge,
    ImageUndecodable,
    ImageUnreachable,
    InferenceFailed,
    Overloaded,
    PathForbidden,
    UrlForbidden,
)
from visage.faces import Detections, Floats, ImageBatch, ImageFaces, Outcome
from visage.images.fetching import Encoded, ImageSource, Local, Raw, Remote
from visage.options import ExtractOptions
from visage.service import Admission, FaceService

HANG = 60  # seconds; only ever reached by a fault
BOXES_ONLY = ExtractOptions(embedding=False)


def shade(value: int, width: int = 64, height: int = 48) -> Raw:
    """A picture that a detector can tell from others."""
    return Raw(bytes(cv2.imencode(".png", np.full((height, width, 3), value, np.uint8))[1]))


class GatedDetector(ConstantDetector):
    """Waits for the test before each picture, and remembers their shades in the order they came."""

    def __init__(self) -> None:
        self.shades: list[int] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        self.shades += [int(pixels[0, 0, 0]) for pixels in images.pixels]
        self.entered.release()
        assert self.gate.acquire(timeout=HANG)
        return super().detect(images, thresholds)

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=HANG)

    def open(self) -> None:
        self.gate.release(1000)


class Watcher(Metrics):
    """The real one, which also remembers what became of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Outcome] = []

    def image(self, outcome: Outcome, /) -> None:
        super().image(outcome)
        self.outcomes.append(outcome)


@asynccontextmanager
async def service_of(
    *, detector: Any = None, watcher: Metrics | None = None, workers: int = 2, **environ: str
) -> AsyncIterator[FaceService]:
    runtime = constant_runtime(settings_of(**environ), watcher or Metrics(), detector=detector, workers=workers)
    try:
        yield runtime.service
    finally:
        await runtime.aclose()


def in_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on the event loop that the service is served with."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


def later() -> Deadline:
    return Deadline(100)


def kinds(outcomes: list[Outcome]) -> list[type]:
    return [type(outcome.result) for outcome in outcomes]


# Admission


def test_so_many_are_inside_and_the_next_is_turned_away() -> None:
    door = Admission(2)
    with door.enter(), door.enter():
        assert door.inside == 2
        with pytest.raises(Overloaded, match="2 requests are being worked on") as refused, door.enter():
            pass
        assert door.inside == 2
    assert refused.value.retry_after >= 1
    assert door.inside == 0
    with door.enter():
        assert door.inside == 1


def test_a_place_is_given_back_when_the_request_fails() -> None:
    door = Admission(1)
    with pytest.raises(ZeroDivisionError), door.enter():
        raise ZeroDivisionError
    with door.enter():
        pass


def test_retry_after_grows_with_how_long_the_last_ones_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    # Its name for the module, not the module: the event loops of other tests' fixtures read that clock, too.
    monkeypatch.setattr("visage.service.time", SimpleNamespace(monotonic=lambda: now[0]))
    door = Admission(4)

    def told() -> int:
        with pytest.raises(Overloaded) as refused, door.enter():
            pass
        return refused.value.retry_after

    def fill(seconds: float) -> int:
        """Four inside at a time, one leaving every so many seconds, many times over; what the fifth is told."""
        held = [door.enter() for _ in range(4)]
        for place in held:
            place.__enter__()
        for _ in range(100):
            now[0] += seconds
            held.pop(0).__exit__(None, None, None)
            held.append(door.enter())
            held[-1].__enter__()
        said = told()
        for place in held:
            place.__exit__(None, None, None)
        return said

    assert fill(0.01) == 1
    assert fill(5) == pytest.approx(20, abs=1)
    assert fill(1000) <= 60


# outcomes


def test_outcomes_stand_in_the_order_of_the_images() -> None:
    class Shades(ConstantDetector):
        def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
            marked = [np.full_like(self.boxes, pixels[0, 0, 0]) for pixels in images.pixels]
            return [Detections(boxes, self.scores, self.landmarks) for boxes in marked]

    async def main() -> None:
        async with service_of(detector=Shades(), workers=4, DET_BATCH_SIZE="4") as service:
            outcomes = await service.extract([shade(i) for i in range(40)], BOXES_ONLY, later())
        results = [outcome.result for outcome in outcomes]
        assert [r.faces[0].box[0] for r in results if isinstance(r, ImageFaces)] == list(range(40))

    in_loop(main)


def test_a_bad_image_fails_alone_whatever_is_bad_about_it(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(shade(1).data)
    sources: list[tuple[ImageSource, type]] = [
        (shade(1), ImageFaces),
        (Raw(b"not a picture"), ImageUndecodable),
        (Encoded(b64(shade(1).data)), ImageFaces),
        (Encoded("!!!"), ImageUndecodable),
        (Raw(b""), ImageUndecodable),
        (shade(1, 2000, 2000), ImageTooLarge),
        (Local("good.png"), ImageFaces),
        (Local("missing.png"), ImageUnreachable),
        (Local("../secret.png"), PathForbidden),
        (Remote("http://127.0.0.1:1/a.png"), UrlForbidden),
        (shade(1), ImageFaces),
    ]
    watcher = Watcher()

    async def main() -> None:
        async with service_of(watcher=watcher, ROOT_IMAGES_DIR=str(tmp_path), MAX_IMAGE_PIXELS="1000000") as service:
            outcomes = await service.extract([source for source, _ in sources], BOXES_ONLY, later())
        assert kinds(outcomes) == [kind for _, kind in sources]
        for outcome in outcomes:
            if isinstance(outcome.result, ImageFaces):
                assert len(outcome.result.faces) == 2
            assert outcome.read_seconds >= 0 and outcome.network_seconds >= 0

    in_loop(main)
    assert len(watcher.outcomes) == len(sources)
    failed = [outcome for outcome in watcher.outcomes if isinstance(outcome.result, ImageError)]
    assert len(failed) == 7


def test_a_crop_that_is_none_fails_alone() -> None:
    async def main() -> None:
        async with service_of() as service:
            sources = [shade(1, 112, 112), shade(1, 640, 480), Raw(b"text"), shade(1, 112, 112)]
            outcomes = await service.extract(sources, ExtractOptions(), later(), crops=True)
        assert kinds(outcomes) == [ImageFaces, CropRejected, ImageUndecodable, ImageFaces]

    in_loop(main)


def test_no_images_have_no_outcomes() -> None:
    async def main() -> None:
        async with service_of() as service:
            assert await service.extract([], BOXES_ONLY, later()) == []

    in_loop(main)


@pytest.mark.parametrize("error", [InferenceFailed("onnx says no"), ValueError("a defect of ours")])
def test_a_network_that_fails_fails_the_request_with_its_own_error(error: Exception) -> None:
    class Broken(ConstantDetector):
        def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
            raise error

    async def main() -> None:
        async with service_of(detector=Broken()) as service:
            with pytest.raises(type(error), match=str(error)):
                await service.extract([shade(1), shade(2)], BOXES_ONLY, later())

    in_loop(main)


def test_reading_and_processing_one_picture_raise_what_is_wrong_with_it() -> None:
    async def main() -> None:
        async with service_of() as service:
            image = await service.read(shade(9), later())
            assert (image.width, image.height) == (64, 48)
            assert len((await service.faces(image, BOXES_ONLY, later())).faces) == 2
            assert await service.run_in_worker(lambda: threading.current_thread().name[:5], later()) == "image"
            with pytest.raises(ImageUndecodable):
                await service.read(Raw(b"text"), later())

    in_loop(main)


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_why_a_picture_failed_stands_in_the_log_and_its_decoders_own_words_for_who_debugs(
    caplog: pytest.LogCaptureFixture, level: int
) -> None:
    broken = Raw(shade(9).data[:90])

    async def main() -> None:
        deadline = Deadline(HANG, request="the-request")
        async with service_of() as service:
            await service.extract([shade(9), broken, Local("none.png")], BOXES_ONLY, deadline.part())
            with pytest.raises(ImageUndecodable):
                await service.read(broken, deadline)

    with caplog.at_level(level, logger="visage.service"):
        in_loop(main)
    lines = [record for record in caplog.records if record.name == "visage.service"]
    failed = [record for record in lines if record.levelno == logging.INFO]
    assert [record.getMessage().split(": ", 1)[0] for record in failed] == ["a picture failed"] * 3
    assert sum("the PNG data is broken or cut short" in record.getMessage() for record in failed) == 2
    assert sum("none.png" in record.getMessage() for record in failed) == 1
    assert {record.__dict__["request_id"] for record in lines} == {"the-request"}
    words = [record.getMessage() for record in lines if record.levelno == logging.DEBUG]
    assert bool(words) == (level == logging.DEBUG)
    assert all(text.startswith(("its decoder said: OpenCV: ", "its decoder said: Pillow: ")) for text in words)


# fairness


@pytest.mark.parametrize("workers", [1, 2])
def test_a_small_request_does_not_wait_for_all_of_a_large_one_that_came_before(workers: int) -> None:
    detector = GatedDetector()

    async def main() -> None:
        async with service_of(detector=detector, workers=workers) as service, asyncio.TaskGroup() as group:
            large = group.create_task(service.extract([shade(10)] * 60, BOXES_ONLY, later()))
            await detector.wait_entered()
            small = group.create_task(service.extract([shade(20)], BOXES_ONLY, later()))
            for _ in range(4 * workers + 2):
                detector.gate.release()
                await asyncio.wait([small], timeout=0.01 if not small.done() else 0)
            await asyncio.wait_for(asyncio.shield(small), HANG)
            assert not large.done()
            detector.open()
            await large
        assert len(detector.shades) == 61
        # Those of the large one that had a thread or stood in its queue go first: `workers` of each at the most.
        assert detector.shades.index(20) <= 3 * workers

    in_loop(main)


def test_small_requests_take_turns_with_a_large_one() -> None:
    detector = GatedDetector()
    detector.open()

    async def main() -> None:
        async with service_of(detector=detector, workers=1) as service, asyncio.TaskGroup() as group:
            large = group.create_task(service.extract([shade(10)] * 100, BOXES_ONLY, later()))
            for i in range(20):
                await service.extract([shade(100 + i)], BOXES_ONLY, later())
            assert not large.done()

    in_loop(main)
    places = [detector.shades.index(100 + i) for i in range(20)]
    assert all(after - before <= 4 for before, after in pairwise(places))


# callers that leave, callers that are too late


def test_a_caller_that_leaves_takes_its_waiting_pictures_along() -> None:
    detector, watcher = GatedDetector(), Watcher()

    async def main() -> None:
        async with service_of(detector=detector, watcher=watcher, workers=2) as service:
            request = asyncio.create_task(service.extract([shade(10)] * 50, BOXES_ONLY, later()))
            await detector.wait_entered()
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            detector.open()
            (outcome,) = await service.extract([shade(20)], BOXES_ONLY, later())
            assert isinstance(outcome.result, ImageFaces)

    in_loop(main)
    assert 10 in detector.shades
    assert detector.shades.count(10) <= 2  # what a worker had begun; nothing was begun after
    assert detector.shades[-1] == 20


def test_a_caller_that_leaves_is_not_worked_for_any_further() -> None:
    detector, stages = GatedDetector(), Watcher()

    async def main() -> None:
        async with service_of(detector=detector, watcher=stages, workers=1) as service:
            request = asyncio.create_task(service.extract([shade(10)], ExtractOptions(), later()))
            await detector.wait_entered()
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            detector.open()

    in_loop(main)
    text = stages.render()[0].decode()
    assert 'stage="decode"' in text
    assert 'stage="embed"' not in text  # the picture was in the detector and went no further


def test_a_failure_of_the_request_stops_its_other_pictures() -> None:
    class FirstFails(GatedDetector):
        def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
            super().detect(images, thresholds)
            raise InferenceFailed("broken")

    detector = FirstFails()

    async def main() -> None:
        async with service_of(detector=detector, workers=1) as service:
            request = asyncio.create_task(service.extract([shade(10)] * 50, BOXES_ONLY, later()))
            await detector.wait_entered()
            detector.open()
            with pytest.raises(InferenceFailed):
                await request

    in_loop(main)
    assert len(detector.shades) <= 3


@pytest.mark.parametrize("seconds", [0.0504, 0.0508, 0.0512])
def test_a_request_that_is_too_late_is_told_so(seconds: float) -> None:
    detector = GatedDetector()

    async def main() -> None:
        async with service_of(detector=detector) as service:
            with pytest.raises(DeadlineExceeded, match=f"not answered within {seconds:g} s"):
                await service.extract([shade(10)] * 3, BOXES_ONLY, Deadline(seconds))
            detector.open()
            (outcome,) = await service.extract([shade(20)], BOXES_ONLY, later())
            assert isinstance(outcome.result, ImageFaces)

    in_loop(main)


def test_a_request_that_is_late_already_costs_nothing() -> None:
    detector = GatedDetector()

    async def main() -> None:
        async with service_of(detector=detector) as service:
            with pytest.raises(DeadlineExceeded):
                await service.extract([shade(10)], BOXES_ONLY, Deadline(0))

    in_loop(main)
    assert detector.shades == []


def test_the_event_loop_is_free_while_networks_run() -> None:
    detector = GatedDetector()

    async def main() -> None:
        async with service_of(detector=detector, workers=1) as service:
            request = asyncio.create_task(service.extract([shade(10)], BOXES_ONLY, later()))
            await detector.wait_entered()
            for _ in range(100):
                await asyncio.sleep(0)
            assert not request.done()
            detector.open()
            await request

    in_loop(main)


def test_closing_waits_for_what_runs_and_ends_all_threads() -> None:
    before = set(threading.enumerate())
    detector = GatedDetector()

    async def main() -> None:
        async with service_of(detector=detector, workers=2) as service:
            request = asyncio.create_task(service.extract([shade(10)], BOXES_ONLY, later()))
            await detector.wait_entered()
            threading.Timer(0.05, detector.open).start()
        assert kinds(await request) == [ImageFaces]

    in_loop(main)
    until = time.monotonic() + HANG
    while ours := [
        t for t in set(threading.enumerate()) - before if t.name.startswith(("image", "detection", "embed"))
    ]:
        assert time.monotonic() < until, ours
        time.sleep(0.01)
