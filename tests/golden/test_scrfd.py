"""SCRFD against the insightface package and against the reference service's own detector classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.golden.references import compare, detected, deviations, expected, model, picture, reference
from visage.faces import ImageBatch, Pixels
from visage.families.base import Detector
from visage.geometry.letterbox import letterbox

INPUT = (640, 640)
FILES = ("scrfd_500m_bnkps", "scrfd_2.5g_bnkps", "det_500m")


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def scrfd(testdata: Path) -> Callable[[str], Any]:
    """The detector of a file, loaded once."""
    loaded: dict[str, Any] = {}

    def named(name: str) -> Any:
        if name not in loaded:
            loaded[name] = model("scrfd", testdata / "models" / f"{name}.onnx")
        return loaded[name]

    return named


@pytest.mark.parametrize(
    ("name", "faces"), [("scrfd_500m_bnkps", 351), slow("scrfd_2.5g_bnkps", 394), ("det_500m", 351)]
)
def test_pictures_that_fill_the_input_give_what_the_insightface_package_gives(
    scrfd: Callable[[str], Detector], name: str, faces: int
) -> None:
    # Required: overlap 0.98. Measured on 130 pictures: overlap from 0.9990, landmarks within 0.06 %, scores
    # within 1e-5; the references are printed to two decimals of a pixel.
    seen = []
    for path, answers in reference("insightface_scrfd.json")["images"].items():
        if name in answers:
            found = detected(scrfd(name), *_filled(picture(path).pixels), 0.5)
            seen.append(compare(path, found, expected(answers[name])))
    assert sum(one.expected for one in seen) == faces
    assert deviations(seen, overlap=0.995, offset=0.005, score=1e-3) == []


@pytest.mark.parametrize(("name", "faces"), [("scrfd_500m_bnkps", 249), slow("scrfd_2.5g_bnkps", 279)])
def test_letterboxed_pictures_give_what_the_reference_services_detectors_give(
    scrfd: Callable[[str], Detector], name: str, faces: int
) -> None:
    # Measured on 72 pictures: overlap from 0.9992, landmarks within 0.05 %, scores within 1e-5.
    seen = []
    for path, answers in reference("ifr_original_detectors_640.json")["images"].items():
        pixels, scale = letterbox(picture(path).pixels, INPUT)
        assert scale == pytest.approx(answers["scale"], abs=1e-6), path
        seen.append(compare(path, detected(scrfd(name), pixels, scale, 0.6), expected(answers[name])))
    assert sum(one.expected for one in seen) == faces
    assert deviations(seen, overlap=0.998, offset=1e-3, score=1e-4) == []


@pytest.mark.parametrize("name", FILES)
def test_pictures_of_a_batch_are_answered_as_each_alone(scrfd: Callable[[str], Detector], name: str) -> None:
    """det_500m's outputs have no batch axis: its file takes one picture a run."""
    fitted = [letterbox(picture(f"images/detect/{file}").pixels, INPUT) for file in ("insight_t1.jpg", "ifr_mask.jpg")]
    batch = ImageBatch(np.stack([pixels for pixels, _ in fitted]), np.array([scale for _, scale in fitted]))
    together = scrfd(name).detect(batch, np.array([0.5, 0.5], np.float32))
    alone = [detected(scrfd(name), pixels, scale, 0.5) for pixels, scale in fitted]
    assert [len(found) for found in together] == [6, 4]
    seen = [compare(name, found, other) for found, other in zip(together, alone, strict=True)]
    assert deviations(seen, overlap=0.9999, offset=1e-4, score=1e-5) == []


def test_the_letterboxs_margin_saves_a_tight_crop_that_fills_the_input_in_vain(
    scrfd: Callable[[str], Detector],
) -> None:
    """208×208 pixels, all face: enlarged 3.1 times its score is 0.28, enlarged 2.2 times with a margin 0.80."""
    pixels = picture("images/detect/uniface_image1.jpg").pixels
    assert len(detected(scrfd("scrfd_500m_bnkps"), *_filled(pixels), 0.6)) == 0
    assert len(detected(scrfd("scrfd_500m_bnkps"), *letterbox(pixels, INPUT), 0.6)) == 1


def test_the_letterboxs_margin_spares_a_second_box_that_enlarging_makes_up(scrfd: Callable[[str], Detector]) -> None:
    pixels = picture("images/detect/ifr_Stallone.jpg").pixels
    assert len(detected(scrfd("scrfd_2.5g_bnkps"), *_filled(pixels), 0.5)) == 2
    assert len(detected(scrfd("scrfd_2.5g_bnkps"), *letterbox(pixels, INPUT), 0.5)) == 1


def _filled(pixels: Pixels) -> tuple[Pixels, float]:
    """The insightface package's own fit: as large as goes, small pictures too, sides cut to whole pixels."""
    height, width = pixels.shape[:2]
    ratio = height / width
    size = (int(INPUT[1] / ratio), INPUT[1]) if ratio > INPUT[1] / INPUT[0] else (INPUT[0], int(INPUT[0] * ratio))
    canvas = np.zeros((INPUT[1], INPUT[0], 3), np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(pixels, size)
    return canvas, size[1] / height
