"""What decoding large JPEGs at a fraction of their size would gain, and what it would cost: why it is not done.

Each picture is enlarged to LONG pixels and written as a JPEG. Full: decoded whole, fitted into 640×640, detected, crops
cut from it. Scaled: the JPEG decoder leaves out what is not wanted, at 1/2 and at the least fraction that is no smaller
than what is fitted. Prints Markdown: milliseconds of decoding and fitting, how far boxes (by their width) and scores
move, and the cosine between a face's two embeddings, where it has the 112 pixels in the scaled picture, too.
`../shared` is used where it is there. Needs prepared networks (`make prepare`).
"""

import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import uvloop

from visage.api.metrics import Metrics
from visage.deadline import Deadline
from visage.faces import Detections, Floats, Image, Pixels
from visage.geometry.alignment import CROP_SIZE, align
from visage.geometry.letterbox import fit_scale, letterbox
from visage.options import ExtractOptions
from visage.pipeline import FacePipeline
from visage.runtime import open_runtime
from visage.settings import Settings

REPO = Path(__file__).resolve().parents[1]
SHARED = REPO.parent / "shared" / "testdata" / "images"
LONG, INTO = 3000, (640, 640)
NEAR = 0.3  # of a face's width: what lies farther off is another face


@dataclass
class Comparison:
    """What one way of decoding did to all pictures."""

    full_ms: list[float] = field(default_factory=list)
    scaled_ms: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    faces: int = 0
    lost: int = 0


def pictures() -> Iterator[Pixels]:
    folders = [REPO / "misc" / "images", *(SHARED / name for name in ("verify", "detect", "wider"))]
    for path in sorted(path for folder in folders for path in folder.glob("*.jp*g")):
        picture = cv2.imread(str(path))
        if picture is not None:
            factor = LONG / max(picture.shape[:2])
            method = cv2.INTER_LANCZOS4 if factor > 1 else cv2.INTER_AREA
            yield np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=method), np.uint8)


def fraction(width: int, height: int, least: int) -> int:
    """The denominator, at most `least`, of a scaled picture no smaller than the fitted one."""
    return next(of for of in (8, 4, 2, 1) if of <= least and 1 / of >= fit_scale(width, height, INTO))


def decoded(data: bytes, of: int) -> tuple[Pixels, float]:
    """The picture at 1/`of`, and the milliseconds until it was fitted."""
    started = time.perf_counter()
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    least = {"min_height": -(-height // of), "min_width": -(-width // of), "min_factor": of}
    pixels = simplejpeg.decode_jpeg(data, "BGR", **least)
    assert pixels.shape[:2] == (least["min_height"], least["min_width"])
    letterbox(pixels, INTO)
    return pixels, (time.perf_counter() - started) * 1000


def compare(pipeline: FacePipeline, data: bytes, of: int, into: Comparison) -> None:
    full, full_ms = decoded(data, 1)
    scaled, scaled_ms = decoded(data, of)
    into.full_ms.append(full_ms)
    into.scaled_ms.append(scaled_ms)
    enlarged = np.array([full.shape[1] / scaled.shape[1], full.shape[0] / scaled.shape[0]], np.float32)
    whole, less = found(pipeline, full), found(pipeline, scaled)
    boxes = less.boxes * np.tile(enlarged, 2)
    into.faces += len(whole)
    for i, (box, width) in enumerate(zip(whole.boxes, whole.widths(), strict=True)):
        off = np.abs(boxes - box).max(axis=1) / width if len(boxes) else np.array([np.inf])
        j = int(off.argmin())
        if off[j] > NEAR:
            into.lost += 1
            continue
        into.moved.append(float(off[j]))
        into.scores.append(abs(float(less.scores[j] - whole.scores[i])))
        if width / of >= CROP_SIZE:
            one, two = vector(pipeline, full, whole.landmarks[i]), vector(pipeline, scaled, less.landmarks[j])
            into.cosines.append(float(one @ two))


def found(pipeline: FacePipeline, pixels: Pixels) -> Detections:
    assert pipeline.detection is not None
    return pipeline.detection.run(Image(pixels), 0.6, INTO, Deadline(60))[0]


def vector(pipeline: FacePipeline, pixels: Pixels, landmarks: Floats) -> Floats:
    assert pipeline.embedding is not None
    return pipeline.embedding.run(align(pixels, landmarks[None]), Deadline(60))[0].vector


async def run() -> None:
    settings, _ = Settings.load(
        {"MODELS_DIR": os.environ.get("MODELS_DIR", str(REPO / "models")), "LOG_LEVEL": "ERROR"}
    )
    runtime = open_runtime(settings, Metrics())
    print(
        "| decoded at | full, ms | scaled, ms | faces | lost | box moved, median / 95 % / most | score moved, most | ",
        end="",
    )
    print("cosine, least / median | below 0.999 |\n|---|---|---|---|---|---|---|---|---|")
    async with runtime.service.rack.lent(ExtractOptions(), Deadline(3600)) as pipeline:
        for least, name in ((2, "1/2"), (8, "1/2, 1/4 or 1/8")):
            result = Comparison()
            for picture in pictures():
                data = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), 90, "BGR", "420")
                of = fraction(picture.shape[1], picture.shape[0], least)
                if of > 1:
                    compare(pipeline, data, of, result)
            print(line(name, result))
    await runtime.aclose()


def line(name: str, r: Comparison) -> str:
    median, high, most = np.quantile(r.moved, [0.5, 0.95, 1])
    worst = sum(cosine < 0.999 for cosine in r.cosines)
    return (
        f"| {name} | {statistics.median(r.full_ms):.1f} | {statistics.median(r.scaled_ms):.1f} | "
        f"{r.faces} | {r.lost} | {median:.2%} / {high:.2%} / {most:.2%} | {max(r.scores):.3f} | "
        f"{min(r.cosines):.4f} / {statistics.median(r.cosines):.4f} | {worst} of {len(r.cosines)} |"
    )


if __name__ == "__main__":
    sys.exit(uvloop.run(run()))
