"""Images in, outcomes out: one failed image fails alone."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np

from visage.deadline import Deadline
from visage.errors import ImageError, Overloaded
from visage.faces import Image, ImageFaces, Outcome
from visage.geometry.alignment import CROP_SIZE
from visage.images.decoding import Decoder
from visage.images.fetching import Downloader, Encoded, Folder, ImageSource, Local, Raw, Remote, decode_base64
from visage.options import ExtractOptions
from visage.pipeline import FacePipeline
from visage.rack import Rack
from visage.scheduling import Load

T = TypeVar("T")

log = logging.getLogger(__name__)

_Work = Callable[[Image, ExtractOptions, Deadline], ImageFaces]


class Admission:
    """The door: so many requests are inside at once, the next is turned away before it costs anything.

    `Retry-After` is how long those inside are likely to take, from how long the last ones did.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.inside = 0
        self.entered = 0
        self._pace = 0.1  # seconds between two that leave, smoothed
        self._last = time.monotonic()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place. Raises Overloaded. Not for several threads: the event loop's only."""
        if self.inside >= self._most:
            wait = min(60, max(1, round(self._pace * self.inside)))
            raise Overloaded(f"{self.inside} requests are being worked on; try again in {wait} s", retry_after=wait)
        self.inside += 1
        self.entered += 1
        try:
            yield
        finally:
            self.inside -= 1
            now = time.monotonic()
            if self.inside:
                self._pace += 0.1 * (min(now - self._last, 10.0) - self._pace)
            self._last = now


class Watcher(Protocol):
    """What the service reports; `api/metrics.py` counts it."""

    def image(self, outcome: Outcome, /) -> None: ...

    def stage(self, name: str, seconds: float, /) -> None: ...


class FaceService:
    """Reads and processes pictures on `workers` threads; the event loop only waits.

    A request keeps all of them but one busy at the most, so that a large one does not hold back the small ones that
    come after it. `load` is told of every picture that is worked on.
    """

    def __init__(
        self,
        rack: Rack,
        decoder: Decoder,
        folder: Folder,
        downloader: Downloader,
        watcher: Watcher,
        load: Load | None = None,
        *,
        workers: int,
        max_requests: int,
    ) -> None:
        self.rack = rack
        self.door = Admission(max_requests)
        self._decoder = decoder
        self._folder = folder
        self._downloader = downloader
        self._watcher = watcher
        self._load = load or Load(1)
        # A request leaves one thread to others.
        self._places = max(1, workers - 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="image")

    async def extract(
        self, sources: Sequence[ImageSource], options: ExtractOptions, deadline: Deadline, *, crops: bool = False
    ) -> list[Outcome]:
        """One outcome an image, in order. `crops`: the pictures are aligned crops already.

        Raises DeadlineExceeded, Overloaded, ModelUnavailable or InferenceFailed for the request as a whole.
        """
        async with self.rack.lent(options, deadline, crops=crops) as pipeline:
            work = pipeline.crop_face if crops else pipeline.faces
            return await self._outcomes(sources, options, deadline, work)

    async def read(self, source: ImageSource, deadline: Deadline) -> Image:
        """One decoded picture. Raises ImageError, DeadlineExceeded."""
        try:
            data = await self._fetched(source, deadline)
            return await self._in_thread(lambda: self._decoded(data), deadline)
        except ImageError as error:
            _tell(error, deadline)
            raise

    async def faces(self, image: Image, options: ExtractOptions, deadline: Deadline) -> ImageFaces:
        """The faces of a decoded picture. Raises what `extract` raises."""
        async with self.rack.lent(options, deadline) as pipeline:
            return await self._in_thread(lambda: self._found(pipeline, image, options, deadline), deadline)

    async def dimension(self, options: ExtractOptions, deadline: Deadline) -> int:
        """How many numbers the vectors of the network have that `options` name: of a black crop's, if of no other."""
        blank = Image(np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8))
        async with self.rack.lent(options, deadline, crops=True) as pipeline:
            found = await self._in_thread(lambda: pipeline.crop_face(blank, options, deadline), deadline)
        embedding = found.faces[0].embedding
        return 0 if embedding is None else len(embedding.vector)

    async def run_in_worker(self, work: Callable[[], T], deadline: Deadline) -> T:
        """Any other work that must not hold up the event loop."""
        return await self._in_thread(work, deadline)

    async def aclose(self) -> None:
        await self._downloader.aclose()
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)
        await self.rack.aclose()
        self._load.close()

    async def _outcomes(
        self, sources: Sequence[ImageSource], options: ExtractOptions, deadline: Deadline, work: _Work
    ) -> list[Outcome]:
        places = asyncio.Semaphore(self._places)

        async def one(source: ImageSource) -> Outcome:
            async with places:
                return await self._outcome(source, options, deadline, work)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(source)) for source in sources]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            deadline.cancel()
        return [task.result() for task in tasks]

    async def _outcome(self, source: ImageSource, options: ExtractOptions, deadline: Deadline, work: _Work) -> Outcome:
        started = time.perf_counter()
        try:
            data = await self._fetched(source, deadline)
        except ImageError as error:
            outcome = Outcome(error, time.perf_counter() - started)
        else:
            fetched = time.perf_counter() - started
            outcome = await self._in_thread(lambda: self._processed(data, options, deadline, work, fetched), deadline)
        if isinstance(outcome.result, ImageError):
            _tell(outcome.result, deadline)
        self._watcher.image(outcome)
        return outcome

    async def _fetched(self, source: ImageSource, deadline: Deadline) -> Encoded | Local | bytes:
        """The bytes, or what a worker thread turns into them."""
        deadline.left()
        match source:
            case Remote():
                return await self._downloader.fetch(source)
            case Raw(data):
                return data
            case _:
                return source

    def _decoded(self, data: Encoded | Local | bytes) -> Image:
        if isinstance(data, Encoded):
            data = decode_base64(data, self._decoder.limits.bytes)
        elif isinstance(data, Local):
            data = self._folder.read(data)
        started = time.perf_counter()
        image = self._decoder.decode(data)
        self._watcher.stage("decode", time.perf_counter() - started)
        return image

    def _found(self, pipeline: FacePipeline, image: Image, options: ExtractOptions, deadline: Deadline) -> ImageFaces:
        with self._load.picture():
            return pipeline.faces(image, options, deadline)

    def _processed(
        self, data: Encoded | Local | bytes, options: ExtractOptions, deadline: Deadline, work: _Work, fetched: float
    ) -> Outcome:
        started = time.perf_counter()
        result: ImageFaces | ImageError
        read = started
        try:
            deadline.left()
            with self._load.picture():
                image = self._decoded(data)
                read = time.perf_counter()
                result = work(image, options, deadline)
        except ImageError as error:
            result = error
        done = time.perf_counter()
        read = read if read > started else done
        return Outcome(result, fetched + read - started, done - read)

    async def _in_thread(self, work: Callable[[], T], deadline: Deadline) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            async with asyncio.timeout(deadline.left()):
                return await future
        except TimeoutError:
            deadline.left()
            raise


def _tell(error: ImageError, deadline: Deadline) -> None:
    """Why a picture failed, to the log: the caller's matter, so no warning; its decoders' own words for who debugs."""
    named = {"request_id": deadline.request} if deadline.request else None
    log.info("a picture failed: %s", error, extra=named)
    for words in getattr(error, "__notes__", ()):
        log.debug("its decoder said: %s", words, extra=named)
