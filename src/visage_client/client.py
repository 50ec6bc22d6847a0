"""The client that waits for its answers."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
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


def _done(client: "Client", call: Call[T]) -> T:
    return client.do(call)


def _listed(client: "Client", listing: Listing[T]) -> Iterator[T]:
    page = client.do(listing.page(None))
    yield from page.items
    while page.next is not None:
        page = client.do(listing.page(page.next))
        yield from page.items


def _streamed(client: "Client", stream: Stream[T]) -> Iterator[T]:
    for line in client.lines(stream.prepared):
        found = stream.parse(line)
        if found is not None:
            yield found


def _worked(client: "Client", work: Work[R]) -> Iterator[R]:
    """The results in order, as they come; `workers` jobs are on their way, and twice as many begun."""
    done = 0
    with ThreadPoolExecutor(work.workers) as pool:
        try:
            for results in _in_order(work, lambda job: pool.submit(_job, client, job)):
                for result in results:
                    done += 1
                    yield result
                work.progress(done, work.total)
        finally:
            pool.shutdown(cancel_futures=True)


def _in_order(work: Work[R], submit: Callable[[Job[R]], "Future[list[R]]"]) -> Iterator[list[R]]:
    waiting: deque[Future[list[R]]] = deque()
    for job in work.jobs:
        waiting.append(submit(job))
        if len(waiting) >= 2 * work.workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _job(client: "Client", job: Job[R]) -> list[R]:
    try:
        return client.do(job.call())
    except (Refused, OSError, NoPicture) as error:
        instead = job.instead(error)
    return [result for one in instead for result in (_job(client, one) if isinstance(one, Job) else [one])]


def _gathered(client: "Client", gathered: Gathered[R, S]) -> S:
    for one in _worked(client, gathered.work):
        gathered.add(one)
    return gathered.result()


class Client:
    """A visage service. May be used by several threads, and is closed at the end of a `with`.

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
        transport: httpx.BaseTransport | None = None,
        connections: int = 16,
    ) -> None:
        self.url, account = address(url)
        self._retries = retries or Retries()
        self._form: Form = form
        self._http = httpx.Client(
            base_url=self.url,
            headers=headers_of(key, headers, account),
            timeout=httpx.Timeout(timeout, connect=10, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"Client({str(self.url)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

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

    def do(self, call: Call[T]) -> T:
        """Send a call, again where that is worth it, and read its answer."""
        prepared = call.prepare(self._form)
        answer = self._tried(lambda: self._sent(prepared), call.unfinished)
        if not 200 <= answer.status < 300:
            raise answer.error()
        return call.parse(answer)

    def lines(self, prepared: Prepared) -> Iterator[bytes]:
        """The lines of an answer, as they come; tried again only before the first."""
        response = self._tried(lambda: self._begun(prepared))
        if not response.is_success:
            raise answer_of(response).error()
        try:
            lines = Lines()
            for piece in response.iter_bytes():
                yield from lines.feed(piece)
            yield from lines.last()
        except httpx.HTTPError as error:
            raise broken(error, self.url) from error
        finally:
            response.close()

    def _sent(self, prepared: Prepared) -> tuple[Answer, Answer]:
        answer = answer_of(self._http.send(request_of(self._http, prepared)))
        return answer, answer

    def _begun(self, prepared: Prepared) -> tuple[Answer, httpx.Response]:
        """A response whose body is still to come, if it is what was asked for."""
        response = self._http.send(request_of(self._http, prepared), stream=True)
        if not response.is_success:
            response.read()
            response.close()
            return answer_of(response), response
        return Answer(response.status_code, response.headers, b""), response

    def _tried(self, send: Callable[[], tuple[Answer, T]], unfinished: Callable[[Answer], bool] = lambda _: False) -> T:
        """What `send` gives beside its answer, once that answer stands. Raises NoAnswer."""
        attempts = Attempts(self._retries, self.url)
        while True:
            attempts.begin()
            try:
                answer, found = send()
            except httpx.TransportError as error:
                pause = attempts.after_failure(error)
            else:
                after = attempts.after_answer(answer, unfinished=unfinished(answer))
                if after is None:
                    return found
                pause = after
            time.sleep(pause)
