"""What a detection costs in the square and with no more padding than needed: `python benchmarks/rectangular.py`.

Prints the table of docs/performance.md: the detection stage alone (fitting, network, decoding, suppression) on noise of
usual shapes, both ways in turn, as the median of their ratios. The default detector needs nothing but this repository;
SCRFD 2.5g stands in the table where ../shared has its weights.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from visage.backends.base import ModelFile, Sizes
from visage.backends.onnx import open_session
from visage.deadline import Deadline
from visage.faces import Image
from visage.families import family
from visage.geometry.letterbox import letterbox
from visage.pipeline import DetectionStage
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching
from visage.zoo.store import Store

REPO = Path(__file__).resolve().parents[1]
WEIGHTS = REPO.parent / "shared" / "testdata" / "models"
PICTURES = {"16:9": (1280, 720), "4:3": (1280, 960), "3:4": (960, 1280), "880×1076": (880, 1076), "1:1": (1000, 1000)}
THREADS = (1, 2)
THRESHOLD, WARM, ROUNDS = 0.6, 3, 15


def main() -> int:
    print("| network | threads | picture | network's input | square | fitted | square ÷ fitted |")
    print("|---|---|---|---|---|---|---|")
    for threads in THREADS:
        for file, kind in networks(threads):
            detector = family(kind).build(open_session(file), {})
            with closing(DetectionStage(detector, square=True)) as square, closing(DetectionStage(detector)) as fitted:
                for title, size in PICTURES.items():
                    print(row(file, title, size, square, fitted), flush=True)
    return 0


def networks(threads: int) -> Iterator[tuple[ModelFile, str]]:
    """The detectors at hand, each with its family."""
    entry = read_catalogue(REPO / "models")["yunet"]
    ready = Store(Fetching(REPO / "models", offline=True)).prepare(entry)
    yield ModelFile(entry.name, ready.path, ready.sha256, entry.fed(), threads), entry.family
    path = WEIGHTS / "scrfd_2.5g_bnkps.onnx"
    if path.is_file():
        yield ModelFile(path.stem, path, "0" * 64, family("scrfd").preprocess, threads), "scrfd"


def row(file: ModelFile, title: str, size: tuple[int, int], square: DetectionStage, fitted: DetectionStage) -> str:
    width, height = size
    image = Image(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    for _ in range(WARM):
        seconds(square, image), seconds(fitted, image)
    pairs = [(seconds(square, image), seconds(fitted, image)) for _ in range(ROUNDS)]
    before, after = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    rows, columns, _ = letterbox(image.pixels, fitted.input_size(None)[0], Sizes().stride)[0].shape
    return (
        f"| `{file.name}` | {file.threads} | {title} | {columns}×{rows} | {before:.1f} ms | {after:.1f} ms | "
        f"{ratio:.2f} |"
    )


def seconds(stage: DetectionStage, image: Image) -> float:
    started = time.perf_counter()
    stage.run(image, THRESHOLD, stage.input_size(None)[0], Deadline(60))
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
