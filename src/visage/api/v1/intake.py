"""A stream of rows into a store: in groups, one being written while the next is read."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from visage.api.galleries import Galleries
from visage.api.idempotency import Ids, digest
from visage.api.problems import described
from visage.api.stopping import Stopping
from visage.api.v1.bodies import BulkRow
from visage.api.v1.distinct import Distinct
from visage.api.v1.recognisers import check_length, check_model
from visage.api.v1.rows import Rows, lines
from visage.deadline import Deadline
from visage.errors import (
    AnswerNotRead,
    CollectionMissing,
    RowInvalid,
    SearchError,
    ServiceStopping,
    StoreUnavailable,
    VisageError,
)
from visage.search.base import Collection, Enrolment, NewFace, NewPerson, Store

_GROUP_ROWS = 1000
_GROUP_BYTES = 8 * 2**20
_PAUSE = 0.25  # seconds without a new row after which those at hand are written
_LINGER = 5.0  # seconds in which a service that stops still takes what is sent, for callers who read only then
_RESTART = 5  # seconds after which another try is worth it

Write = Callable[[bytes], Awaitable[None]]


class Intake:
    """Enrols rows into a collection and reports on each. `seconds`: for the writing of one group."""

    def __init__(
        self, galleries: Galleries, held: Collection, ids: Ids, seconds: float, stopping: Stopping | None = None
    ) -> None:
        self._galleries = galleries
        self._held = held
        self._ids = ids
        self._seconds = seconds
        self._stopping = stopping or Stopping()
        self._row = 0
        self._persons = Distinct()
        self._faces = 0
        self._failed = 0

    async def take(self, body: AsyncIterator[bytes], rows: Rows, report: Write) -> bytes:
        """Everything of the body → the answer's last line; `report` is given the others, of groups on disk.

        Where the service stops, `report` is given the last line, too: who is still sending hears of it at once.
        """
        error: VisageError | None = None
        async with aclosing(_Pieces(body, self._stopping)) as pieces:
            try:
                async with aclosing(_groups(pieces, rows)) as groups:
                    await self._groups(groups, rows, report)
            except ValueError as exc:  # no row begins where the last one ended: nothing after it can be read
                error = RowInvalid(str(exc))
            except _Stopped:
                with suppress(AnswerNotRead, TimeoutError):
                    async with asyncio.timeout(_LINGER):
                        await report(self._last(self._cut_short()))
                await pieces.drained()
                return b""
            except VisageError as exc:
                error = exc
            await pieces.drained()
        return self._last(error)

    def _last(self, error: VisageError | None) -> bytes:
        last: dict[str, Any] = {"done": error is None}
        last |= {"persons": len(self._persons), "faces": self._faces, "failed": self._failed}
        return lines([last if error is None else last | {"error": described(error)}])

    def _cut_short(self) -> VisageError:
        taken = f"{self._row} rows were taken, each has its line"
        return ServiceStopping(f"The service is stopping: {taken}; send the rest again", retry_after=_RESTART)

    async def _groups(self, groups: AsyncIterator[list[bytes]], rows: Rows, report: Write) -> None:
        writing: asyncio.Task[None] | None = None
        try:
            async for group in groups:
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._write(group, rows, report))
        finally:
            if writing is not None:
                await writing

    async def _write(self, group: list[bytes], rows: Rows, report: Write) -> None:
        first, self._row = self._row, self._row + len(group)
        deadline = Deadline(self._seconds)
        await report(await self._galleries.run(lambda store: self._enrolled(store, group, first, rows), deadline))

    def _enrolled(self, store: Store, group: list[bytes], first: int, rows: Rows) -> bytes:
        """The report on a group, written in one go; where that is refused, row by row."""
        read = [self._read(row, first + i, rows) for i, row in enumerate(group)]
        good = [one for one in read if isinstance(one, Enrolment)]
        try:
            found = store.enrol(self._held.name, good, expected=self._held.recogniser) if good else []
            made: list[tuple[str, int] | VisageError] = [_counts(one) for one in found]
        except VisageError as error:
            if not _concerns_rows(error):
                raise
            made = [self._alone(store, one) for one in good]
        answers = iter(made)
        told = [self._told(first + i, one, answers) for i, one in enumerate(read)]
        self._persons.add(one["person"] for one in told if one["person"] is not None)
        return lines(told)

    def _alone(self, store: Store, one: Enrolment) -> tuple[str, int] | VisageError:
        try:
            return _counts(store.enrol(self._held.name, [one], expected=self._held.recogniser)[0])
        except VisageError as error:
            if not _concerns_rows(error):
                raise
            return error

    def _told(self, row: int, one: Enrolment | Exception, made: Any) -> dict[str, Any]:
        found = one if isinstance(one, Exception) else next(made)
        if isinstance(found, Exception):
            self._failed += 1
            error = found if isinstance(found, VisageError) else RowInvalid(str(found))
            return {"row": row, "status": "failed", "person": None, "faces": 0, "error": described(error)}
        person, faces = found
        self._faces += faces
        return {"row": row, "status": "enrolled", "person": person, "faces": faces}

    def _read(self, row: bytes, index: int, rows: Rows) -> Enrolment | Exception:
        try:
            context = {"written": None if rows.packed else row}
            read = BulkRow.model_validate(rows.read(row), context=context)
            return self._enrolment(read, f"row-{index}-{digest(row)}")
        except ValidationError as exc:
            fault = exc.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in fault["loc"])
            return ValueError(f"{where}: {str(fault['msg']).removeprefix('Value error, ')}")
        except (ValueError, VisageError) as exc:
            return exc

    def _enrolment(self, row: BulkRow, name_of_row: str) -> Enrolment:
        exported = row.person
        given = row.id or (exported.id if exported else None)
        name = row.name if exported is None else exported.name
        metadata = row.metadata if exported is None else exported.metadata
        check_model(self._held, row.model)
        created = seconds_of(exported.created) if exported else None
        updated = seconds_of(exported.updated) if exported else None
        person = NewPerson(given or self._ids.of(name_of_row), name, metadata, created, updated)
        vectors = [*(row.vectors or []), *([row.vector] if row.vector is not None else [])]
        if not vectors:
            raise ValueError("vectors: at least one is needed")
        for vector in vectors:
            check_length(self._held, len(vector))
        if row.face is not None and len(vectors) == 1:
            made = seconds_of(row.face.created)
            return Enrolment(person, [NewFace(row.face.id, vectors[0], row.face.about, created=made)])
        return Enrolment(person, [NewFace(_face_id(person.id, one), one, {"source": "vector"}) for one in vectors])


def seconds_of(moment: datetime | None) -> float | None:
    """Since 1970."""
    return None if moment is None else moment.timestamp()


def _face_id(person: str, vector: Any) -> str:
    """The same for the same numbers: a row that is sent again makes nothing new."""
    key = person.encode()
    if len(key) > hashlib.blake2b.MAX_KEY_SIZE:
        key = hashlib.blake2b(key).digest()
    return hashlib.blake2b(vector.tobytes(), key=key, digest_size=16).hexdigest()


def _counts(found: tuple[Any, Sequence[Any]]) -> tuple[str, int]:
    return found[0].id, len(found[1])


def _concerns_rows(error: VisageError) -> bool:
    """Whether it may be one row's fault, so that the others go in without it."""
    return isinstance(error, SearchError) and not isinstance(error, CollectionMissing | StoreUnavailable)


class _Stopped(Exception):
    """No more of the body is to be read."""


class _Pieces:
    """A body's pieces. Whoever has no patience may come again: the piece that is on its way is not lost."""

    def __init__(self, body: AsyncIterator[bytes], stopping: Stopping) -> None:
        self._body = body
        self._coming: asyncio.Future[bytes | None] | None = None
        self._stopping = stopping
        self._stop = asyncio.ensure_future(stopping.wait())

    async def comes(self, seconds: float) -> bool:
        """Whether there is one to take, or the end, within so many seconds."""
        return bool((await self._wait(seconds))[0])

    async def next(self) -> bytes | None:
        """None after the last. Raises _Stopped, unless all of it is here."""
        await self._wait()
        if self._stopping.begun and not self._has_ended():
            raise _Stopped
        return await self._taken()

    async def _wait(self, seconds: float | None = None) -> tuple[set[Any], set[Any]]:
        return await asyncio.wait({self._ahead(), self._stop}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    def _has_ended(self) -> bool:
        coming = self._ahead()
        return coming.done() and coming.exception() is None and coming.result() is None

    async def _taken(self) -> bytes | None:
        await asyncio.wait({self._ahead()})
        coming, self._coming = self._ahead(), None
        return coming.result()

    def _ahead(self) -> asyncio.Future[bytes | None]:
        if self._coming is None:
            self._coming = asyncio.ensure_future(_next(self._body))
        return self._coming

    async def drained(self) -> None:
        """Read to the end what is of no use: callers who are still sending would not hear the answer. Where the service
        stops, only for a while.
        """
        with suppress(_Stopped):
            while await self.next() is not None:
                pass
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while await self._taken() is not None:
                    pass

    async def aclose(self) -> None:
        ending: list[asyncio.Future[Any]] = [self._stop, *([self._coming] if self._coming is not None else [])]
        for one in ending:
            one.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


async def _next(body: AsyncIterator[bytes]) -> bytes | None:
    return await anext(body, None)


async def _groups(pieces: _Pieces, rows: Rows) -> AsyncGenerator[list[bytes], None]:
    """Rows in groups: full ones, and what is at hand when no more comes for a while."""
    group = _Group()
    while True:
        if group.rows and not await pieces.comes(_PAUSE):
            yield group.taken()
        try:
            piece = await pieces.next()
        except _Stopped:
            if group.rows:
                yield group.taken()
            raise
        for row in rows.last() if piece is None else rows.feed(piece):
            group.add(row)
            if group.is_full:
                yield group.taken()
        if piece is None:
            break
    if group.rows:
        yield group.taken()


class _Group:
    """Rows on their way to be written in one go."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self._bytes = 0

    def add(self, row: bytes) -> None:
        self.rows.append(row)
        self._bytes += len(row)

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES

    def taken(self) -> list[bytes]:
        rows, self.rows, self._bytes = self.rows, [], 0
        return rows
