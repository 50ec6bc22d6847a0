"""What the service answers, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from visage_client.vectors import Vector

T = TypeVar("T")

Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one picture of several failed."""

    type: str = ""
    title: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a face is poor or refused. `kind`: a figure of `Quality`, whose `value` misses `limit`, or no-face,
    several-faces, no-recogniser.
    """

    kind: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """`size`: shorter side of the box in pixels; angles in degrees."""

    score: float
    size: float
    sharpness: float
    yaw: float
    pitch: float
    roll: float
    verdict: Literal["good", "poor"] = "good"
    reasons: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True)
class Face:
    """`box`: left, top, right, bottom in pixels of the upright picture; `landmarks`: eyes, nose, corners of the mouth.

    `gender` 1 male, 0 female. `crop`: PNG, 112×112. `embedding` has unit length, `norm` is its length before. None:
    not asked for.
    """

    box: Box
    score: float
    size: float = 0.0
    quality: Quality | None = None
    landmarks: tuple[Point, ...] | None = None
    gender: int | None = None
    age: int | None = None
    mask: bool | None = None
    crop: bytes | None = None
    embedding: Vector | None = None
    norm: float | None = None


@dataclass(frozen=True, slots=True)
class FoundImage:
    """One picture, in the order of the request; `faces` largest first."""

    status: Literal["ok", "failed"]
    faces: tuple[Face, ...] = ()
    error: Problem | None = None
    width: int | None = None
    height: int | None = None
    took_ms: float = 0.0
    warnings: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """`models`: role → name@sha256 of what answered."""

    images: tuple[FoundImage, ...]
    models: Mapping[str, str] = field(default_factory=dict)
    took_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The face that was compared, and `why` it among the `faces` of its picture."""

    kind: Literal["image", "vector"]
    faces: int | None = None
    index: int | None = None
    box: Box | None = None
    landmarks: tuple[Point, ...] | None = None
    score: float | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`similarity`: the cosine; `same`: whether it reaches `threshold`."""

    similarity: float
    same: bool
    threshold: float
    threshold_from: str
    a: Chosen
    b: Chosen
    models: Mapping[str, str] = field(default_factory=dict)
    took_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Whose vectors these are: those of other weights, or of pixels fed otherwise, have nothing in common with them."""

    name: str
    sha256: str
    dimension: int
    preprocess: str | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    name: str
    model: Recogniser
    precision: str
    index: str
    description: str
    metadata: Mapping[str, Any]
    created: datetime
    persons: int
    faces: int


@dataclass(frozen=True, slots=True)
class Person:
    id: str
    name: str
    metadata: Mapping[str, Any]
    created: datetime
    updated: datetime
    faces: int


@dataclass(frozen=True, slots=True)
class StoredFace:
    """`about`: what is known of the picture it came from."""

    id: str
    person: str
    about: Mapping[str, Any]
    created: datetime
    has_crop: bool = False


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    person: str
    face: str
    similarity: float


@dataclass(frozen=True, slots=True)
class EnrolledImage:
    status: Literal["enrolled", "refused", "failed"]
    face: StoredFace | None = None
    reasons: tuple[str, ...] = ()
    near_duplicate: NearDuplicate | None = None
    error: Problem | None = None
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True)
class Enrolled:
    """`images`: what became of each picture; `vectors`: how many were enrolled."""

    person: Person
    images: tuple[EnrolledImage, ...] = ()
    vectors: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    person: Person
    face: StoredFace
    similarity: float


@dataclass(frozen=True, slots=True)
class Probe:
    """One face that was searched for: `face` of picture number `image`, or `vector` number so and so."""

    status: str
    verdict: Literal["known", "unknown"]
    matches: tuple[Match, ...] = ()
    image: int | None = None
    face: Face | None = None
    vector: int | None = None
    error: Problem | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    probes: tuple[Probe, ...]
    threshold: float
    threshold_from: str
    models: Mapping[str, str] = field(default_factory=dict)
    took_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`next`: the cursor of the page after it, None at the end."""

    items: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """`model`: whose the vector is; None from services that do not say it."""

    person: Person
    face: StoredFace
    vector: Vector | None = None
    model: Recogniser | None = None


@dataclass(frozen=True, slots=True)
class BulkRow:
    """What became of one row of a bulk enrolment; `row` counts from 0 over all that was given."""

    row: int
    status: Literal["enrolled", "failed"]
    person: str | None = None
    faces: int = 0
    error: Problem | None = None


@dataclass(frozen=True, slots=True)
class BulkReport:
    """`persons`: different ones. `failures`: the rows that failed; the others are on disk."""

    persons: int = 0
    faces: int = 0
    failures: tuple[BulkRow, ...] = ()


@dataclass(frozen=True, slots=True)
class MaskScores:
    mask: float
    no_mask: float


@dataclass(frozen=True, slots=True)
class ExtractedFace:
    """A face as /extract tells it, by its names. `facedata`: the aligned crop, a JPEG."""

    bbox: tuple[int, int, int, int] | None = None
    prob: float | None = None
    size: int | None = None
    num_det: int | None = None
    scale: float | None = None
    landmarks: tuple[tuple[int, int], ...] | None = None
    landmarks_106: tuple[tuple[int, int], ...] | None = None
    facedata: bytes | None = None
    norm: float | None = None
    vec: Vector | None = None
    gender: int | None = None
    age: int | None = None
    mask: bool | None = None
    mask_probs: MaskScores | None = None


@dataclass(frozen=True, slots=True)
class ExtractedImage:
    """`traceback`: one line for people, why the picture failed."""

    status: Literal["ok", "failed"] = "ok"
    faces: tuple[ExtractedFace, ...] = ()
    took_ms: float = 0.0
    traceback: str | None = None
    error: Problem | None = None
    warnings: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Extraction:
    data: tuple[ExtractedImage, ...]
    took: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Info:
    """`models` and `defaults` have InsightFace-REST's keys; `visage` is this service's own, empty under COMPAT_API."""

    models: Mapping[str, Any]
    version: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    visage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Network:
    """A row of the catalogue. `threshold`: the cosine from which on two faces are one person's."""

    name: str
    task: str
    family: str
    description: str = ""
    licence: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    sha256: str | None = None
    loaded: bool = False
    default: bool = False
    in_memory: bool = False
