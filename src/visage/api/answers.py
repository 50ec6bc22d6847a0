"""Faces → the shapes that clients of InsightFace-REST know (wire contract, parts 3 and 4).

Two forms of a face: that of 0.9 (and ours), and that of 0.7. Keys stand in the order that the reference gives.
"""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import pybase64

from visage.api.problems import described
from visage.errors import ImageError, ImageTooLarge
from visage.faces import Face, ImageFaces, Outcome, Pixels
from visage.options import ExtractOptions

# OpenCV's default, which the reference's crops are compressed with.
_CROP_QUALITY = 95
# Pixels a side that OpenCV's encoders write.
_MOST_JPEG, _MOST_PNG = 65_500, 1_000_000

Form = Literal["0.7", "0.9", "0.9+0.7"]


@dataclass(frozen=True, slots=True)
class Shape:
    """How an answer is written.

    `form`: the face of 0.7, of 0.9, or of 0.9 with the names of 0.7 beside; `listed`: bare lists (`api_ver` 1);
    `strict`: not one key that the reference does not know (COMPAT_API).
    """

    form: Form = "0.9"
    listed: bool = False
    strict: bool = False
    landmarks: bool = False
    verbose: bool = False


def shape_of(api_ver: str | None, compat: str | None, *, landmarks: bool, verbose: bool) -> Shape:
    """The shape for a request's or the service's `api_ver` under COMPAT_API."""
    version = api_ver if api_ver is not None else ("1" if compat == "0.7" else None)
    form: Form = "0.9"
    if compat == "0.7" or version == "1":
        form = "0.7"
    elif version is not None and compat is None:
        form = "0.9+0.7"
    return Shape(form, version == "1", compat is not None, landmarks, verbose)


def extraction(
    outcomes: list[Outcome],
    options: ExtractOptions,
    shape: Shape,
    *,
    total_ms: float,
    models: dict[str, str],
    warnings: list[str],
) -> Any:
    """The answer to /extract."""
    if shape.listed:
        return [_faces(outcome.result, options, shape) for outcome in outcomes]
    took = {"total_ms": total_ms}
    if shape.verbose:
        took["read_imgs_ms"] = sum(outcome.read_seconds for outcome in outcomes) * 1000
        took["embed_all_ms"] = sum(outcome.network_seconds for outcome in outcomes) * 1000
    answer = {"took": took, "data": [_image(outcome, options, shape) for outcome in outcomes]}
    return answer | _additions(shape, models, warnings)


def embeddings(
    outcomes: list[Outcome],
    options: ExtractOptions,
    shape: Shape,
    *,
    total_ms: float,
    models: dict[str, str],
    warnings: list[str],
) -> Any:
    """The answer to /extract with `embed_only`: one entry a crop, each with a fate of its own."""
    entry = _crop_07 if shape.form == "0.7" else _crop_09
    answer = {"took_ms": total_ms, "data": [entry(outcome, options, shape) for outcome in outcomes], "status": "ok"}
    return answer | _additions(shape, models, warnings)


def _additions(shape: Shape, models: dict[str, str], warnings: list[str]) -> dict[str, Any]:
    if shape.strict:
        return {}
    return {"models": models} | ({"warnings": warnings} if warnings else {})


def _image(outcome: Outcome, options: ExtractOptions, shape: Shape) -> dict[str, Any]:
    took_ms = (outcome.read_seconds + outcome.network_seconds) * 1000
    if isinstance(outcome.result, ImageError):
        return {"status": "failed", "took_ms": took_ms, "faces": []} | _failure(outcome.result, shape)
    image = {"status": "ok", "took_ms": took_ms, "faces": _faces(outcome.result, options, shape)}
    return image | _said(outcome.result, shape)


def _said(result: ImageFaces, shape: Shape) -> dict[str, Any]:
    return {"warnings": list(result.warnings)} if result.warnings and not shape.strict else {}


def _failure(error: ImageError, shape: Shape) -> dict[str, Any]:
    """`traceback` is the contract's name for one line of text; no Python traceback is ever in it."""
    return {"traceback": str(error)} | ({} if shape.strict else {"error": described(error)})


def _faces(result: ImageFaces | ImageError, options: ExtractOptions, shape: Shape) -> list[dict[str, Any]]:
    if isinstance(result, ImageError):
        return []
    if shape.form == "0.7":
        return [_face_07(face, shape) for face in result.faces]
    return [_face_09(face, result.scale, options, shape) for face in result.faces]


def _face_07(face: Face, shape: Shape) -> dict[str, Any]:
    answer = {
        "det": face.index,
        "prob": face.score,
        "bbox": _whole(face.box),
        "size": _width(face),
        "landmarks": _whole(face.landmarks) if shape.landmarks else None,
        **_gender_age(face),
        "mask_prob": face.mask.mask if face.mask else None,
        **_vector(face),
    }
    return answer | _crop(face)


def _face_09(face: Face, scale: float, options: ExtractOptions, shape: Shape) -> dict[str, Any]:
    answer: dict[str, Any] = {"bbox": _whole(face.box)}
    if shape.landmarks:
        answer["landmarks"] = _whole(face.landmarks)
    answer |= {"prob": face.score, "num_det": face.index, "scale": scale}
    answer |= _crop(face)
    if options.embedding or options.gender_age or options.masks:
        answer |= _vector(face) | _gender_age(face) | _mask(face)
    answer["size"] = _width(face)
    if shape.form == "0.9+0.7":
        answer |= {"det": face.index, "mask_prob": face.mask.mask if face.mask else None}
    return answer | _landmarks_106(face, options)


def _crop_07(outcome: Outcome, options: ExtractOptions, shape: Shape) -> dict[str, Any]:
    blank: dict[str, Any] = dict.fromkeys(("det", "prob", "bbox", "size", "landmarks"))
    if isinstance(outcome.result, ImageError):
        rest = dict.fromkeys(("gender", "age", "mask_prob", "norm", "vec"))
        return blank | rest | {"status": "failed"} | _failure(outcome.result, shape)
    face = outcome.result.faces[0]
    return blank | _gender_age(face) | {"mask_prob": face.mask.mask if face.mask else None} | _vector(face)


def _crop_09(outcome: Outcome, options: ExtractOptions, shape: Shape) -> dict[str, Any]:
    if isinstance(outcome.result, ImageError):
        failure = _failure(outcome.result, shape)
        return {"status": "failed", "took_ms": 0, "faces": [{"status": "failed"} | failure]} | failure
    face = outcome.result.faces[0]
    described_face = _vector(face) | _gender_age(face) | _mask(face)
    described_face |= {"bbox": _whole(face.box), "size": _width(face), "prob": face.score, "status": "ok"}
    described_face |= _landmarks_106(face, options)
    return {"status": "ok", "took_ms": 0, "faces": [described_face]} | _said(outcome.result, shape)


def _vector(face: Face) -> dict[str, Any]:
    """The vector widened to float64: JSON shows the 64-bit print of the float32 numbers."""
    if face.embedding is None:
        return {"norm": None, "vec": None}
    return {"norm": face.embedding.norm, "vec": face.embedding.vector.astype(np.float64)}


def _gender_age(face: Face) -> dict[str, Any]:
    known = face.gender_age
    return {"gender": known.gender if known else None, "age": known.age if known else None}


def _mask(face: Face) -> dict[str, Any]:
    if face.mask is None:
        return {"mask": None, "mask_probs": None}
    return {"mask": face.mask.worn, "mask_probs": {"mask": face.mask.mask, "no_mask": face.mask.no_mask}}


def _crop(face: Face) -> dict[str, str]:
    return {} if face.crop is None else {"facedata": pybase64.b64encode_as_string(jpeg(face.crop, _CROP_QUALITY))}


def _landmarks_106(face: Face, options: ExtractOptions) -> dict[str, Any]:
    """A key that the reference does not know: last, and only where it was asked for."""
    if not options.landmarks_106:
        return {}
    return {"landmarks_106": None if face.landmarks_106 is None else _whole(face.landmarks_106)}


def _width(face: Face) -> int:
    """200.7 − 100 is 100: the difference is cut, not the corners."""
    return int(face.box[2] - face.box[0])


def _whole(values: Any) -> Any:
    """Pixels cut toward zero, as arrays: both writers take them as they are, quicker than lists."""
    return np.array(values, np.int64, order="C")


def jpeg(pixels: Pixels, quality: int) -> bytes:
    """uint8 (H, W, 3) BGR → a JPEG file by OpenCV. Raises ImageTooLarge where it does not fit into one."""
    if max(pixels.shape[:2]) > _MOST_JPEG:
        raise _unfit(pixels, "JPEG", _MOST_JPEG, "ask for PNG (Accept: image/png) or send a smaller one")
    return _encoded(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])


def png(pixels: Pixels) -> bytes:
    """uint8 (H, W, 3) BGR → a PNG file. Raises ImageTooLarge where it does not fit into one."""
    if max(pixels.shape[:2]) > _MOST_PNG:
        raise _unfit(pixels, "PNG", _MOST_PNG, "send a smaller one")
    return _encoded(".png", pixels, [])


def _encoded(suffix: str, pixels: Pixels, how: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, pixels, how)
    if not done:
        raise RuntimeError(f"OpenCV does not write {pixels.shape} as {suffix}")
    return bytes(data)


def _unfit(pixels: Pixels, kind: str, most: int, cure: str) -> ImageTooLarge:
    height, width = pixels.shape[:2]
    return ImageTooLarge(
        f"The picture has {width}×{height} pixels, and a {kind} is written with at most {most} a side; {cure}"
    )
