"""RetinaFace, CenterFace and YOLOv5-face against the reference service's own detector classes.

Each network is prepared, fed and built as its catalogue entry says.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden.references import (
    compare,
    detected,
    deviations,
    expected,
    model,
    overlaps,
    partners,
    picture,
    reference,
)
from tests.support import LICENCES, by_hand, models_folder
from visage.backends.base import ModelFile, Sizes
from visage.backends.onnx import open_session
from visage.deadline import Deadline
from visage.faces import Detections, ImageBatch, Pixels
from visage.families import family
from visage.families.base import Detector
from visage.geometry.letterbox import letterbox
from visage.pipeline import DetectionStage
from visage.zoo.reading import read_catalogue
from visage.zoo.sources import Fetching
from visage.zoo.store import Store

CLOSE = ["ifr_TH.png", "uniface_image0.jpg", "uniface_image1.jpg"]
FACES = {"retinaface_mnet025_v1": 228, "mnet_cov2": 194, "centerface": 228, "yolov5n-0.5": 321}
THRESHOLD = 0.6


@pytest.fixture(scope="module")
def detector(testdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The catalogue's detector of a name, its file put by hand; loaded once."""
    files = {name: testdata / "models" / f"{name}.onnx" for name in FACES}
    folder = models_folder(tmp_path_factory.mktemp("models"), {name: by_hand(name) for name in FACES}, files)
    loaded: dict[str, Any] = {}

    def named(name: str) -> Any:
        if name not in loaded:
            entry = read_catalogue(folder)[name]
            ready = Store(Fetching(folder), LICENCES).prepare(entry)
            session = open_session(ModelFile(name, ready.path, ready.sha256, entry.fed(), threads=2))
            loaded[name] = family(entry.family).build(session, entry.params)
        return loaded[name]

    return named


@pytest.fixture(scope="module")
def fitted(testdata: Path) -> dict[str, tuple[Pixels, float]]:
    """The 72 pictures of the reference in its letterbox, with their scales."""
    pictures = reference("ifr_original_detectors_640.json")["images"]
    return {path: letterbox(picture(path).pixels, (640, 640)) for path in pictures}


@pytest.mark.parametrize("name", FACES)
def test_letterboxed_pictures_give_what_the_reference_services_detectors_give(
    detector: Callable[[str], Detector], fitted: dict[str, tuple[Pixels, float]], name: str
) -> None:
    # Measured on 72 pictures: as many faces on each, overlap from 0.9993 (the references are printed to two
    # decimals of a pixel), landmarks within 0.04 % of a face's width, scores within 1.5e-5.
    answers = reference("ifr_original_detectors_640.json")["images"]
    seen = [
        compare(path, detected(detector(name), *fit, THRESHOLD), expected(answers[path][name]))
        for path, fit in fitted.items()
    ]
    assert sum(one.expected for one in seen) == FACES[name]
    assert deviations(seen, overlap=0.998, offset=1e-3, score=1e-4) == []


def test_mask_probabilities_are_what_the_reference_computes_fault_14(
    detector: Callable[[str], Detector], fitted: dict[str, tuple[Pixels, float]]
) -> None:
    # Measured: within 6e-6.
    mine: list[float] = []
    theirs: list[float] = []
    for path, answers in reference("ifr_original_detectors_640.json")["images"].items():
        faces = answers["mnet_cov2"]
        if any(face["mask_score"] > 0.01 for face in faces):
            found = detected(detector("mnet_cov2"), *fitted[path], THRESHOLD)
            assert found.masks is not None
            ours, others = partners(found.boxes, expected(faces).boxes)
            mine += found.masks[ours].tolist()
            theirs += [faces[i]["mask_score"] for i in others]
    assert mine == pytest.approx(theirs, abs=1e-4)
    assert sum(score >= 0.2 for score in theirs) >= 2 and sum(score < 0.2 for score in theirs) >= 2


@pytest.mark.parametrize("name", FACES)
def test_pictures_of_a_batch_are_answered_as_each_alone(
    detector: Callable[[str], Detector], fitted: dict[str, tuple[Pixels, float]], name: str
) -> None:
    pair = [fitted[f"images/detect/{file}"] for file in ("insight_t1.jpg", "ifr_mask.jpg")]
    batch = ImageBatch(np.stack([pixels for pixels, _ in pair]), np.array([scale for _, scale in pair]))
    together = detector(name).detect(batch, np.array([0.5, 0.5], np.float32))
    alone = [detected(detector(name), pixels, scale, 0.5) for pixels, scale in pair]

    assert all(len(found) > 2 for found in alone)
    seen = [compare(name, found, other) for found, other in zip(together, alone, strict=True)]
    assert deviations(seen, overlap=0.9999, offset=1e-4, score=1e-5) == []


def test_a_centerface_of_any_batch_and_size_is_made_of_the_one_that_is_published(
    detector: Callable[[str], Detector], testdata: Path
) -> None:
    """The file declares ten pictures of 32×32."""
    assert detector("centerface").sizes == Sizes()
    pixels = picture("images/detect/insight_t1.jpg").pixels
    found = [detected(detector("centerface"), *letterbox(pixels, size), THRESHOLD) for size in ((640, 640), (480, 320))]

    assert [len(faces) for faces in found] == [6, 6]
    seen = compare("480×320", found[1], found[0])
    assert len(seen.overlaps) == 6 and seen.overlaps.min() > 0.8


# -- further sizes ------------------------------------------------------------------------------------------------


def seen(detector: Any, path: str, *extra: tuple[int, int]) -> Detections:
    stage = DetectionStage(detector, square=True, extra_sizes=extra)
    try:
        return stage.run(picture(path), THRESHOLD, (640, 640), Deadline(60))[0]
    finally:
        stage.close()


@pytest.mark.parametrize("name", CLOSE)
def test_a_close_face_that_scrfd_misses_is_found_at_a_small_size(testdata: Path, name: str) -> None:
    # Measured at 640×640 alone: uniface_image1.jpg has its face, the other two have none; with 128 scores from 0.69.
    detector = model("scrfd", testdata / "models" / "scrfd_500m_bnkps.onnx")
    found = seen(detector, f"images/detect/{name}", (128, 128))
    assert len(found) == 1
    if name != "uniface_image1.jpg":
        assert len(seen(detector, f"images/detect/{name}")) == 0


@pytest.mark.parametrize("name", [*FACES, "scrfd_500m_bnkps"])
def test_a_further_size_loses_no_face_of_the_first_and_makes_none_twice(
    detector: Callable[[str], Any], testdata: Path, name: str
) -> None:
    # A face that both sizes see is answered once, by the better of the two.
    scrfd = testdata / "models" / "scrfd_500m_bnkps.onnx"
    network = model("scrfd", scrfd) if name.startswith("scrfd") else detector(name)
    for path in ("images/detect/insight_t1.jpg", "images/detect/ifr_Stallone.jpg", "images/wider/w_12_12_411.jpg"):
        one, both = seen(network, path), seen(network, path, (128, 128), (320, 320))
        assert len(one) > 0
        mine, _ = partners(one.boxes, both.boxes)
        assert len(mine) == len(one) and len(both) <= len(one) + 1, (path, len(one), len(both))
        table = overlaps(both.boxes, both.boxes) - np.eye(len(both))
        assert table.max() <= 0.42  # the family's 0.4 counts a box's last pixel
