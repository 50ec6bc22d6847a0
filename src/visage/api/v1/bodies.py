"""What the /v1 routes take: JSON, msgpack, or one picture's file with the fields in the query."""

from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from visage.api.bodies import is_picture, read_body, read_picture
from visage.api.state import state_of
from visage.api.v1.fields import Strict, refuse_query
from visage.api.v1.metadata import Metadata
from visage.api.v1.models import GivenModel
from visage.api.v1.vectors import Vector
from visage.errors import RequestTooLarge
from visage.images.fetching import Encoded, ImageSource, Raw, source_of
from visage.options import ExtractOptions
from visage.quality import Mode
from visage.search.base import Index, Precision
from visage.search.names import COLLECTION, ID
from visage.settings import Settings

F = TypeVar("F", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)

# One fault a list is told: a hostile body has millions, and each is an object.
_FailFast = Field(fail_fast=True)
_MOST = 2**31 - 1
_MOST_TEXT = 2000  # characters
_MOST_ADDRESS = 8192
_MOST_MOMENT = 40

CollectionName = Annotated[str, Field(pattern=COLLECTION)]
Id = Annotated[str, Field(pattern=ID)]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


Score = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
# What people call a person, and what is told of a collection; the name of a network.
PersonName = Annotated[str, Field(max_length=500)]
Description = Annotated[str, Field(max_length=_MOST_TEXT)]
NetworkName = Annotated[str, Field(max_length=_MOST_TEXT)]
Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
_Size = Annotated[
    list[Annotated[int, Field(ge=1, le=100_000)]], Field(min_length=2, max_length=2), BeforeValidator(_listed)
]


def _moment(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MOST_MOMENT:
        raise ValueError("a time as exports have it: 2026-01-31T12:00:00.000Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_moment), Field(json_schema_extra={"maxLength": _MOST_MOMENT})]


class PictureAt(Strict):
    """A picture to be fetched: an http or https URL, or a path below ROOT_IMAGES_DIR."""

    url: Annotated[str, Field(max_length=_MOST_ADDRESS)]


def _at(value: Any) -> Any:
    """Of an object only what is wrong with it is told, not that it is no text either."""
    return PictureAt.model_validate(value) if isinstance(value, dict) else value


Picture = Annotated[str | bytes | PictureAt, BeforeValidator(_at)]
Pictures = Annotated[list[Picture], _FailFast]
_PICTURES = 'Each base64 text (in msgpack the file\'s bytes), or {"url": "https://…"}'
_MODEL = (
    "Whose the vectors are (sface@fb143eea0783, or an object as exports have it): those of another network than the "
    "collection's are refused"
)
_VECTORS = "Each a list of numbers, base64 of little-endian float32, or in msgpack those bytes"


class Recognising(Strict):
    rec_name: NetworkName | None = Field(None, description="Recognition network, one that is loaded; default REC_NAME")


class Finding(Recognising):
    """How faces are looked for."""

    det_name: NetworkName | None = Field(None, description="Detection network, one that is loaded; default DET_NAME")
    max_size: _Size | None = Field(
        None, description="Width and height that pictures are fitted into for detection; default MAX_SIZE"
    )

    def options(self, settings: Settings, *, limit: int = 0, score: float | None = None, **more: Any) -> ExtractOptions:
        """`limit`: so many of the largest faces; 0: all, largest first."""
        size = self.max_size
        return ExtractOptions(
            threshold=settings.def_det_thresh if score is None else score,
            limit_faces=limit or settings.max_faces,
            max_size=None if size is None else (size[0], size[1]),
            detector=self.det_name,
            recogniser=self.rec_name,
            crops=True,  # sharpness is measured on them
            **more,
        )


class DetectFields(Finding):
    threshold: Score | None = Field(None, description="Least score of a face, 0 < t ≤ 1; default DEF_DET_THRESH")
    limit: Annotated[int, Field(ge=0, le=_MOST)] | None = Field(
        None, description="Only so many of the largest faces a picture; 0 for all"
    )
    landmarks: bool | None = Field(None, description="Tell five landmarks; default true")
    attributes: bool | None = Field(None, description="Tell gender, age and mask, as networks for them are loaded")
    crops: bool | None = Field(None, description="Tell the aligned 112×112 crop, a PNG")


class DetectBody(DetectFields):
    images: Pictures = Field(description=_PICTURES)


class EmbeddingFields(DetectFields):
    vectors: Literal["numbers", "base64"] | None = Field(
        None, description="Form of the vectors in JSON: lists of numbers, or base64 of little-endian float32"
    )


class EmbeddingBody(EmbeddingFields):
    images: Pictures = Field(description=_PICTURES)


class Side(Strict):
    """One of the two that are compared: a picture, or a vector."""

    image: Picture | None = Field(None, description="Base64 text (in msgpack the file's bytes), or an object with url")
    vector: Vector | None = Field(None, description=_VECTORS)
    model: GivenModel | None = Field(None, description="Whose the vector is; refused where it is another network's")


class CompareBody(Finding):
    a: Side
    b: Side
    threshold: Cosine | None = Field(
        None, description="Cosine from which on it is one person; default SAME_THRESHOLD, else the catalogue's"
    )


class CollectionBody(Recognising):
    name: CollectionName
    precision: Precision | None = Field(None, description="Of the vectors that are searched; default fp32")
    index: Index | None = Field(None, description="exact (default), or hnsw: quicker, now and then not the nearest")
    description: Description | None = None
    metadata: Metadata | None = None


class _Change(Strict):
    """What is left out, or null, stays as it is."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            fields = " or ".join(type(self).model_fields)
            raise PydanticCustomError("nothing_to_change", "nothing would change: give {fields}", {"fields": fields})
        return self


class CollectionChange(_Change):
    description: Description | None = None
    metadata: Metadata | None = Field(None, description="In place of what was there")


class FaceFields(Finding):
    """How pictures are judged that are to be enrolled."""

    quality: Mode | None = Field(None, description="Which faces are good enough: off, standard (default) or strict")
    faces: Literal["one", "largest"] | None = Field(
        None, description="What a picture with several faces means: one (default) refuses it, largest takes the largest"
    )


class FacesBody(FaceFields):
    images: Pictures | None = Field(None, description=_PICTURES)
    vectors: Annotated[list[Vector], _FailFast] | None = Field(None, description=_VECTORS)
    model: GivenModel | None = Field(None, description=_MODEL)


class PersonFields(FaceFields):
    id: Id | None = Field(None, description="Made where it is not given")
    name: PersonName | None = Field(None, description="What people call the person")
    metadata: Metadata | None = Field(
        None, description="A JSON object, at most 64 KiB and 32 deep; `where` asks for its keys"
    )


class PersonBody(PersonFields):
    images: Pictures | None = Field(None, description=_PICTURES)
    vectors: Annotated[list[Vector], _FailFast] | None = Field(None, description=_VECTORS)
    model: GivenModel | None = Field(None, description=_MODEL)


class PersonChange(_Change):
    name: PersonName | None = None
    metadata: Metadata | None = Field(None, description="In place of what was there")


class SearchFields(Finding):
    top: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="Most matches a probe; default 5")
    by: Literal["persons", "faces"] | None = Field(
        None, description="persons (default): each once, by their nearest face; faces: every face for itself"
    )
    threshold: Cosine | None = Field(
        None, description="Least cosine of a match; default SAME_THRESHOLD, else the catalogue's"
    )
    where: Metadata | None = Field(
        None, description='Only persons whose metadata meet this: {"city": "Oslo"}; not id or name'
    )
    below: bool | None = Field(None, description="Tell the nearest even below the threshold")
    limit: Annotated[int, Field(ge=0, le=_MOST)] | None = Field(
        None, description="Search for only so many of the largest faces a picture; 0 for all"
    )


class SearchBody(SearchFields):
    images: Pictures | None = Field(None, description=_PICTURES)
    vectors: Annotated[list[Vector], Field(max_length=1000), _FailFast] | None = Field(
        None, description=f"At most 1,000. {_VECTORS}"
    )
    model: GivenModel | None = Field(None, description=_MODEL)


class BulkFace(Strict):
    """Of an exported line."""

    unread: ClassVar[frozenset[str]] = frozenset({"person", "has_crop"})

    id: Id
    created: Moment | None = None
    about: Metadata = Field(default_factory=dict)


class BulkPerson(Strict):
    """Of an exported line."""

    unread: ClassVar[frozenset[str]] = frozenset({"faces"})

    id: Id
    name: PersonName | None = None
    metadata: Metadata | None = None
    created: Moment | None = None
    updated: Moment | None = None


class BulkRow(Strict):
    """One person with vectors, or a line of an export."""

    id: Id | None = Field(None, description="Made where it is not given")
    name: PersonName | None = None
    metadata: Metadata | None = None
    vectors: Annotated[list[Vector], _FailFast] | None = Field(None, description=_VECTORS)
    person: BulkPerson | None = None
    face: BulkFace | None = None
    vector: Vector | None = None
    model: GivenModel | None = Field(None, description=_MODEL)


BODIES: tuple[type[Strict], ...] = (
    DetectBody,
    EmbeddingBody,
    CompareBody,
    CollectionBody,
    CollectionChange,
    FacesBody,
    PersonBody,
    PersonChange,
    SearchBody,
    BulkRow,
)


async def read(request: Request, fields: type[F], body: type[B]) -> tuple[F | B, list[ImageSource]]:
    """The fields, and the pictures: those of `images`, or the body itself. Raises RequestValidationError,
    RequestTooLarge.
    """
    if await is_picture(request):
        given, data = await read_picture(request, fields)
        return given, [Raw(data)]
    refuse_query(request)
    found = await read_body(request, body, or_picture=True)
    return found, sources(getattr(found, "images", None) or [], state_of(request).settings)


def sources(pictures: list[Picture], settings: Settings) -> list[ImageSource]:
    """Raises RequestTooLarge."""
    if len(pictures) > settings.max_images:
        raise RequestTooLarge(
            f"The request has {len(pictures)} images; at most {settings.max_images} are taken at a time (MAX_IMAGES)"
        )
    return [source(picture, settings) for picture in pictures]


def source(picture: Picture, settings: Settings) -> ImageSource:
    match picture:
        case PictureAt():
            return source_of(picture.url, settings.def_img_req_headers)
        case bytes():
            return Raw(picture)
        case _:
            return Encoded(picture)
