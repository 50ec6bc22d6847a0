"""/v1/collections: galleries of one recogniser's vectors."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response

from visage.api.bodies import read_body
from visage.api.context import context_of
from visage.api.idempotency import Ids
from visage.api.prefix import prefix_of
from visage.api.refusals import declared
from visage.api.state import State, state_of
from visage.api.v1 import answers, documents, schemas
from visage.api.v1.bodies import CollectionBody, CollectionChange
from visage.api.v1.cursors import page, read_cursor
from visage.api.v1.fields import StrictRoute
from visage.api.v1.recognisers import recogniser_of
from visage.api.v1.writes import once
from visage.errors import AlreadyThere, CollectionMissing
from visage.search.base import Collection, NewCollection, Store
from visage.search.identity import described
from visage.search.names import COLLECTION

T = TypeVar("T")

router = APIRouter(prefix="/v1", tags=["v1: collections"], route_class=StrictRoute)

Name = Annotated[
    str, Path(openapi_examples={"staff": {"value": "staff"}}, pattern=COLLECTION, description="The collection's name")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of one page")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next` of the page before")]


@router.post(
    "/collections",
    status_code=201,
    summary="Make a collection",
    responses=documents.answers(
        schemas.CollectionAnswer, documents.COLLECTION, 409, 422, 501, 503, status=201, about="Made; Location names it"
    ),
    openapi_extra=documents.body(CollectionBody, {"name": "staff", "description": "Who may come in"}, key=True),
)
async def create(request: Request) -> Response:
    """It is bound to the recogniser that is the default now, or `rec_name`: only its vectors are taken."""
    return await once(request, lambda ids: _create(request, ids))


async def _create(request: Request, ids: Ids) -> tuple[Response, str]:
    state, context = state_of(request), context_of(request)
    body = await read_body(request, CollectionBody)
    new = NewCollection(
        body.name,
        await recogniser_of(state, body.rec_name, context.deadline),
        body.precision or "fp32",
        body.index or "exact",
        body.description or "",
        body.metadata or {},
    )
    made = await state.galleries.run(lambda store: _made(store, new, again=ids.again), context.deadline)
    named(request, made)
    where = {"Location": f"{prefix_of(request.scope)}/v1/collections/{made.name}"}
    return await answers.answered(request, lambda: answers.collection(made), 201, where), made.name


def _made(store: Store, new: NewCollection, *, again: bool) -> Collection:
    try:
        return store.create(new)
    except AlreadyThere:
        there = store.collection(new.name)
        if again and _as(there) == new:
            return there
        raise


def _as(there: Collection) -> NewCollection:
    """What would make it."""
    return NewCollection(
        there.name, there.recogniser, there.precision, there.index, there.description, dict(there.metadata)
    )


@router.get(
    "/collections",
    summary="The collections, a page at a time",
    responses=documents.answers(
        schemas.CollectionsPage, {"items": [documents.COLLECTION], "next": None}, 422, 503, about="In order of name"
    ),
)
async def every(request: Request, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """With a key that is for some collections: those."""
    after = read_cursor(cursor)
    key = context_of(request).key
    if key is not None and key.collections:
        found = await run(request, lambda store: _among(store, key.collections, after, limit + 1))
    else:
        found = await run(request, lambda store: store.collections(after=after, limit=limit + 1))
    items, following = page(found, limit, lambda one: one.name)
    return await answers.answered(
        request, lambda: {"items": [answers.collection(one) for one in items], "next": following}
    )


def _among(store: Store, names: Iterable[str], after: str, limit: int) -> list[Collection]:
    """Those of `names` that there are."""
    found: list[Collection] = []
    for name in sorted(name for name in names if name > after):
        with suppress(CollectionMissing):
            found.append(store.collection(name))
        if len(found) == limit:
            break
    return found


@router.get(
    "/collections/{collection}",
    summary="One collection",
    responses=documents.answers(schemas.CollectionAnswer, documents.COLLECTION, 404, 422, 503),
)
async def one(request: Request, collection: Name) -> Response:
    found = named(request, await run(request, lambda store: store.collection(collection)))
    return await answers.answered(request, lambda: answers.collection(found))


@router.patch(
    "/collections/{collection}",
    summary="Change a collection's description or metadata",
    responses=documents.answers(schemas.CollectionAnswer, documents.COLLECTION, 404, 409, 422, 503),
    openapi_extra=documents.body(CollectionChange, {"description": "Who may come in"}, key=True),
)
async def change(request: Request, collection: Name) -> Response:
    """What is left out stays as it is."""

    async def work(_: Ids) -> tuple[Response, str]:
        body = await read_body(request, CollectionChange)
        found = await run(
            request,
            lambda store: store.describe(collection, description=body.description, metadata=body.metadata),
        )
        named(request, found)
        return await answers.answered(request, lambda: answers.collection(found)), collection

    return await once(request, work)


@router.delete(
    "/collections/{collection}",
    status_code=204,
    summary="Delete a collection with all that is in it",
    responses=declared(404, 409, 422, 503),
    openapi_extra={"parameters": [documents.KEY]},
)
async def drop(request: Request, collection: Name) -> Response:
    async def work(ids: Ids) -> tuple[Response, str]:
        state = state_of(request)
        try:
            await run(request, lambda store: store.drop(collection))
        except CollectionMissing:
            if not ids.again:
                raise
        await forgotten(state, collection)
        return Response(status_code=204), ""

    return await once(request, work)


@router.post(
    "/collections/{collection}/compact",
    summary="Remove what was deleted from the store's files",
    responses=documents.answers(schemas.CollectionAnswer, documents.COLLECTION, 404, 422, 503),
)
async def compact(request: Request, collection: Name) -> Response:
    """Afterwards no byte of a deleted vector is left in them. It happens by itself as well, later."""

    def work(store: Store) -> Collection:
        found = store.collection(collection)
        store.compact(collection)
        return found

    found = named(request, await run(request, work))
    return await answers.answered(request, lambda: answers.collection(found))


async def forgotten(state: State, subject: str) -> None:
    """Kept answers that tell of what is deleted go with it."""
    await asyncio.to_thread(state.keys.forget, subject)


def named(request: Request, held: Collection) -> Collection:
    """The collection; X-Visage-Models tells its recogniser, unless networks have answered already."""
    context = context_of(request)
    context.models = context.models or {"rec": described(held.recogniser)}
    return held


async def run(request: Request, work: Callable[[Store], T]) -> T:
    """What `work` does with the store, on a thread, before the request's deadline."""
    return await state_of(request).galleries.run(work, context_of(request).deadline)
