"""How right the networks are whose weights are at hand: `python benchmarks/accuracy.py [TESTDATA]`.

Prints the Markdown tables of docs/models.md. TESTDATA is a folder of labelled pictures and weights, ../shared/testdata
unless named; neither is part of this project. Every network is prepared, fed and read as its catalogue entry says, and
every picture comes through the decoder and the letterbox of the service, at most 640×640.
"""

import csv
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.backends.base import ModelFile
from visage.backends.onnx import open_session
from visage.faces import Detections, Floats, Image, ImageBatch, Pixels
from visage.families import family
from visage.families.base import Detector
from visage.geometry.alignment import align
from visage.geometry.letterbox import letterbox
from visage.images.decoding import Decoder, Limits
from visage.zoo.catalogue import Entry
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching
from visage.zoo.store import Store

REPO = Path(__file__).resolve().parents[1]
INPUT = (640, 640)
SAME_BOX = 0.5  # intersection over union

# Entry, its file of TESTDATA/models (None: in the installed package), the threshold that ../shared's references have.
DETECTORS = [
    ("yunet", None, 0.5),
    ("yunet_2023mar", "face_detection_yunet_2023mar", 0.5),
    ("yunet_n_dynamic", "yunet_n_dynamic", 0.5),
    ("scrfd_2.5g_bnkps", "scrfd_2.5g_bnkps", 0.6),
    ("scrfd_500m_bnkps", "scrfd_500m_bnkps", 0.6),
    ("scrfd_500m_bnkps", "det_500m", 0.6),
    ("retinaface_mnet025_v1", "retinaface_mnet025_v1", 0.6),
    ("mnet_cov2", "mnet_cov2", 0.6),
    ("centerface", "centerface", 0.6),
    ("yolov5n-0.5", "yolov5n-0.5", 0.6),
]
# What is written, the entry that says how to feed it, its file. MobileFaceNet is no catalogue model: its two files
# are fed as networks that normalise inside and as those that do not.
RECOGNISERS = [
    ("`sface`", "sface", None),
    ("`sface`, another file of its weights", "sface", "face_recognition_sface_2021dec_int8dq"),
    ("MobileFaceNet, normalising inside", "arcface_r100_v1", "mobilefacenet_arcface_y1"),
    ("MobileFaceNet, normalised outside", "glintr100", "mobilefacenet_arcface_y1_torchstyle"),
]
CATALOGUE = read_catalogue(REPO / "models")


def main() -> int:
    testdata = Path(sys.argv[1]) if len(sys.argv) > 1 else REPO.parent / "shared" / "testdata"
    if not testdata.is_dir():
        print(f"no labelled pictures and weights at {testdata}: nothing measured")
        return 0
    logging.disable(logging.WARNING)  # of files that no hash is known of
    measured = Measured(testdata)
    for title, part in (
        ("Detectors", measured.detection),
        ("Recognisers, portraits", lambda: measured.verification("pairs.csv", measured.portrait)),
        ("Recognisers, aligned crops", lambda: measured.verification("pairs_aligned112.csv", measured.crop)),
        ("Masks", measured.masks),
    ):
        print(f"### {title}\n", *part(), sep="\n", end="\n\n", flush=True)
    return 0


class Measured:
    """The tables, over one folder of pictures and weights."""

    def __init__(self, testdata: Path) -> None:
        self._testdata = testdata
        self._decoder = Decoder(Limits())
        self._finder: Detector = self._opened(CATALOGUE["yunet"], None)
        self.portrait = lru_cache(self._portrait)

    def detection(self) -> Iterator[str]:
        """Against WIDER FACE's boxes and against counted faces."""
        yield row("network", "file", "threshold", "recall", "precision", "mean IoU", "exact counts")
        yield row(*["---"] * 7)
        for name, file, threshold in DETECTORS:
            detector = self._opened(CATALOGUE[name], file)
            if detector is None:
                yield f"\n`{name}`: {file}.onnx is not at hand\n"
                continue
            recall, precision, overlap = self._against_boxes(detector, threshold)
            counts = self._against_counts(detector, threshold)
            numbers = (f"{recall:.3f}", f"{precision:.3f}", f"{overlap:.3f}", f"{sum(counts)}/{len(counts)}")
            yield row(f"`{name}`", file or "embedded", f"{threshold:g}", *numbers)

    def _against_boxes(self, detector: Detector, threshold: float) -> tuple[float, float, float]:
        """Recall, precision, mean overlap of the pairs."""
        annotated = found = 0
        good: list[float] = []
        for name, truth in self._read("wider_gt.json").items():
            boxes = detected(detector, self._picture(name), threshold).boxes
            wanted = np.array(truth["boxes_xyxy"], np.float32)
            annotated, found = annotated + len(wanted), found + len(boxes)
            good += partners(overlaps(boxes, wanted))
        return len(good) / annotated, len(good) / max(1, found), float(np.mean(good or [0]))

    def _against_counts(self, detector: Detector, threshold: float) -> list[bool]:
        exact = [truth for truth in self._read("detections.json") if truth["count_kind"] == "exact"]
        return [len(detected(detector, self._picture(t["image"]), threshold)) == t["faces"] for t in exact]

    def verification(self, pairs: str, crop: Callable[[str], Pixels | None]) -> Iterator[str]:
        """Is it the same person? By the cosine of two vectors."""
        with (self._testdata / pairs).open(newline="", encoding="utf-8") as file:
            labelled = [(line["imageA"], line["imageB"], line["same"] == "1") for line in csv.DictReader(file)]
        head = ("ROC-AUC", "best accuracy", "at", "lowest of one person", "highest of two")
        yield row("network", "pairs (of one person)", *head)
        yield row(*["---"] * 7)
        for title, name, weights in RECOGNISERS:
            embedder = self._opened(CATALOGUE[name], weights)
            if embedder is None:
                yield f"\n{title}: {weights}.onnx is not at hand\n"
                continue
            crops = {image: crop(image) for image in sorted({image for pair in labelled for image in pair[:2]})}
            vectors = {i: embedder.predict(c[None])[0].vector for i, c in crops.items() if c is not None}
            known = [(a, b, same) for a, b, same in labelled if a in vectors and b in vectors]
            scores = np.array([vectors[a] @ vectors[b] for a, b, _ in known], np.float64)
            same = np.array([same for _, _, same in known])
            best, threshold = best_accuracy(scores, same)
            ends = (f"{scores[same].min():.4f}", f"{scores[~same].max():.4f}")
            count = f"{len(known)} ({same.sum()})"
            yield row(title, count, f"{roc_auc(scores, same):.4f}", f"{best:.4f}", f"{threshold:.4f}", *ends)

    def masks(self) -> Iterator[str]:
        """Is a mask worn? From one half on."""
        yield row("network", "faces", "accuracy")
        yield row(*["---"] * 3)
        network = self._opened(CATALOGUE["mask_detector"], "mask_detector")
        if network is None:
            yield "\n`mask_detector`: mask_detector.onnx is not at hand\n"
            return
        cases = [(self.portrait(truth["image"]), bool(truth["mask"])) for truth in self._read("mask_labels.json")]
        told = [(network.predict(crop[None])[0].mask > 0.5) == worn for crop, worn in cases if crop is not None]
        yield row("`mask_detector`", f"{len(told)} of {len(cases)}", f"{np.mean(told):.4f}")

    def _portrait(self, name: str) -> Pixels | None:
        """The crop of the largest face as the embedded detector finds it, None where it finds none."""
        found = detected(self._finder, self._picture(name), 0.6)
        if not len(found):
            return None
        return align(self._picture(name).pixels, found.landmarks[found.areas().argmax()][None])[0]

    def crop(self, name: str) -> Pixels:
        """A picture that is a crop already."""
        return self._picture(name).pixels

    def _opened(self, entry: Entry, file: str | None) -> Any:
        """The network as the service opens it, whatever hash the catalogue has; None where its file is not at hand."""
        path = None if file is None else self._testdata / "models" / f"{file}.onnx"
        if path is not None and not path.is_file():
            return None
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Fetching(Path(folder), offline=True), (entry.licence.id,))
            if path is not None:
                entry = entry.model_copy(update={"sources": (), "sha256": None, "md5": None, "bytes": None})
                store.path(entry.name).parent.mkdir(parents=True)
                shutil.copyfile(path, store.path(entry.name))
            ready = store.prepare(entry)
            threads = len(os.sched_getaffinity(0))
            session = open_session(ModelFile(entry.name, ready.path, ready.sha256, entry.fed(), threads))
        return family(entry.family).build(session, entry.params)

    def _picture(self, name: str) -> Image:
        return self._decoder.decode((self._testdata / name).read_bytes())

    def _read(self, name: str) -> Any:
        return json.loads((self._testdata / name).read_text("utf-8"))


def detected(detector: Detector, picture: Image, threshold: float) -> Detections:
    sizes = detector.sizes
    pixels, scale = letterbox(picture.pixels, sizes.nearest(INPUT), None if sizes.fixed else sizes.stride)
    batch = ImageBatch(pixels[None], np.array([scale]))
    return detector.detect(batch, np.array([threshold], np.float32))[0]


def overlaps(a: Floats, b: Floats) -> Floats:
    """Intersection over union of every box with every box: (n, 4), (m, 4) → (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b)]
    table: Floats = shared / (areas[0][:, None] + areas[1][None] - shared)
    return table


def partners(table: Floats) -> list[float]:
    """The overlaps of the pairs that are the same face: exclusive, the best first."""
    left = table.copy()
    found = []
    while left.size and left.max() >= SAME_BOX:
        i, j = np.unravel_index(left.argmax(), left.shape)
        found.append(float(left[i, j]))
        left[i, :] = left[:, j] = -1
    return found


def roc_auc(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The probability that a pair of one person scores above a pair of two; ties count half."""
    one, two = scores[same][:, None], scores[~same][None]
    return float(np.mean((one > two) + 0.5 * (one == two)))


def best_accuracy(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> tuple[float, float]:
    """The accuracy of the threshold, among the scores, that serves these very pairs best, and that threshold."""
    accuracies = [float(((scores >= threshold) == same).mean()) for threshold in scores]
    best = int(np.argmax(accuracies))
    return accuracies[best], float(scores[best])


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |" if cells[0] != "---" else f"|{'|'.join(cells)}|"


if __name__ == "__main__":
    sys.exit(main())
