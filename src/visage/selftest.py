"""Does each network answer what it must? Asked once, before the service calls itself ready."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from visage.errors import SelfTestFailed
from visage.faces import Detections, Embedding, Floats, GenderAge, Image, ImageBatch, MaskScores
from visage.families.base import CropModel, Detector, Task
from visage.geometry.letterbox import letterbox

log = logging.getLogger(__name__)

# The picture is data/selftest.png, 240×240, one face (misc/images/LICENCES.md). Where its five points are, to
# the pixel; fixed, so that a recogniser's numbers do not depend on the detector.
LANDMARKS: Floats = np.array([[[90, 89], [143, 85], [118, 116], [97, 141], [144, 138]]], np.float32)
# The same face with its box (YuNet's, to the pixel), for networks that want the square around it.
FACE = Detections(np.array([[55, 36, 178, 179]], np.float32), np.ones(1, np.float32), LANDMARKS)
INPUT = (320, 320)

# It shows an old woman without a mask. Fed with the wrong numbers, a gender and age network answers an age that
# is its training data's (17 where genderage_v1 is normalised twice), a mask network that there is one.
_ADULT_FROM = 20

# A face's landmarks lie around the middle of the square about its box; this far off, they are not that face's.
_OFF_CENTRE = 0.2


def detector_numbers(detector: Detector, picture: Image) -> list[float]:
    """Left, top, right, bottom of the best face as parts of the picture, and its score; empty for no face."""
    size = detector.sizes.nearest(INPUT)
    pixels, scale = letterbox(picture.pixels, size)
    found = detector.detect(ImageBatch(pixels[None], np.array([scale])), np.array([0.3], np.float32))[0]
    if not len(found):
        return []
    parts = found.boxes[0] / np.array([picture.width, picture.height] * 2, np.float32)
    return [float(x) for x in (*parts, found.scores[0])]


def embedder_numbers(embedder: CropModel[Embedding], picture: Image) -> list[float]:
    """The first five components of the face's unit vector."""
    return [float(x) for x in embedder.predict(embedder.crop.cut(picture.pixels, FACE))[0].vector[:5]]


def gender_age_numbers(model: CropModel[GenderAge], picture: Image) -> list[float]:
    """Gender and age; a remark in the log where the age cannot be this face's."""
    answer = model.predict(model.crop.cut(picture.pixels, FACE))[0]
    if answer.age < _ADULT_FROM:
        log.warning(
            "the gender and age network (GA_NAME) calls an old woman %d years old on the self-test picture: is "
            "`preprocess` of its catalogue entry right?",
            answer.age,
        )
    return [float(answer.gender), float(answer.age)]


def mask_numbers(model: CropModel[MaskScores], picture: Image) -> list[float]:
    """The probabilities of a mask and of none; a remark in the log where it sees one: there is none."""
    answer = model.predict(model.crop.cut(picture.pixels, FACE))[0]
    if answer.mask >= answer.no_mask:
        log.warning(
            "the mask network (MASK_DETECTOR) sees a mask (%.2f) on the self-test picture, where there is none: is "
            "`preprocess` of its catalogue entry right?",
            answer.mask,
        )
    return [answer.mask, answer.no_mask]


def landmark_numbers(model: CropModel[Floats], picture: Image) -> list[float]:
    """The first point, the points' middle (x, y each) and how far they spread, in parts of the crop's side.

    A remark in the log where the middle is not the face's: the crop shows it in its own middle.
    """
    places = model.predict(model.crop.cut(picture.pixels, FACE))[0] / model.crop.size  # (106, 2)
    middle = places.mean(axis=0)
    if np.abs(middle - 0.5).max() > _OFF_CENTRE:
        log.warning(
            "the network of landmarks (LANDMARKS_NAME) places them around (%.2f, %.2f) of its crop on the self-test "
            "picture, whose face is in the middle: is `preprocess` of its catalogue entry right?",
            *middle,
        )
    return [float(x) for x in (*places[0], *middle, places.std())]


# Two engines that compute a network in single precision differ by less; an age may fall on the other side of a half.
TOLERANCES: Mapping[Task, float] = {
    "detection": 0.005,
    "recognition": 0.005,
    "attributes-gender-age": 1.0,
    "attributes-mask": 0.005,
    "landmarks-106": 0.005,
}
# In half precision: 25 times the most that the networks at hand are off by when ONNX Runtime computes them so.
HALF_TOLERANCE = 0.005

NUMBERS: Mapping[Task, Callable[[Any, Image], list[float]]] = {
    "detection": detector_numbers,
    "recognition": embedder_numbers,
    "attributes-gender-age": gender_age_numbers,
    "attributes-mask": mask_numbers,
    "landmarks-106": landmark_numbers,
}


def numbers(task: Task, model: Any, picture: Image) -> list[float]:
    """What a network of `task` answers on the self-test picture."""
    return NUMBERS[task](model, picture)


@dataclass(frozen=True, slots=True)
class Known:
    """What a network must answer on the self-test picture, and how far off each number may be.

    `whose`: whose word it is, where it is not the catalogue's.
    """

    numbers: Sequence[float]
    tolerance: float
    whose: str = ""

    def halved(self) -> "Known":
        """As wide as half precision needs it."""
        return replace(self, tolerance=max(self.tolerance, HALF_TOLERANCE))


def check(name: str, got: Sequence[float], known: Known | None, by: str) -> None:
    """Compare with the known numbers. Raises SelfTestFailed with `name`, what it is computed `by`, and the first
    difference.
    """
    failed = f"{name}, computed by {by}, failed its self-test"
    if not np.isfinite(got).all():
        raise SelfTestFailed(f"{failed}: it returns numbers that are not finite")
    if known is None:
        if not got:
            log.warning("%s finds no face on the self-test picture; the catalogue has no known numbers for it", name)
        else:
            log.info("%s: the catalogue has no known numbers for it, only their shape was checked", name)
        return
    if len(got) != len(known.numbers):
        raise SelfTestFailed(f"{failed}: {len(got)} numbers, {len(known.numbers)} expected")
    for i, (found, expected) in enumerate(zip(got, known.numbers, strict=True)):
        if abs(found - expected) > known.tolerance:
            raise SelfTestFailed(
                f"{failed}: number {i} is {found:.4f}, not {expected:.4f} ± {known.tolerance:g}"
                f"{known.whose and f' as by {known.whose}'}; the file, or what computes it here, is not what this was "
                "tested with"
            )
