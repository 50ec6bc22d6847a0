"""YuNet against OpenCV 4.12's FaceDetectorYN: the same pictures at their own size, 722 faces on 130 pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.golden.references import catalogued, compare, detected, deviations, expected, model, picture, reference
from tests.networks import rewritten
from visage.faces import Pixels
from visage.families.base import Detector

CROWD = "images/detect/ifr_lumia.jpg"
THRESHOLD = 0.5


@pytest.fixture(scope="module")
def float_yunet(testdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The weights that the references were made with, for any size."""
    path = tmp_path_factory.mktemp("yunet") / "yunet_float.onnx"
    rewritten(testdata / "models" / "face_detection_yunet_2023mar.onnx", path, ("dynamic_batch", "dynamic_size"))
    return model("yunet", path)


@pytest.fixture(scope="module")
def embedded_yunet(testdata: Path, models_dir: Path) -> Any:
    """The catalogue's copy: the same network, its weights rounded to 8 bits."""
    return catalogued(models_dir, "yunet")


def test_the_float_weights_see_what_opencv_sees(float_yunet: Detector) -> None:
    # Required: overlap 0.95, landmarks within 2 %. Measured: overlap from 0.9974, landmarks within 0.07 %,
    # scores within 6e-6; the references are printed to two decimals of a pixel.
    seen = [compare(name, found, other) for name, found, other in _answers(float_yunet)]
    assert sum(one.expected for one in seen) == 722
    assert deviations(seen, overlap=0.99, offset=0.005, score=1e-3) == []


def test_the_embedded_copy_sees_what_the_float_weights_see(embedded_yunet: Detector) -> None:
    # Measured: the same number of faces on every picture; overlap from 0.887, landmarks within 7.2 % of the
    # width, scores within 0.061.
    seen = [compare(name, found, other) for name, found, other in _answers(embedded_yunet) if name != CROWD]
    assert deviations(seen, overlap=0.85, offset=0.1, score=0.1) == []


def test_the_embedded_copy_sees_the_crowd_that_the_float_weights_see(embedded_yunet: Detector) -> None:
    # Measured: 452 faces of 452, 446 of them with an overlap from 0.94. For four of the others NMS keeps the
    # neighbouring cell's box (overlap from 0.73), whose score differs by less than the rounding of the
    # weights moves it; two with scores around 0.5 and 0.6 are faces that only one of the two copies keeps.
    found, other = next((found, other) for name, found, other in _answers(embedded_yunet) if name == CROWD)
    assert len(found) == pytest.approx(len(other), rel=0.03)
    assert np.count_nonzero(compare(CROWD, found, other).overlaps >= 0.85) >= 0.98 * len(other)


def _answers(detector: Detector) -> Iterator[tuple[str, Any, Any]]:
    """Every picture's name, its faces as `detector` sees them and as OpenCV does."""
    for name, seen in reference("opencv_yunet_sface.json")["images"].items():
        if "faces" in seen:
            pixels = _padded(_scaled(picture(name).pixels, seen["scale"]))
            yield name, detected(detector, pixels, seen["scale"], THRESHOLD), expected(seen["faces"])


def _scaled(pixels: Pixels, scale: float) -> Pixels:
    if scale == 1:
        return pixels
    return np.asarray(cv2.resize(pixels, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _padded(pixels: Pixels) -> Pixels:
    """Black on the right and below, up to multiples of 32."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, -height % 32), (0, -width % 32), (0, 0)))
