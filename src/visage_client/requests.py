"""Each call of the service, once: `Client` and `AsyncClient` have methods of the same names and arguments.

What is left out, or None, is the service's default. Pictures are what `visage_client.Image` says; where several are
taken, one may be given as well.
"""

import json
import operator
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from visage_client.answers import (
    BulkRow,
    Collection,
    Comparison,
    Enrolled,
    Exported,
    Extraction,
    Found,
    Info,
    Network,
    Page,
    Person,
    SearchResult,
    StoredFace,
)
from visage_client.calls import (
    NDJSON,
    Answer,
    Body,
    Call,
    Form,
    Prepared,
    accepting,
    content,
    content_type,
    in_json,
    path_of,
    side,
)
from visage_client.calls import given as _given
from visage_client.errors import BadAnswer, BrokenOff, shown
from visage_client.pictures import Image, Remote, is_one, listed
from visage_client.pictures import read as read_picture
from visage_client.pictures import written as written_picture
from visage_client.reading import read
from visage_client.rows import Metadata, Model, told
from visage_client.vectors import VectorLike

T = TypeVar("T")

Gate = Literal["off", "standard", "strict"]
FacesRule = Literal["one", "largest"]


# --- Faces of pictures


def detect(
    images: Image | Sequence[Image],
    *,
    threshold: float | None = None,
    max_size: tuple[int, int] | None = None,
    limit: int | None = None,
    landmarks: bool | None = None,
    attributes: bool | None = None,
    crops: bool | None = None,
    det_name: str | None = None,
) -> Call[Found]:
    """Faces of pictures, largest first: boxes, scores, quality, and what is asked for beside."""
    values = {
        "threshold": threshold,
        "max_size": _pair(max_size),
        "limit": limit,
        "landmarks": landmarks,
        "attributes": attributes,
        "crops": crops,
        "det_name": det_name,
    }
    return _posted("/v1/detect", Body(values, images, bare=True), Found)


def embeddings(
    images: Image | Sequence[Image],
    *,
    threshold: float | None = None,
    max_size: tuple[int, int] | None = None,
    limit: int | None = None,
    landmarks: bool | None = None,
    attributes: bool | None = None,
    crops: bool | None = None,
    det_name: str | None = None,
    rec_name: str | None = None,
) -> Call[Found]:
    """`detect`, with the embedding of every face."""
    values = {
        "threshold": threshold,
        "max_size": _pair(max_size),
        "limit": limit,
        "landmarks": landmarks,
        "attributes": attributes,
        "crops": crops,
        "det_name": det_name,
        "rec_name": rec_name,
    }

    def prepare(form: Form) -> Prepared:
        asked = {**values, "vectors": "base64" if form == "json" else None}
        return Body(asked, images, bare=True).prepared("POST", "/v1/embeddings", form, {})

    return Call(prepare, _reader(Found))


def compare(
    a: Image | VectorLike,
    b: Image | VectorLike,
    *,
    threshold: float | None = None,
    det_name: str | None = None,
    rec_name: str | None = None,
) -> Call[Comparison]:
    """Whether two show one person; each a picture or an embedding. Raises NoFace where a picture shows none."""

    def prepare(form: Form) -> Prepared:
        sides = {"a": side(a, form), "b": side(b, form)}
        values = _given({"threshold": threshold, "det_name": det_name, "rec_name": rec_name})
        return _prepared("POST", "/v1/compare", sides | values, form, {})

    return Call(prepare, _reader(Comparison))


# --- Collections


def create_collection(
    name: str,
    *,
    precision: Literal["fp32", "fp16", "int8"] | None = None,
    index: Literal["exact", "hnsw"] | None = None,
    description: str | None = None,
    metadata: Metadata | None = None,
    rec_name: str | None = None,
) -> Call[Collection]:
    """Make a collection. Raises Conflict where one of that name is there."""
    values = {
        "name": name,
        "precision": precision,
        "index": index,
        "description": description,
        "metadata": metadata,
        "rec_name": rec_name,
    }
    return _write("POST", path_of("v1", "collections"), Body(values), _reader(Collection))


def collections(*, page_size: int = 100) -> "Listing[Collection]":
    """Every collection, in order of name."""
    return Listing(lambda cursor: _page(path_of("v1", "collections"), Collection, page_size, cursor))


def collection(name: str) -> Call[Collection]:
    """One collection. Raises NotFound."""
    return _got(path_of("v1", "collections", name), Collection)


def change_collection(
    name: str, *, description: str | None = None, metadata: Metadata | None = None
) -> Call[Collection]:
    """Change what is given; metadata is replaced as a whole."""
    body = Body({"description": description, "metadata": metadata})
    return _write("PATCH", path_of("v1", "collections", name), body, _reader(Collection))


def delete_collection(name: str) -> Call[None]:
    """Delete a collection with all persons and faces."""
    return _write("DELETE", path_of("v1", "collections", name), None, _nothing)


def compact(name: str) -> Call[None]:
    """Remove what was deleted from the store's files, now."""
    return _write("POST", path_of("v1", "collections", name, "compact"), None, _nothing)


# --- Persons and faces


def enrol(
    collection: str,
    *,
    id: str | None = None,  # noqa: A002 — the wire's name
    name: str | None = None,
    metadata: Metadata | None = None,
    images: Image | Sequence[Image] | None = None,
    vectors: Sequence[VectorLike] | None = None,
    quality: Gate | None = None,
    faces: FacesRule | None = None,
    model: Model | None = None,
) -> Call[Enrolled]:
    """Enrol a person by pictures, embeddings or both. `model`: whose the embeddings are, such as `found.models["rec"]`.

    Raises NothingEnrolled where every picture is refused, and no person is made then; Conflict for another
    recogniser's embeddings than the collection's.
    """
    values = {
        "id": id,
        "name": name,
        "metadata": metadata,
        "quality": quality,
        "faces": faces,
        "model": told(model),
    }
    path = path_of("v1", "collections", collection, "persons")
    return _write("POST", path, Body(values, images, vectors), _reader(Enrolled))


def add_faces(
    collection: str,
    person: str,
    *,
    images: Image | Sequence[Image] | None = None,
    vectors: Sequence[VectorLike] | None = None,
    quality: Gate | None = None,
    faces: FacesRule | None = None,
    model: Model | None = None,
) -> Call[Enrolled]:
    """More faces of a person who is there. `model`: as of `enrol`."""
    path = path_of("v1", "collections", collection, "persons", person, "faces")
    values = {"quality": quality, "faces": faces, "model": told(model)}
    return _write("POST", path, Body(values, images, vectors), _reader(Enrolled))


def persons(collection: str, *, where: Metadata | None = None, page_size: int = 100) -> "Listing[Person]":
    """The persons whose metadata meet `where`, in order of id."""
    query = {} if where is None else {"where": in_json(where)}
    path = path_of("v1", "collections", collection, "persons")
    return Listing(lambda cursor: _page(path, Person, page_size, cursor, query))


def person(collection: str, person: str) -> Call[Person]:
    """One person. Raises NotFound."""
    return _got(path_of("v1", "collections", collection, "persons", person), Person)


def change_person(
    collection: str, person: str, *, name: str | None = None, metadata: Metadata | None = None
) -> Call[Person]:
    """Change what is given; metadata is replaced as a whole."""
    path = path_of("v1", "collections", collection, "persons", person)
    return _write("PATCH", path, Body({"name": name, "metadata": metadata}), _reader(Person))


def delete_person(collection: str, person: str) -> Call[None]:
    """Delete a person with all faces, for good."""
    return _write("DELETE", path_of("v1", "collections", collection, "persons", person), None, _nothing)


def faces(collection: str, person: str, *, page_size: int = 100) -> "Listing[StoredFace]":
    """A person's faces, in order of id."""
    path = path_of("v1", "collections", collection, "persons", person, "faces")
    return Listing(lambda cursor: _page(path, StoredFace, page_size, cursor))


def face(collection: str, person: str, face: str) -> Call[StoredFace]:
    """One face, and what is told of it. Raises NotFound."""
    path = path_of("v1", "collections", collection, "persons", person, "faces", face)
    return _got(path, StoredFace)


def delete_face(collection: str, person: str, face: str) -> Call[None]:
    """Delete one face, for good."""
    path = path_of("v1", "collections", collection, "persons", person, "faces", face)
    return _write("DELETE", path, None, _nothing)


def crop(collection: str, person: str, face: str) -> Call[bytes]:
    """The face's aligned crop, a PNG file. Raises NotFound where crops are not kept."""
    path = path_of("v1", "collections", collection, "persons", person, "faces", face, "crop")
    return Call(lambda _: Prepared("GET", path, headers={"Accept": "image/png"}), lambda answer: answer.content)


# --- Search, bulk


def search(
    collection: str,
    *,
    images: Image | Sequence[Image] | None = None,
    vectors: Sequence[VectorLike] | None = None,
    top: int | None = None,
    by: Literal["persons", "faces"] | None = None,
    threshold: float | None = None,
    where: Metadata | None = None,
    below: bool | None = None,
    model: Model | None = None,
) -> Call[SearchResult]:
    """Who is this? A probe for every face of every picture, the largest first, and one for each vector. `model`: whose
    the vectors are. Raises Conflict for another recogniser's than the collection's.
    """
    values = {"top": top, "by": by, "threshold": threshold, "where": where, "below": below, "model": told(model)}
    path = path_of("v1", "collections", collection, "search")
    bare = images is not None and vectors is None and model is None  # a query has no place for a model
    return _posted(path, Body(values, images, vectors, bare=bare), SearchResult)


def bulk_rows(collection: str, rows: Iterable[bytes], first: int = 0) -> Call[list[BulkRow]]:
    """One request of a bulk enrolment, of rows that are written already; the first of them is number `first` of all."""
    path, key = path_of("v1", "collections", collection, "bulk"), _new_key()
    body = b"".join(rows)

    def prepare(_: Form) -> Prepared:
        headers = {"Accept": NDJSON, "Content-Type": "application/x-msgpack", **key}
        return Prepared("POST", path, headers=headers, content=body)

    def parse(answer: Answer) -> list[BulkRow]:
        lines = [_line(line) for line in answer.content.splitlines() if line.strip()]
        found = [read(BulkRow, {**line, "row": first + int(line["row"])}) for line in lines if "row" in line]
        if not lines or not lines[-1].get("done"):
            raise _broken_off(lines[-1].get("error") if lines else None, found, answer)
        return found

    return Call(prepare, parse, _can_go_on)


# Why a service may not have come to the end of a body that it takes another time. The same key makes nothing twice.
_PASSING = frozenset({"service-stopping", "store-unavailable", "deadline-exceeded", "overloaded"})


def _can_go_on(answer: Answer) -> bool:
    try:
        last = _line(answer.content.rstrip().rpartition(b"\n")[2])
    except BadAnswer:
        return False
    return last.get("done") is False and _kind(last.get("error")) in _PASSING


def _broken_off(why: Any, rows: Sequence[BulkRow], answer: Answer) -> BrokenOff:
    problem = why if isinstance(why, dict) else {}
    detail = problem.get("detail") or why or "its answer has no end"
    error = BrokenOff(
        f"the bulk enrolment broke off after {len(rows)} rows: {detail}",
        status=answer.status,
        type=str(problem.get("type", "")),
        title=str(problem.get("title", "")),
        request_id=answer.headers.get("x-request-id"),
        problem=problem,
    )
    error.rows = tuple(rows)
    return error


def _kind(problem: Any) -> str:
    return str(problem.get("type", "")).rpartition(":")[2] if isinstance(problem, dict) else ""


def export(collection: str, *, vectors: bool = True) -> "Stream[Exported]":
    """Every face of a collection with its person and its vector, as it comes."""
    path = path_of("v1", "collections", collection, "export")
    query = {"vectors": "base64" if vectors else "false"}
    return Stream(
        Prepared("GET", path, query, {"Accept": NDJSON}),
        lambda line: read(Exported, _line(line)) if line.strip() else None,
    )


# --- The compatible routes


def extract(
    images: Image | Sequence[Image],
    *,
    threshold: float | None = None,
    limit_faces: int | None = None,
    min_face_size: int | None = None,
    max_size: tuple[int, int] | None = None,
    embed_only: bool | None = None,
    return_face_data: bool | None = None,
    return_landmarks: bool | None = None,
    return_landmarks_106: bool | None = None,
    extract_embedding: bool | None = None,
    extract_ga: bool | None = None,
    detect_masks: bool | None = None,
    det_name: str | None = None,
    rec_name: str | None = None,
    img_req_headers: Mapping[str, str] | None = None,
    bare: bool = True,
) -> Call[Extraction]:
    """/extract, as InsightFace-REST has it. Either all pictures are sent, or all are fetched by the service.

    `bare=False`: one picture is wrapped as several are, for services of before visage.
    """
    values = {
        "threshold": threshold,
        "limit_faces": limit_faces,
        "min_face_size": min_face_size,
        "max_size": _pair(max_size),
        "embed_only": embed_only,
        "return_face_data": return_face_data,
        "return_landmarks": return_landmarks,
        "return_landmarks_106": return_landmarks_106,
        "extract_embedding": extract_embedding,
        "extract_ga": extract_ga,
        "detect_masks": detect_masks,
        "det_name": det_name,
        "rec_name": rec_name,
        "api_ver": "2",
    }
    pictures = listed(images)

    def parse(answer: Answer) -> Extraction:
        found = _extraction(answer)
        if len(found.data) != len(pictures):
            raise BadAnswer(f"{len(pictures)} pictures were sent, and {len(found.data)} answered", status=answer.status)
        return found

    return Call(lambda form: _compatible("/extract", pictures, values, img_req_headers, form, bare), parse)


def draw_detections(
    image: Image,
    *,
    threshold: float | None = None,
    limit_faces: int | None = None,
    min_face_size: int | None = None,
    draw_landmarks: bool | None = None,
    draw_landmarks_106: bool | None = None,
    draw_scores: bool | None = None,
    draw_sizes: bool | None = None,
    detect_masks: bool | None = None,
    det_name: str | None = None,
    img_req_headers: Mapping[str, str] | None = None,
    png: bool = False,
    bare: bool = True,
) -> Call[bytes]:
    """The picture with its faces drawn in: a JPEG file, or a PNG."""
    values = {
        "threshold": threshold,
        "limit_faces": limit_faces,
        "min_face_size": min_face_size,
        "draw_landmarks": draw_landmarks,
        "draw_landmarks_106": draw_landmarks_106,
        "draw_scores": draw_scores,
        "draw_sizes": draw_sizes,
        "detect_masks": detect_masks,
        "det_name": det_name,
    }

    if not is_one(image):
        raise TypeError(f"one picture is drawn at a time, and not {type(image).__name__}")

    def prepare(form: Form) -> Prepared:
        made = _compatible("/draw_detections", image, values, img_req_headers, form, bare)
        headers = {**made.headers, "Accept": "image/png" if png else "image/jpeg"}
        return Prepared(made.method, made.path, made.query, headers, made.content)

    return Call(prepare, lambda answer: answer.content)


def info() -> Call[Info]:
    """The service's settings and networks."""
    return _got("/info", Info)


def models() -> Call[tuple[Network, ...]]:
    """Every network that the service knows, and which are loaded."""

    def parse(answer: Answer) -> tuple[Network, ...]:
        found = answer.value()
        listed_ = found.get("models") if isinstance(found, dict) else None
        return tuple(read(Network, one) for one in listed_ or ())

    return Call(lambda _: Prepared("GET", "/models", headers=accepting("json")), parse)


def ready() -> Call[None]:
    """Returns when the service answers requests; waits for it as long as the client's patience lasts."""
    return Call(lambda _: Prepared("GET", "/ready", headers=accepting("json")), _nothing)


# --- Several answers for one call


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """All items of a list, page by page: `page` makes the call for the page at a cursor."""

    page: Callable[[str | None], Call[Page[T]]]


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """An answer of lines, read one by one; None for a line that says nothing."""

    prepared: Prepared
    parse: Callable[[bytes], T | None]


def _page(
    path: str, kind: type[T], size: int, cursor: str | None, query: Mapping[str, str] | None = None
) -> Call[Page[T]]:
    asked = {"limit": str(size), **(query or {}), **({} if cursor is None else {"cursor": cursor})}

    def parse(answer: Answer) -> Page[T]:
        found = answer.value()
        if not isinstance(found, dict) or not isinstance(found.get("items"), list):
            raise BadAnswer("what answers is no visage: a page has items", status=answer.status)
        return Page(tuple(read(kind, item) for item in found["items"]), found.get("next"))

    return Call(lambda form: Prepared("GET", path, asked, accepting(form)), parse)


def _got(path: str, kind: type[T]) -> Call[T]:
    return Call(lambda form: Prepared("GET", path, headers=accepting(form)), _reader(kind))


def _pair(size: tuple[int, int] | None) -> list[int] | None:
    """Width and height. Raises ValueError."""
    try:
        found = None if size is None else [operator.index(side) for side in size]
    except TypeError:
        found = []
    if found is not None and len(found) != 2:
        raise ValueError(f"max_size is a width and a height, as (640, 480), and not {shown(size)}")
    return found


def _posted(path: str, body: Body, kind: type[T]) -> Call[T]:
    return Call(lambda form: body.prepared("POST", path, form, {}), _reader(kind))


def _write(method: str, path: str, body: Body | None, parse: Callable[[Answer], T]) -> Call[T]:
    """With an idempotency key, the same however often it is sent."""
    key = _new_key()
    if body is None:
        return Call(lambda form: Prepared(method, path, headers={**accepting(form), **key}), parse)
    return Call(lambda form: body.prepared(method, path, form, key), parse)


def _new_key() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


def _prepared(method: str, path: str, values: Any, form: Form, headers: Mapping[str, str]) -> Prepared:
    headers = {**accepting(form), "Content-Type": content_type(form), **headers}
    return Prepared(method, path, {}, headers, content(values, form))


def _compatible(
    path: str,
    images: Image | Sequence[Image],
    values: Mapping[str, Any],
    fetching: Mapping[str, str] | None,
    form: Form,
    bare: bool,
) -> Prepared:
    """The body of a compatible route: pictures under data, addresses under urls. Raises ValueError for both."""
    found = [read_picture(image) for image in listed(images)]
    urls = [image.url for image in found if isinstance(image, Remote)]
    if urls and len(urls) < len(found):
        raise ValueError("/extract takes pictures or addresses, not both in one call: make two, or use embeddings()")
    if bare and len(found) == 1 and not urls:
        return Body(values, found[0], bare=True).prepared("POST", path, form, {})
    pictures = {"urls": urls} if urls else {"data": [written_picture(image, as_json=form == "json") for image in found]}
    body = _given({**values, "img_req_headers": fetching, "images": pictures, "msgpack": form == "msgpack" or None})
    return _prepared("POST", path, body, form, {})


def _extraction(answer: Answer) -> Extraction:
    """Of any shape that a service of this wire format has."""
    found = answer.value()
    if isinstance(found, list):  # api_ver 1
        return read(Extraction, {"data": [{"status": "ok", "faces": faces} for faces in found]})
    if not isinstance(found, dict) or not isinstance(found.get("data"), list):
        raise BadAnswer("what answers is no face service: an extraction has data", status=answer.status)
    # For embed_only InsightFace-REST 0.9.0 has a face where an image is elsewhere.
    images = [one if "faces" in one else {"status": "ok", **one, "faces": _faces(one)} for one in found["data"]]
    return read(Extraction, {**found, "data": images})


def _faces(image: Mapping[str, Any]) -> list[Any]:
    return [image] if image.get("status", "ok") == "ok" else []


def _reader(kind: type[T]) -> Callable[[Answer], T]:
    return lambda answer: read(kind, answer.value())


def _nothing(_: Answer) -> None:
    return None


def _line(text: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadAnswer("a line of the answer is no JSON object: the connection may have been cut")
    return found
