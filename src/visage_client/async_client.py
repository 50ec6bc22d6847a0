"""The client for event loops: `Client`, with await."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar

import httpx

from visage_client import many, requests
from visage_client.binding import method
from visage_client.calls import Answer, Call, Form, Lines, Prepared
from visage_client.connection import DEFAULT_URL, Attempts, address, answer_of, broken, headers_of, request_of
from visage_client.encoded import NoPicture
from visage_client.errors import Refused
from visage_client.many import Gathered, Job, Work
from visage_client.requests import Listing, Stream
from visage_client.retries import Retries

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


async def _done(client: "AsyncClient", call: Call[T]) -> T:
    return await client.do(call)


async def _listed(client: "AsyncClient", listing: Listing[T]) -> AsyncIterator[T]:
    page = await client.do(listing.page(None))
    for item in page.items:
        yield item
    while page.next is not None:
        page = await client.do(listing.page(page.next))
        for item in page.items:
            yield item


async def _streamed(client: "AsyncClient", stream: Stream[T]) -> AsyncIterator[T]:
    async for line in client.lines(stream.prepared):
        found = stream.parse(line)
        if found is not None:
            yield found


async def _worked(client: "AsyncClient", work: Work[R]) -> AsyncIterator[R]:
    """The results in order, as they come; at most `workers` jobs are on their way."""
    done = 0
    waiting: deque[asyncio.Task[list[R]]] = deque()
    room = asyncio.Semaphore(work.workers)
    jobs = iter(work.jobs)
    try:
        while True:
            while len(waiting) < 2 * work.workers and (job := await asyncio.to_thread(next, jobs, None)) is not None:
                waiting.append(asyncio.create_task(_placed(client, job, room)))
            if not waiting:
                return
            for result in await waiting.popleft():
                done += 1
                yield result
            work.progress(done, work.total)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _placed(client: "AsyncClient", job: Job[R], room: asyncio.Semaphore) -> list[R]:
    async with room:
        return await _job(client, job)


async def _job(client: "AsyncClient", job: Job[R]) -> list[R]:
    try:
        return await client.do(job.call())
    except (Refused, OSError, NoPicture) as error:
        instead = job.instead(error)
    results: list[R] = []
    for one in instead:
        results += await _job(client, one) if isinstance(one, Job) else [one]
    return results


async def _gathered(client: "AsyncClient", gathered: Gathered[R, S]) -> S:
    async for one in _worked(client, gathered.work):
        gathered.add(one)
    return gathered.result()


class AsyncClient:
    """A visage service. May be used by several tasks, and is closed at the end of an `async with`.

    Lists, exports and the work of the `…_all` methods are asynchronous iterators. Files are read, and bodies written,
    on threads.

    `key`: that of `visage keys add`, where the service asks for one; a line break at its end, as files of secrets have,
    is no part of it. `timeout`: seconds until an answer has begun, and
    between two pieces of it. `form`: how bodies are written; JSON for what stands between and wants to read them.
    Each call may raise what `visage_client.errors` draws; one that reads files OSError, too.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout: float = 120.0,
        retries: Retries | None = None,
        form: Form = "msgpack",
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        connections: int = 16,
    ) -> None:
        self.url, account = address(url)
        self._retries = retries or Retries()
        self._form: Form = form
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers=headers_of(key, headers, account),
            timeout=httpx.Timeout(timeout, connect=10, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"AsyncClient({str(self.url)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    detect = method(requests.detect, _done)
    embeddings = method(requests.embeddings, _done)
    compare = method(requests.compare, _done)

    create_collection = method(requests.create_collection, _done)
    collections = method(requests.collections, _listed)
    collection = method(requests.collection, _done)
    change_collection = method(requests.change_collection, _done)
    delete_collection = method(requests.delete_collection, _done)
    compact = method(requests.compact, _done)

    enrol = method(requests.enrol, _done)
    add_faces = method(requests.add_faces, _done)
    persons = method(requests.persons, _listed)
    person = method(requests.person, _done)
    change_person = method(requests.change_person, _done)
    delete_person = method(requests.delete_person, _done)
    faces = method(requests.faces, _listed)
    face = method(requests.face, _done)
    delete_face = method(requests.delete_face, _done)
    crop = method(requests.crop, _done)

    search = method(requests.search, _done)
    export = method(requests.export, _streamed)

    detect_all = method(many.detect_all, _worked)
    embed_all = method(many.embed_all, _worked)
    enrol_all = method(many.enrol_all, _worked)
    bulk_enrol = method(many.bulk_enrol, _gathered)

    extract = method(requests.extract, _done)
    draw_detections = method(requests.draw_detections, _done)
    info = method(requests.info, _done)
    models = method(requests.models, _done)
    ready = method(requests.ready, _done)

    async def do(self, call: Call[T]) -> T:
        """Send a call, again where that is worth it, and read its answer."""
        prepared = await asyncio.to_thread(call.prepare, self._form)
        answer = await self._tried(lambda: self._sent(prepared), call.unfinished)
        if not 200 <= answer.status < 300:
            raise answer.error()
        return call.parse(answer)

    async def lines(self, prepared: Prepared) -> AsyncIterator[bytes]:
        """The lines of an answer, as they come; tried again only before the first."""
        response = await self._tried(lambda: self._begun(prepared))
        if not response.is_success:
            raise answer_of(response).error()
        try:
            lines = Lines()
            async for piece in response.aiter_bytes():
                for line in lines.feed(piece):
                    yield line
            for line in lines.last():
                yield line
        except httpx.HTTPError as error:
            raise broken(error, self.url) from error
        finally:
            await response.aclose()

    async def _sent(self, prepared: Prepared) -> tuple[Answer, Answer]:
        answer = answer_of(await self._http.send(request_of(self._http, prepared)))
        return answer, answer

    async def _begun(self, prepared: Prepared) -> tuple[Answer, httpx.Response]:
        """A response whose body is still to come, if it is what was asked for."""
        response = await self._http.send(request_of(self._http, prepared), stream=True)
        if not response.is_success:
            await response.aread()
            await response.aclose()
            return answer_of(response), response
        return Answer(response.status_code, response.headers, b""), response

    async def _tried(
        self, send: Callable[[], Awaitable[tuple[Answer, T]]], unfinished: Callable[[Answer], bool] = lambda _: False
    ) -> T:
        """What `send` gives beside its answer, once that answer stands. Raises NoAnswer."""
        attempts = Attempts(self._retries, self.url)
        while True:
            attempts.begin()
            try:
                answer, found = await send()
            except httpx.TransportError as error:
                pause = attempts.after_failure(error)
            else:
                after = attempts.after_answer(answer, unfinished=unfinished(answer))
                if after is None:
                    return found
                pause = after
            await asyncio.sleep(pause)
