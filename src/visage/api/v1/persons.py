"""/v1/collections/{collection}/persons: who is enrolled, and by which faces."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from visage.api.bodies import missing, read_body, validated
from visage.api.context import context_of
from visage.api.idempotency import Ids
from visage.api.prefix import prefix_of
from visage.api.refusals import declared
from visage.api.state import state_of
from visage.api.v1 import answers, documents, enrolment, schemas
from visage.api.v1.bodies import (
    FaceFields,
    FacesBody,
    PersonBody,
    PersonChange,
    PersonFields,
    SearchFields,
    read,
)
from visage.api.v1.collections import Cursor, Limit, Name, forgotten, named, run
from visage.api.v1.cursors import page, read_cursor
from visage.api.v1.enrolment import Candidate
from visage.api.v1.faces import extracted, place_of
from visage.api.v1.fields import StrictRoute
from visage.api.v1.recognisers import bound, check_model
from visage.api.v1.writes import once
from visage.errors import AlreadyThere, FaceMissing, PersonMissing
from visage.images.fetching import ImageSource
from visage.search.base import Collection, NewPerson, Person, PersonIs, Store, StoredFace
from visage.search.names import ID

router = APIRouter(prefix="/v1", tags=["v1: persons"], route_class=StrictRoute)

PersonId = Annotated[
    str, Path(openapi_examples={"grace": {"value": "grace"}}, pattern=ID, description="The person's id")
]
FaceId = Annotated[
    str, Path(openapi_examples={"grace-1": {"value": "grace-1"}}, pattern=ID, description="The face's id")
]
Where = Annotated[
    str | None, Query(max_length=4096, description='Only those whose metadata meet this: {"city": "Oslo"}, as JSON')
]

_OF_COLLECTION = "/collections/{collection}/persons"
_OF_PERSON = _OF_COLLECTION + "/{person}"
_FACE = _OF_PERSON + "/faces/{face}"
_REFUSALS = (404, 409, 413, 422, 503)


@router.post(
    _OF_COLLECTION,
    status_code=201,
    summary="Enrol a person, from pictures or vectors",
    responses=documents.answers(
        schemas.Enrolled, documents.ENROLLED, *_REFUSALS, status=201, about="Enrolled; Location names the person"
    ),
    openapi_extra=documents.body(
        PersonBody,
        {"id": "grace", "name": "Grace Hopper", "metadata": {"city": "New York"}, "images": [documents.PICTURE]},
        PersonFields,
        key=True,
    ),
)
async def create(request: Request, collection: Name) -> Response:
    """Each picture's largest face, if it is good enough (`quality`) and alone (`faces`). Where every picture is refused
    and there is no vector no person is made: 422. Without pictures and vectors a person without faces is.
    """

    async def work(ids: Ids) -> tuple[Response, str]:
        fields, sources = await read(request, PersonFields, PersonBody)
        person = NewPerson(fields.id or ids.of("person"), fields.name or "", fields.metadata or {})
        held = await run(request, lambda store: _vacant(store, collection, person, ids))
        candidates = await _candidates(request, held, fields, sources, ids)
        # An id that follows from the key is this write's own, whatever has become of the person since.
        person_is: PersonIs = "either" if person.id == ids.of("person") else "new"
        told = await run(request, lambda store: enrolment.enrol(store, held, person, candidates, person_is))
        where = {"Location": f"{prefix_of(request.scope)}/v1/collections/{collection}/persons/{person.id}"}
        return await answers.answered(request, lambda: told, 201, where), f"{collection}/{person.id}"

    return await once(request, work)


def _vacant(store: Store, name: str, person: NewPerson, ids: Ids) -> Collection:
    """The collection, in which nobody has this id yet; said before pictures are looked at, and held by the store when
    it writes. Raises CollectionMissing, AlreadyThere.
    """
    held = store.collection(name)
    try:
        there = store.person(name, person.id)
    except PersonMissing:
        return held
    if ids.again and (person.id == ids.of("person") or _made_by(store, name, there, person, ids)):
        return held
    raise AlreadyThere(
        f"Person {person.id!r} is in collection {name!r} already: POST to {person.id}/faces for more, "
        "or take another id"
    )


def _made_by(store: Store, name: str, there: Person, new: NewPerson, ids: Ids) -> bool:
    """Whether this write, or the same before it, enrolled the person's first picture or vector; or all of a person who
    has no face.
    """
    if not there.faces:
        return (there.name, there.metadata) == (new.name, new.metadata)
    faces = {face.id for face in store.faces(name, there.id, limit=1000)}
    return any(ids.of(f"{kind}-{i}") in faces for kind in ("image", "vector") for i in range(1000))


@router.post(
    _OF_PERSON + "/faces",
    status_code=201,
    summary="More faces of a person",
    responses=documents.answers(schemas.Enrolled, documents.ENROLLED, *_REFUSALS, status=201, about="Enrolled"),
    openapi_extra=documents.body(FacesBody, {"images": [documents.PICTURE]}, FaceFields, key=True),
)
async def more_faces(request: Request, collection: Name, person: PersonId) -> Response:
    """As by enrolling; 422 where every picture is refused and there is no vector."""

    async def work(ids: Ids) -> tuple[Response, str]:
        fields, sources = await read(request, FaceFields, FacesBody)
        held = await run(request, lambda store: (store.person(collection, person), store.collection(collection))[1])
        candidates = await _candidates(request, held, fields, sources, ids)
        if not candidates:
            raise missing("images", "At least one image or vector is needed")
        told = await run(request, lambda store: enrolment.enrol(store, held, NewPerson(person), candidates, "known"))
        return await answers.answered(request, lambda: told, 201), f"{collection}/{person}"

    return await once(request, work)


async def _candidates(
    request: Request, held: Collection, fields: FaceFields, sources: list[ImageSource], ids: Ids
) -> list[Candidate]:
    """What is to be enrolled, pictures first. Raises EmbeddingMismatch."""
    state = state_of(request)
    vectors = getattr(fields, "vectors", None) or []
    check_model(held, getattr(fields, "model", None))
    name = bound(state, held, fields.rec_name, place_of(fields)) if sources or fields.rec_name else ""
    found = [enrolment.of_vector(vector, i, ids) for i, vector in enumerate(vectors)]
    if not sources:
        named(request, held)
        return found
    options = fields.model_copy(update={"rec_name": name}).options(state.settings, limit=1, embedding=True)
    outcomes, _ = await extracted(request, options, sources, place_of(fields))
    mode, choice, crop = fields.quality or "standard", fields.faces or "one", state.settings.keep_crops

    def judged() -> list[Candidate]:
        return [enrolment.of_picture(outcome, i, ids, mode, choice, crop=crop) for i, outcome in enumerate(outcomes)]

    pictures = await state.ready().service.run_in_worker(judged, context_of(request).deadline)
    return pictures + found


@router.get(
    _OF_COLLECTION,
    summary="The persons of a collection, a page at a time",
    responses=documents.answers(
        schemas.PersonsPage, {"items": [documents.PERSON], "next": None}, 404, 422, 503, about="In order of id"
    ),
)
async def every(
    request: Request, collection: Name, limit: Limit = 100, cursor: Cursor = None, where: Where = None
) -> Response:
    after = read_cursor(cursor)
    asked = validated(SearchFields, {"where": where}, "query").where if where else None
    found = await run(request, lambda store: store.persons(collection, after=after, limit=limit + 1, where=asked))
    items, following = page(found, limit, lambda one: one.id)
    return await answers.answered(request, lambda: {"items": [answers.person(one) for one in items], "next": following})


@router.get(
    _OF_PERSON,
    summary="One person",
    responses=documents.answers(schemas.PersonAnswer, documents.PERSON, 404, 422, 503),
)
async def one(request: Request, collection: Name, person: PersonId) -> Response:
    found = await run(request, lambda store: store.person(collection, person))
    return await answers.answered(request, lambda: answers.person(found))


@router.patch(
    _OF_PERSON,
    summary="Change a person's name or metadata",
    responses=documents.answers(schemas.PersonAnswer, documents.PERSON, 404, 409, 422, 503),
    openapi_extra=documents.body(PersonChange, {"name": "Grace Brewster Hopper"}, key=True),
)
async def change(request: Request, collection: Name, person: PersonId) -> Response:
    """What is left out stays as it is."""

    async def work(_: Ids) -> tuple[Response, str]:
        body = await read_body(request, PersonChange)
        found = await run(
            request,
            lambda store: store.rename(collection, person, new_name=body.name, metadata=body.metadata),
        )
        return await answers.answered(request, lambda: answers.person(found)), f"{collection}/{person}"

    return await once(request, work)


@router.delete(
    _OF_PERSON,
    status_code=204,
    summary="Delete a person with all faces, for good",
    responses=declared(404, 409, 422, 503),
    openapi_extra={"parameters": [documents.KEY]},
)
async def forget(request: Request, collection: Name, person: PersonId) -> Response:
    async def work(ids: Ids) -> tuple[Response, str]:
        try:
            await run(request, lambda store: store.forget(collection, person))
        except PersonMissing:
            if not ids.again:
                raise
        await forgotten(state_of(request), f"{collection}/{person}")
        return Response(status_code=204), ""

    return await once(request, work)


@router.get(
    _OF_PERSON + "/faces",
    summary="A person's faces, a page at a time",
    responses=documents.answers(
        schemas.FacesPage, {"items": [documents.STORED], "next": None}, 404, 422, 503, about="In order of id"
    ),
)
async def faces(
    request: Request, collection: Name, person: PersonId, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    after = read_cursor(cursor)
    found = await run(request, lambda store: store.faces(collection, person, after=after, limit=limit + 1))
    items, following = page(found, limit, lambda one: one.id)
    return await answers.answered(
        request, lambda: {"items": [answers.stored_face(one) for one in items], "next": following}
    )


@router.get(
    _FACE,
    summary="A face, and what is told of it",
    responses=documents.answers(schemas.StoredFaceAnswer, documents.STORED, 404, 422, 503, about="The face"),
)
async def one_face(request: Request, collection: Name, person: PersonId, face: FaceId) -> Response:
    found = await run(request, lambda store: _of_person(store, collection, person, face))
    return await answers.answered(request, lambda: answers.stored_face(found))


@router.delete(
    _FACE,
    status_code=204,
    summary="Delete one face, for good",
    responses=declared(404, 409, 422, 503),
    openapi_extra={"parameters": [documents.KEY]},
)
async def forget_face(request: Request, collection: Name, person: PersonId, face: FaceId) -> Response:
    def removed(store: Store) -> None:
        _of_person(store, collection, person, face)
        store.forget_face(collection, face)

    async def work(ids: Ids) -> tuple[Response, str]:
        try:
            await run(request, removed)
        except FaceMissing:
            if not ids.again:
                raise
        await forgotten(state_of(request), f"{collection}/{person}")  # enrolments' answers, which tell of the face
        return Response(status_code=204), ""

    return await once(request, work)


@router.get(
    _FACE + "/crop",
    summary="The aligned crop of a face, where crops are kept",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "PNG, 112×112"}, **declared(404, 422, 503)},
)
async def crop(request: Request, collection: Name, person: PersonId, face: FaceId) -> Response:
    """404 without KEEP_CROPS, and for what was enrolled from vectors."""

    def found(store: Store) -> bytes:
        _of_person(store, collection, person, face)
        kept = store.crop(collection, face)
        if kept is None:
            raise FaceMissing(f"No crop of face {face!r} is kept: it came without KEEP_CROPS, or as a vector")
        return kept

    return Response(await run(request, found), media_type="image/png")


def _of_person(store: Store, collection: str, person: str, face: str) -> StoredFace:
    """Raises PersonMissing, and FaceMissing where the person has no such face."""
    try:
        found = store.face(collection, face)
    except FaceMissing:
        found = None
    if found is None or found.person != person:
        store.person(collection, person)  # else it is they who are missing
        raise FaceMissing(f"Person {person!r} has no face {face!r}")
    return found
