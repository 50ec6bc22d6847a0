"""Many persons at once, in and out: streams of rows, with bounded memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from visage.api.documents import schema
from visage.api.encoding import MSGPACK, is_msgpack
from visage.api.idempotency import Ids
from visage.api.refusals import declared
from visage.api.state import state_of
from visage.api.v1 import answers, documents
from visage.api.v1.bodies import BulkRow
from visage.api.v1.collections import Name, named, run
from visage.api.v1.fields import StrictRoute
from visage.api.v1.intake import Intake
from visage.api.v1.rows import Rows, lines
from visage.api.v1.spool import Spool, Streamed
from visage.api.v1.vectors import written_vector
from visage.api.v1.writes import key_of
from visage.faces import Floats
from visage.search.base import Collection, Person, Store, StoredFace

router = APIRouter(prefix="/v1", tags=["v1: collections"], route_class=StrictRoute)

NDJSON = "application/x-ndjson"
_A_PIECE = 256  # faces of an export that are written at a time
# Who hands a request on says so in one of these. nginx, and what is made of it, sends no more of a body once its
# answer has begun.
_HANDED_ON = ("x-forwarded-for", "forwarded", "via")

# Both forms of a row: a line of an export, whose face has an id, which the examples of other routes name; and a person.
_ROWS = lines(
    [
        {"person": {"id": "grace", "name": "Grace Hopper"}, "face": {"id": "grace-1"}, "vector": documents.VECTOR},
        {"id": "grace", "metadata": {"city": "New York"}, "vectors": [documents.VECTOR]},
    ]
).decode()
_LINES = (
    '{"row": 0, "status": "enrolled", "person": "grace", "faces": 1}\n'
    '{"done": true, "persons": 1, "faces": 1, "failed": 0}\n'
)
_ROWS_SCHEMA = {"type": "string", "description": "A BulkRow a line, as JSON"}
_LINE_SCHEMA = {"type": "string", "description": "A JSON object a line"}


@router.post(
    "/collections/{collection}/bulk",
    summary="Enrol many persons from vectors",
    response_class=Response,
    responses={
        200: {
            "content": {NDJSON: {"schema": _LINE_SCHEMA, "example": _LINES}},
            "description": "A line a row, once it is on disk; the last says `done`",
        },
        **declared(404, 409, 422, 503),
    },
    openapi_extra={
        "parameters": [documents.KEY],
        "requestBody": {
            "required": True,
            "content": {
                # First, for Swagger's page: what it sends under a name with "json" in it is one JSON document.
                "text/plain": {"schema": _ROWS_SCHEMA, "example": _ROWS},
                NDJSON: {"schema": _ROWS_SCHEMA, "example": _ROWS},
                MSGPACK: {"schema": schema(BulkRow)},
            },
        },
    },
)
async def bulk(request: Request, collection: Name) -> Response:
    """A row a person, or a line of an export; a person who is there gets the faces that are not. A bad row fails alone.

    Rows are kept in groups, each whole or not at all. The same row sent again changes nothing: a face without an id
    gets one that follows from its person and its numbers; a person without an id gets one that follows from the
    Idempotency-Key, the row's place and its bytes, or without a key a new one.
    """
    kind = request.headers.get("content-type", "")
    ids = Ids(key_of(request))
    held = named(request, await run(request, lambda store: store.collection(collection)))
    state = state_of(request)
    intake = Intake(state.galleries, held, ids, state.settings.request_timeout, state.stopping)
    late = any(name in request.headers for name in _HANDED_ON)
    rows = Rows(packed=is_msgpack(kind))
    answer = Streamed(_reported(request, rows, intake, Spool(), late=late), media_type=NDJSON)
    answer.late = late
    return answer


async def _reported(request: Request, rows: Rows, intake: Intake, spool: Spool, *, late: bool) -> AsyncIterator[bytes]:
    """The answer's lines, while the body is taken in; `late`: after that."""
    taking = asyncio.create_task(_taken(request, rows, intake, spool))
    try:
        if late:
            await asyncio.wait({taking})
        async for piece in spool.pieces():
            yield piece
        await taking
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        spool.close()


async def _taken(request: Request, rows: Rows, intake: Intake, spool: Spool) -> None:
    last = b""
    try:
        last = await intake.take(request.stream(), rows, spool.write)
    finally:
        spool.end(last)


@router.get(
    "/collections/{collection}/export",
    summary="All that a collection holds",
    response_class=Response,
    responses={
        200: {
            "content": {NDJSON: {"schema": _LINE_SCHEMA}},
            "description": "A line a face: its person, itself, its vector. /bulk reads it back",
        },
        **declared(404, 422, 503),
    },
)
async def export(
    request: Request,
    collection: Name,
    vectors: Annotated[
        Literal["true", "false", "base64"],
        Query(description="true: lists of numbers; base64: of little-endian float32"),
    ] = "true",
) -> Response:
    """Persons without faces are not in it."""
    held = named(request, await run(request, lambda store: store.collection(collection)))
    galleries = state_of(request).galleries

    async def pieces() -> AsyncIterator[bytes]:
        async with aclosing(galleries.stream(lambda store: _exported(store, held, vectors))) as found:
            async for piece in found:
                yield piece

    return Streamed(pieces(), media_type=NDJSON)


def _exported(store: Store, held: Collection, vectors: str) -> Iterator[bytes]:
    model = answers.model(held.recogniser)
    found = store.export(held.name)
    while some := list(islice(found, _A_PIECE)):
        yield lines(_line(person, face, vector, vectors) | {"model": model} for person, face, vector in some)


def _line(person: Person, face: StoredFace, vector: Floats, form: str) -> dict[str, Any]:
    line: dict[str, Any] = {"person": answers.person(person), "face": answers.stored_face(face)}
    if form == "false":
        return line
    return line | {"vector": written_vector(vector, "base64" if form == "base64" else "numbers")}
