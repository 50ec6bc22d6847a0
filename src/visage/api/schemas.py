"""Request bodies and answers as the wire knows them; the answers' models stand in the API's document only."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from visage.options import DrawOptions, ExtractOptions
from visage.settings import Settings

_Flag = bool | None
# One fault a list is told: a hostile body has millions, and each is an object.
_FailFast = Field(fail_fast=True)
# Of texts that errors repeat; a picture's address may be anything: one that is none fails alone.
_MOST_TEXT = 2000
_MOST = 2**31 - 1  # forms carry whole numbers of any length, arithmetic does not


_Text = Annotated[str, Field(max_length=_MOST_TEXT)]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class Images(BaseModel):
    """Pictures: base64 texts (raw bytes in msgpack), or URLs and paths. With both, `urls` are used."""

    data: Annotated[list[str | bytes], _FailFast] | None = Field(
        None, description="Base64, with or without a data-URI prefix; in a msgpack request the file's raw bytes"
    )
    urls: Annotated[list[str], _FailFast] | None = Field(
        None, description="http or https URLs; anything else is a path below ROOT_IMAGES_DIR"
    )


class _Body(BaseModel):
    """Unknown fields are ignored; null means the default."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


class _Choice(_Body):
    """What every route that detects takes."""

    threshold: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="Least score of a face, 0 < t ≤ 1; default DEF_DET_THRESH"
    )
    limit_faces: Annotated[int, Field(ge=0, le=_MOST)] | None = Field(
        None, description="Keep only so many of the largest faces; 0 keeps all"
    )
    min_face_size: Annotated[int, Field(ge=0, le=_MOST)] | None = Field(
        None, description="Least width of a face in pixels of the picture"
    )
    img_req_headers: Annotated[dict[str, str], _FailFast] | None = Field(
        None, description="Headers for fetching `urls`"
    )
    det_name: _Text | None = Field(None, description="Detection network, one that is loaded; default DET_NAME")

    def threshold_or(self, settings: Settings) -> float:
        return settings.def_det_thresh if self.threshold is None else self.threshold

    def headers_or(self, settings: Settings) -> dict[str, str]:
        return self.img_req_headers or settings.def_img_req_headers


class ExtractFields(_Choice):
    """The fields of an extraction but for its images."""

    max_size: (
        Annotated[
            list[Annotated[int, Field(ge=1, le=100_000)]], Field(min_length=2, max_length=2), BeforeValidator(_listed)
        ]
        | None
    ) = Field(None, description="Width and height that pictures are fitted into for detection; default MAX_SIZE")
    rec_name: _Text | None = Field(None, description="Recognition network, one that is loaded; default REC_NAME")
    embed_only: _Flag = Field(None, description="The pictures are aligned 112×112 crops: no detection")
    return_face_data: _Flag = Field(
        None, description="Return aligned crops as base64 JPEG; default DEF_RETURN_FACE_DATA"
    )
    return_landmarks: _Flag = Field(None, description="Return five landmarks; default DEF_RETURN_LANDMARKS")
    return_landmarks_106: _Flag = Field(
        None, description="Return 106 landmarks (LANDMARKS_NAME); default DEF_RETURN_LANDMARKS_106"
    )
    extract_embedding: _Flag = Field(None, description="Return embeddings; default DEF_EXTRACT_EMBEDDING")
    extract_ga: _Flag = Field(None, description="Return gender and age; default DEF_EXTRACT_GA")
    detect_masks: _Flag = Field(None, description="Return mask scores; default DEF_DETECT_MASKS")
    verbose_timings: _Flag = Field(None, description="Say how long reading and the networks took")
    api_ver: _Text | None = Field(None, description='"1": a list of lists; any other: an object; default DEF_API_VER')
    msgpack: _Flag = Field(None, description="Answer in msgpack")

    def options(self, settings: Settings) -> ExtractOptions:
        """Each field that is absent or null becomes the service's default."""
        asked = None if self.max_size is None or settings.compat_api else (self.max_size[0], self.max_size[1])
        return ExtractOptions(
            threshold=self.threshold_or(settings),
            limit_faces=self.limit_faces or 0,
            min_face_size=self.min_face_size or 0,
            max_size=asked,
            embedding=_or(self.extract_embedding, settings.def_extract_embedding),
            gender_age=_or(self.extract_ga, settings.def_extract_ga),
            masks=_or(self.detect_masks, settings.def_detect_masks),
            crops=_or(self.return_face_data, settings.def_return_face_data),
            # The reference's own shapes have no place for them.
            landmarks_106=_or(self.return_landmarks_106, settings.def_return_landmarks_106)
            and settings.compat_api is None
            and self.api_ver_or(settings) != "1",
            detector=self.det_name,
            recogniser=self.rec_name,
        )

    def api_ver_or(self, settings: Settings) -> str | None:
        return self.api_ver if self.api_ver is not None else settings.def_api_ver

    def landmarks_or(self, settings: Settings) -> bool:
        return _or(self.return_landmarks, settings.def_return_landmarks)


class ExtractBody(ExtractFields):
    images: Images


class DrawFields(_Choice):
    """The fields of a drawing but for its images."""

    draw_landmarks: _Flag = Field(None, description="Draw five landmarks; default true")
    draw_landmarks_106: _Flag = Field(None, description="Draw 106 landmarks (LANDMARKS_NAME); default false")
    draw_scores: _Flag = Field(None, description="Write the score above each box; default true")
    draw_sizes: _Flag = Field(None, description="Write the width below each box; default true")
    detect_masks: _Flag = Field(None, description="Colour masked and unmasked faces; default DEF_DETECT_MASKS")

    def drawing(self) -> DrawOptions:
        return DrawOptions(_or(self.draw_landmarks, True), _or(self.draw_scores, True), _or(self.draw_sizes, True))

    def options(self, settings: Settings) -> ExtractOptions:
        return ExtractOptions(
            threshold=self.threshold_or(settings),
            limit_faces=self.limit_faces or 0,
            min_face_size=self.min_face_size or 0,
            embedding=False,
            masks=_or(self.detect_masks, settings.def_detect_masks),
            landmarks_106=_or(self.draw_landmarks_106, False) and settings.compat_api is None,
            detector=self.det_name,
        )


class DrawBody(DrawFields):
    """The first image is drawn."""

    images: Images


def defaults(settings: Settings) -> dict[str, Any]:
    """What each field of an extraction or a drawing means where it is left out; of texts "" is none."""
    return {
        "threshold": settings.def_det_thresh,
        "limit_faces": 0,
        "min_face_size": 0,
        "det_name": settings.det_name,
        "rec_name": settings.rec_name or "",
        "max_size": list(settings.max_size),
        "embed_only": False,
        "return_face_data": settings.def_return_face_data,
        "return_landmarks": settings.def_return_landmarks,
        "return_landmarks_106": settings.def_return_landmarks_106,
        "extract_embedding": settings.def_extract_embedding,
        "extract_ga": settings.def_extract_ga,
        "detect_masks": settings.def_detect_masks,
        "verbose_timings": False,
        "api_ver": settings.def_api_ver or "",
        "msgpack": False,
        "draw_landmarks": True,
        "draw_landmarks_106": False,
        "draw_scores": True,
        "draw_sizes": True,
    }


def _or(value: bool | None, default: bool) -> bool:
    return default if value is None else value


class MaskProbs(BaseModel):
    mask: float
    no_mask: float


class FaceAnswer(BaseModel):
    """One face. `vec`, `gender` and their like are absent where nothing but detection was asked for."""

    bbox: list[int] = Field(description="Left, top, right, bottom in pixels of the upright picture")
    landmarks: list[list[int]] | None = None
    prob: float
    num_det: int
    scale: float
    facedata: str | None = None
    norm: float | None = None
    vec: list[float] | None = None
    gender: int | None = Field(None, description="1 male, 0 female")
    age: int | None = None
    mask: bool | None = None
    mask_probs: MaskProbs | None = None
    size: int = Field(description="Width of the box in pixels")
    landmarks_106: list[list[int]] | None = Field(
        None, description="Where asked for: 106 pairs x, y in pixels of the upright picture"
    )


class ErrorAnswer(BaseModel):
    type: str
    title: str
    detail: str


class ImageAnswer(BaseModel):
    """One image, in the order of the request."""

    status: str = Field(description="ok or failed")
    took_ms: float
    faces: list[FaceAnswer]
    traceback: str | None = Field(None, description="One line for people: why the image failed")
    error: ErrorAnswer | None = None
    warnings: list[str] | None = None


class Took(BaseModel):
    total_ms: float
    read_imgs_ms: float | None = None
    embed_all_ms: float | None = None


class ExtractAnswer(BaseModel):
    took: Took
    data: list[ImageAnswer]
    models: dict[str, str]
    warnings: list[str] | None = None


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str | list[dict[str, Any]]
