"""Pictures padded to the next multiple of 32 against the same pictures padded to 640×640, as the reference pads them.

The networks see the same pixels, but not the same black: near the end of its input a convolution sees its own zeros
where in the square it sees what becomes of black. That moves faces at the picture's edge a little, and hardly any other.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.catalogued import opened, real_file
from tests.golden.references import catalogued, overlaps, partners, picture, truth
from tests.support import REPO
from visage.backends.base import Sizes
from visage.deadline import Deadline
from visage.faces import Detections, Floats, Image
from visage.geometry.letterbox import letterbox
from visage.pipeline import DetectionStage
from visage.zoo.reading import read_catalogue

NETWORKS = [
    "yunet",
    pytest.param("yunet_2023mar", marks=pytest.mark.slow),
    pytest.param("yunet_n_dynamic", marks=pytest.mark.slow),
    "scrfd_500m_bnkps",
    pytest.param("scrfd_2.5g_bnkps", marks=pytest.mark.slow),
    pytest.param("retinaface_mnet025_v1", marks=pytest.mark.slow),
    "mnet_cov2",
    pytest.param("centerface", marks=pytest.mark.slow),
]
SERVED, LOWER = 0.6, 0.5
# A face whose score is this close to the threshold may be found one way only.
MARGIN = 0.03
OVERLAP = 0.94

# Who overlaps less with itself: each of them is cut by the picture's edge, or close to it.
TH, LUMIA, MASK = (f"images/detect/{name}" for name in ("ifr_TH.png", "ifr_lumia.jpg", "ifr_mask.jpg"))
# TH: a face that fills a picture whose canvas, 448×448, has no padding at all; in the square YuNet and CenterFace guess
# its chin below the picture. CenterFace cuts boxes at the end of its input, which is the picture's here.
# LUMIA: heads of a group cut by the lower edge, or (yunet_n_dynamic) near it; MASK: a face cut by the upper edge, near the right one.
MOVED: dict[str, dict[str, list[float]]] = {
    "yunet": {TH: [0.922], LUMIA: [0.871, 0.930]},
    "yunet_2023mar": {TH: [0.924], LUMIA: [0.931]},
    "yunet_n_dynamic": {TH: [0.934], LUMIA: [0.929]},
    "scrfd_500m_bnkps": {LUMIA: [0.887]},
    "retinaface_mnet025_v1": {MASK: [0.850]},
    "centerface": {TH: [0.858], LUMIA: [0.898]},
}
# Whose score differs by more than the margin and who is therefore found one way only, at the threshold 0.5: a hidden
# face at the lower edge of a 4:3 picture, which is the canvas's, has 0.554 in the square and 0.485 without black below.
ONE_WAY: dict[str, list[str]] = {"scrfd_500m_bnkps": ["images/wider/w_54_54_420.jpg: in the square only, score 0.554"]}


class Stages:
    """One network shown pictures both ways."""

    def __init__(self, detector: Any) -> None:
        self.square = DetectionStage(detector, square=True)
        self.fitted = DetectionStage(detector)

    def both(self, image: Image, threshold: float) -> tuple[Detections, Detections]:
        """In the square, and with no more padding than needed."""
        found = []
        for stage in (self.square, self.fitted):
            size, _ = stage.input_size(None)
            found.append(stage.run(image, threshold, size, Deadline(100))[0])
        return found[0], found[1]

    def close(self) -> None:
        self.square.close()
        self.fitted.close()


Both = dict[str, tuple[Detections, Detections]]


@pytest.fixture(params=NETWORKS)
def network(
    request: pytest.FixtureRequest, testdata: Path, models_dir: Path, tmp_path: Path
) -> Iterator[tuple[str, Stages]]:
    name: str = request.param
    entry, file = read_catalogue(REPO / "models")[name], real_file(name)
    detector = opened(entry, file, tmp_path) if file else catalogued(models_dir, name)
    with closing(Stages(detector)) as stages:
        yield name, stages


def test_the_same_faces_are_found_as_in_the_square(network: tuple[str, Stages], testdata: Path) -> None:
    name, stages = network
    folders = [testdata / "images" / name for name in ("detect", "wider")]
    names = [str(path.relative_to(testdata)) for folder in folders for path in sorted(folder.iterdir())]
    assert len(names) == 72
    seen = {path: stages.both(picture(path), LOWER) for path in names}

    # Measured: of 72 pictures' 194…363 faces (at 0.6) at most two, near the threshold, are found one way only.
    forgiven = "near the threshold, and forgiven: " + "; ".join([*near(seen, SERVED), *near(seen, LOWER)])
    assert one_way(seen, SERVED) == [], forgiven
    assert one_way(seen, LOWER) == ONE_WAY.get(name, []), forgiven
    assert len(near(seen, SERVED)) <= 2 and len(near(seen, LOWER)) <= 2, forgiven
    moved = {path: sorted(low) for path, both in seen.items() if (low := below(*both))}
    expected = MOVED.get(name, {})
    assert {path: len(low) for path, low in moved.items()} == {path: len(low) for path, low in expected.items()}
    for path, low in moved.items():
        assert low == pytest.approx(expected[path], abs=0.01), path
    for threshold in (SERVED, LOWER):
        assert recalled(seen, threshold, 1) >= recalled(seen, threshold, 0) >= 0.7
        assert counted(seen, threshold, 1) >= counted(seen, threshold, 0) >= 28


def test_a_network_of_one_size_keeps_its_square(testdata: Path, tmp_path: Path) -> None:
    file = real_file("yolov5n-0.5")
    assert file is not None
    detector = opened(read_catalogue(REPO / "models")["yolov5n-0.5"], file, tmp_path)
    assert detector.sizes == Sizes((640, 640))
    with closing(Stages(detector)) as stages:
        square, fitted = stages.both(picture(LUMIA), SERVED)
    assert len(square) > 10
    assert (square.boxes == fitted.boxes).all() and (square.scores == fitted.scores).all()


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (40, 900), (900, 40)])
def test_the_thinnest_pictures_have_no_face_and_no_fault(network: tuple[str, Stages], size: tuple[int, int]) -> None:
    _, stages = network
    width, height = size
    noise = np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)
    for found in stages.both(Image(noise), SERVED):
        assert len(found) == 0


def test_a_face_in_a_strip_is_found_where_it_stands(network: tuple[str, Stages]) -> None:
    """Canvases of 5 cells of the coarsest stride by 20, lying and standing: a face of 40 pixels is where it was.

    Measured: overlap from 0.897 (mnet_cov2), the strip being all edge; in a mistaken column it would be 0.
    """
    name, stages = network
    face, _ = letterbox(picture("images/detect/ifr_Stallone.jpg").pixels, (160, 160))
    for before in ((0, 480), (480, 0), (224, 256)):
        for pixels in (np.pad(face, ((0, 0), before, (0, 0))), np.pad(face, (before, (0, 0), (0, 0)))):
            square, fitted = stages.both(Image(pixels), SERVED)
            assert len(square) == len(fitted) == 1, (name, pixels.shape)
            assert overlaps(square.boxes, fitted.boxes).min() > 0.85, (name, pixels.shape)


def above(found: Detections, threshold: float) -> Detections:
    return found[found.scores >= threshold]


def alone(both: tuple[Detections, Detections], threshold: float) -> Iterator[tuple[str, float]]:
    """Where a face was found that the other way has not, and its score."""
    square, fitted = (above(found, threshold) for found in both)
    mine, theirs = partners(square.boxes, fitted.boxes)
    for how, found, paired in (("in the square", square, mine), ("without it", fitted, theirs)):
        yield from ((how, float(score)) for score in np.delete(found.scores, paired))


def one_way(seen: Both, threshold: float) -> list[str]:
    return [
        f"{path}: {how} only, score {score:.3f}"
        for path, both in seen.items()
        for how, score in alone(both, threshold)
        if score > threshold + MARGIN
    ]


def near(seen: Both, threshold: float) -> list[str]:
    """The faces that the margin forgives, a line each."""
    return [
        f"{path}, threshold {threshold}: {how} only, score {score:.3f}"
        for path, both in seen.items()
        for how, score in alone(both, threshold)
        if score <= threshold + MARGIN
    ]


def below(square: Detections, fitted: Detections) -> list[float]:
    """The overlaps (intersection over union) of faces with themselves that fall short."""
    pairs: Floats = overlaps(square.boxes, fitted.boxes)[partners(square.boxes, fitted.boxes)]
    return [float(one) for one in pairs if one < OVERLAP]


def recalled(seen: Both, threshold: float, way: int) -> float:
    """The part of WIDER FACE's annotated boxes that are found."""
    boxes = {path: np.array(known["boxes_xyxy"], np.float32) for path, known in truth("wider_gt.json").items()}
    found = sum(len(partners(above(seen[path][way], threshold).boxes, wanted)[0]) for path, wanted in boxes.items())
    return found / sum(map(len, boxes.values()))


def counted(seen: Both, threshold: float, way: int) -> int:
    """On how many pictures just as many faces are found as there are."""
    exact = [known for known in truth("detections.json") if known["count_kind"] == "exact"]
    return sum(len(above(seen[known["image"]][way], threshold)) == known["faces"] for known in exact)
