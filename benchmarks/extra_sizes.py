"""What DET_EXTRA_SIZES finds and what it costs: `python benchmarks/extra_sizes.py`, the table of docs/models.md.

Needs real weights and annotated pictures in ../shared/testdata; says so and ends well where they are absent.
"""

import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from visage.backends.base import ModelFile
from visage.backends.onnx import open_session
from visage.deadline import Deadline
from visage.faces import Floats
from visage.families import family
from visage.images.decoding import Decoder, Limits
from visage.pipeline import DetectionStage

TESTDATA = Path(__file__).resolve().parents[2] / "shared" / "testdata"
NETWORKS = (("scrfd_500m_bnkps", "scrfd"), ("scrfd_2.5g_bnkps", "scrfd"))
EXTRA: tuple[tuple[int, ...], ...] = ((), (128,), (320,), (128, 320))
CLOSE = ("ifr_TH.png", "uniface_image0.jpg", "uniface_image1.jpg")
THRESHOLD, SAME_FACE = 0.6, 0.5


@dataclass(slots=True)
class Seen:
    """What one choice of sizes found on all pictures; `costs`: its seconds by those of no extra size, a picture."""

    annotated: int = 0
    found: int = 0
    right: list[float] = field(default_factory=list)
    exact: int = 0
    counted: int = 0
    close: int = 0
    costs: list[float] = field(default_factory=list)


def main() -> int:
    if not TESTDATA.is_dir():
        print("skipped: ../shared/testdata (real weights and annotated pictures) is not beside the project")
        return 0
    print(f"640×640, threshold {THRESHOLD}; overlap from {SAME_FACE} is the same face\n")
    print("| network | extra sizes | recall | precision | mean overlap | exact counts | close faces | time |")
    print("|---|---|---|---|---|---|---|---|")
    for name, kind in NETWORKS:
        for extra, seen in measured(name, kind).items():
            print(row(name, extra, seen), flush=True)
    return 0


def measured(name: str, kind: str) -> dict[tuple[int, ...], Seen]:
    """Every choice of sizes on every picture, one after the other: a machine whose speed drifts drifts for all."""
    file = ModelFile(name, TESTDATA / "models" / f"{name}.onnx", "0" * 64, family(kind).preprocess, threads=1)
    detector = family(kind).build(open_session(file), {})
    stages = {extra: DetectionStage(detector, extra_sizes=[(side, side) for side in extra]) for extra in EXTRA}
    seen = {extra: Seen() for extra in EXTRA}
    for path, truth in read("wider_gt.json").items():
        wanted = np.array(truth["boxes_xyxy"], np.float32)
        answers = {extra: found(stage, path) for extra, stage in stages.items()}
        for extra, (boxes, seconds) in answers.items():
            seen[extra].annotated += len(wanted)
            seen[extra].found += len(boxes)
            seen[extra].right += matches(boxes, wanted)
            seen[extra].costs.append(seconds / answers[()][1])
    for picture in (picture for picture in read("detections.json") if picture["count_kind"] == "exact"):
        for extra, stage in stages.items():
            right = len(found(stage, picture["image"])[0]) == picture["faces"]
            seen[extra].counted += 1
            seen[extra].exact += right
            seen[extra].close += right and Path(picture["image"]).name in CLOSE
    for stage in stages.values():
        stage.close()
    return seen


def row(name: str, extra: tuple[int, ...], seen: Seen) -> str:
    return (
        f"| `{name}` | {', '.join(map(str, extra)) or 'none'} | {len(seen.right) / seen.annotated:.3f} | "
        f"{len(seen.right) / seen.found:.3f} | {statistics.fmean(seen.right):.3f} | {seen.exact}/{seen.counted} | "
        f"{seen.close}/{len(CLOSE)} | ×{statistics.median(seen.costs):.2f} |"
    )


def found(stage: DetectionStage, path: str) -> tuple[Floats, float]:
    """Boxes (n, 4), and the least seconds of three detections, without decoding."""
    image = Decoder(Limits()).decode((TESTDATA / path).read_bytes())
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        faces = stage.run(image, THRESHOLD, stage.input_size(None)[0], Deadline(60))[0]
        seconds.append(time.perf_counter() - started)
    return faces.boxes, min(seconds)


def matches(boxes: Floats, wanted: Floats) -> list[float]:
    """The overlaps (intersection over union) of pairs, each box in one at most, the best first."""
    low = np.maximum(boxes[:, None, :2], wanted[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], wanted[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (boxes, wanted)]
    table = shared / (areas[0][:, None] + areas[1][None] - shared)  # (n, m)
    pairs: list[float] = []
    while table.size and table.max() >= SAME_FACE:
        pairs.append(float(table.max()))
        mine, theirs = np.unravel_index(table.argmax(), table.shape)
        table[mine], table[:, theirs] = 0, 0
    return pairs


def read(name: str) -> Any:
    return json.loads((TESTDATA / name).read_text("utf-8"))


if __name__ == "__main__":
    sys.exit(main())
