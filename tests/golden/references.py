"""Answers of other programs to the same pictures, and the arithmetic to hold ours against them.

How each file was made, and when it can agree, stands in ../shared/testdata/README.md.
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests.support import TESTDATA
from visage.backends.base import ModelFile, Preprocess
from visage.backends.onnx import open_session
from visage.faces import Detections, Floats, Image, ImageBatch, Pixels
from visage.families import family
from visage.families.base import Detector
from visage.images.decoding import Decoder, Limits
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching
from visage.zoo.store import Store

# Less overlap than this is another face.
_SAME_FACE = 0.5


def reference(name: str) -> Any:
    """The parsed file reference/`name`."""
    return _read(TESTDATA / "reference" / name)


def truth(name: str) -> Any:
    """The parsed file `name` about what is in the pictures."""
    return _read(TESTDATA / name)


def pairs(name: str) -> list[tuple[str, str, bool]]:
    """Two pictures and whether they show the same person."""
    with (TESTDATA / name).open(newline="", encoding="utf-8") as file:
        return [(row["imageA"], row["imageB"], row["same"] == "1") for row in csv.DictReader(file)]


def picture(name: str) -> Image:
    return decoded((TESTDATA / name).read_bytes())


def decoded(data: bytes) -> Image:
    return Decoder(Limits()).decode(data)


def model(family_name: str, path: Path, preprocess: Preprocess | None = None) -> Any:
    """The weights at `path` as an object of its family, fed as the family says or as `preprocess` does."""
    fed = preprocess or family(family_name).preprocess
    session = open_session(ModelFile(path.stem, path, "0" * 64, fed, len(os.sched_getaffinity(0))))
    return family(family_name).build(session, {})


def catalogued(models_dir: Path, name: str) -> Any:
    """The catalogue's model `name`, prepared and fed as it says."""
    entry = read_catalogue(models_dir)[name]
    return model(entry.family, Store(Fetching(models_dir)).prepare(entry).path, entry.fed())


def detected(detector: Detector, pixels: Pixels, scale: float, threshold: float) -> Detections:
    """The faces of one picture that fits the network's input already."""
    batch = ImageBatch(pixels[None], np.array([scale]))
    return detector.detect(batch, np.array([threshold], np.float32))[0]


def expected(faces: Sequence[dict[str, Any]]) -> Detections:
    """A reference's faces; its boxes are two corners, or one and a size."""
    boxes = [face["box_xyxy"] if "box_xyxy" in face else _corners(face["box_xywh"]) for face in faces]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([face["score"] for face in faces], np.float32),
        np.array([face["kps"] for face in faces], np.float32).reshape(-1, 5, 2),
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """One picture as two programs see it; m of the faces have a partner in the other's answer."""

    picture: str
    found: int
    expected: int
    overlaps: Floats  # (m,) intersection over union
    offsets: Floats  # (m,) largest distance of a landmark from its partner's, in widths of the face
    scores: Floats  # (m,) absolute difference


def compare(name: str, found: Detections, other: Detections) -> Comparison:
    """Each face beside the other program's that covers it best."""
    mine, theirs = partners(found.boxes, other.boxes)
    distances = np.linalg.norm(found.landmarks[mine] - other.landmarks[theirs], axis=2)  # (m, 5)
    return Comparison(
        name,
        len(found),
        len(other),
        overlaps(found.boxes, other.boxes)[mine, theirs],
        distances.max(axis=1, initial=0) / other.widths()[theirs],
        np.abs(found.scores[mine] - other.scores[theirs]),
    )


def deviations(comparisons: Iterable[Comparison], *, overlap: float, offset: float, score: float) -> list[str]:
    """What is beyond the limits, a line a picture; empty where both saw the same."""
    return [f"{seen.picture}: {what}" for seen in comparisons for what in _beyond(seen, overlap, offset, score)]


def partners(a: Floats, b: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which box of `a` (n, 4) goes with which of `b` (m, 4); exclusive, the best overlap first."""
    table = overlaps(a, b)
    mine: list[int] = []
    theirs: list[int] = []
    for flat in np.argsort(-table, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(b))
        if table[i, j] < _SAME_FACE:
            break
        if i not in mine and j not in theirs:
            mine.append(i)
            theirs.append(j)
    return np.array(mine, np.intp), np.array(theirs, np.intp)


def overlaps(a: Floats, b: Floats) -> Floats:
    """Intersection over union of every box with every box: (n, 4), (m, 4) → (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b)]
    table: Floats = shared / (areas[0][:, None] + areas[1][None] - shared)
    return table


def cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Of vectors of any length."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def roc_auc(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The probability that a pair of one person scores above a pair of two; ties count half."""
    positive, negative = scores[same][:, None], scores[~same][None]
    return float(np.mean((positive > negative) + 0.5 * (positive == negative)))


def _beyond(seen: Comparison, overlap: float, offset: float, score: float) -> Iterator[str]:
    if seen.found != seen.expected:
        yield f"{seen.found} faces, {seen.expected} expected"
    if len(seen.overlaps) < seen.expected:
        yield f"{seen.expected - len(seen.overlaps)} faces are elsewhere"
    if seen.overlaps.min(initial=1) < overlap:
        yield f"overlap {seen.overlaps.min():.4f}"
    if seen.offsets.max(initial=0) > offset:
        yield f"landmarks off by {seen.offsets.max():.4f} of a face's width"
    if seen.scores.max(initial=0) > score:
        yield f"score off by {seen.scores.max():.5f}"


def _corners(box: Sequence[float]) -> list[float]:
    left, top, width, height = box
    return [left, top, left + width, top + height]


@lru_cache
def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
