"""What the /v1 routes answer, as the API's document shows it."""

from typing import Any

from pydantic import BaseModel, Field


class ErrorObject(BaseModel):
    type: str
    title: str
    detail: str


class CauseAnswer(BaseModel):
    kind: str = Field(
        description="score, size, sharpness, yaw, pitch, roll; of enrolments also no-face, several-faces, no-recogniser"
    )
    value: float | None = Field(None, description="The face's figure, which misses `limit`")
    limit: float | None = None


class Quality(BaseModel):
    score: float
    size: float = Field(description="Shorter side of the box in pixels")
    sharpness: float = Field(description="Variance of the Laplacian of the aligned crop")
    yaw: float = Field(description="Degrees; above 0 looks to the right side of the picture")
    pitch: float = Field(description="Degrees; above 0 looks up")
    roll: float = Field(description="Degrees; above 0 is turned clockwise")
    verdict: str = Field(description="good or poor, by the mode standard")
    reasons: list[str] = Field(description="Why it is poor, in English")
    causes: list[CauseAnswer] = Field(description="The same for programs, in the same order")


class FoundFace(BaseModel):
    box: list[float] = Field(description="Left, top, right, bottom in pixels of the upright picture")
    score: float
    landmarks: list[list[float]] | None = None
    size: float = Field(description="Shorter side of the box in pixels")
    quality: Quality
    gender: int | None = Field(None, description="1 male, 0 female")
    age: int | None = None
    mask: bool | None = None
    crop: str | None = Field(None, description="Base64 PNG, 112×112; bytes in msgpack")
    embedding: list[float] | str | None = Field(None, description="Unit length")
    norm: float | None = Field(None, description="The vector's length before")


class FoundImage(BaseModel):
    status: str = Field(description="ok or failed")
    error: ErrorObject | None = None
    width: int | None = None
    height: int | None = None
    warnings: list[str] | None = None
    faces: list[FoundFace] = Field(description="Largest first")
    took_ms: float


class Found(BaseModel):
    images: list[FoundImage]
    models: dict[str, str]
    took_ms: float


class Chosen(BaseModel):
    kind: str = Field(description="image or vector")
    faces: int | None = Field(None, description="How many faces the picture shows")
    index: int | None = Field(None, description="Among them, largest first")
    box: list[float] | None = None
    landmarks: list[list[float]] | None = None
    score: float | None = None
    why: str | None = None


class Compared(BaseModel):
    similarity: float = Field(description="The cosine")
    same: bool
    threshold: float
    threshold_from: str = Field(description="request, settings or catalogue")
    a: Chosen
    b: Chosen
    models: dict[str, str]
    took_ms: float


class Model(BaseModel):
    name: str
    sha256: str
    preprocess: str
    dimension: int


class CollectionAnswer(BaseModel):
    name: str
    model: Model
    precision: str
    index: str
    description: str
    metadata: dict[str, Any]
    created: str
    persons: int
    faces: int


class CollectionsPage(BaseModel):
    items: list[CollectionAnswer]
    next: str | None = None


class PersonAnswer(BaseModel):
    id: str
    name: str
    metadata: dict[str, Any]
    created: str
    updated: str
    faces: int


class PersonsPage(BaseModel):
    items: list[PersonAnswer]
    next: str | None = None


class StoredFaceAnswer(BaseModel):
    id: str
    person: str
    about: dict[str, Any]
    created: str
    has_crop: bool


class FacesPage(BaseModel):
    items: list[StoredFaceAnswer]
    next: str | None = None


class NearDuplicate(BaseModel):
    person: str
    face: str
    similarity: float


class EnrolledImage(BaseModel):
    status: str = Field(description="enrolled, refused or failed")
    face: StoredFaceAnswer | None = None
    reasons: list[str] = Field(description="Why it was refused, in English")
    causes: list[CauseAnswer] = Field(description="The same for programs, in the same order")
    near_duplicate: NearDuplicate | None = None
    error: ErrorObject | None = None


class Enrolled(BaseModel):
    person: PersonAnswer
    images: list[EnrolledImage]
    vectors: int


class MatchAnswer(BaseModel):
    person: PersonAnswer
    face: StoredFaceAnswer
    similarity: float


class Probe(BaseModel):
    image: int | None = None
    face: FoundFace | None = None
    vector: int | None = None
    status: str
    error: ErrorObject | None = None
    verdict: str = Field(description="known or unknown")
    matches: list[MatchAnswer]


class Searched(BaseModel):
    probes: list[Probe]
    threshold: float
    threshold_from: str
    models: dict[str, str]
    took_ms: float
