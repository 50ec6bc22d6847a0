"""Embeddings against OpenCV's FaceRecognizerSF and the insightface package, given their landmarks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden.references import catalogued, cosine, model, picture, reference
from visage.backends.base import Preprocess
from visage.faces import Pixels
from visage.geometry.alignment import align

# What a case is: the picture's name, the aligned crop, the raw embedding that another program made of it.
Case = tuple[str, Pixels, list[float]]


@pytest.fixture(scope="module")
def sface(testdata: Path, models_dir: Path) -> Any:
    return catalogued(models_dir, "sface")


@pytest.fixture(scope="module", params=["mobilefacenet_arcface_y1", "mobilefacenet_arcface_y1_torchstyle"])
def mobilefacenet(testdata: Path, request: pytest.FixtureRequest) -> Any:
    """One network in two files: the first normalises inside, the second leaves it to the family."""
    inside = Preprocess(0.0, 1.0, "rgb") if request.param == "mobilefacenet_arcface_y1" else None
    return model("arcface", testdata / "models" / f"{request.param}.onnx", inside)


def test_the_embedded_sface_gives_opencvs_vectors(sface: Any) -> None:
    # Measured on 69 faces: cosine from 0.99992, norm within 0.2 %.
    assert _deviations(sface, list(_of_opencv())) == []


def test_the_embedded_sface_gives_the_insightface_packages_vectors(sface: Any) -> None:
    # Measured on 70 faces: cosine from 0.99998, norm within 0.1 %.
    assert _deviations(sface, list(_of_insightface("sface"))) == []


def test_mobilefacenet_gives_the_insightface_packages_vectors(mobilefacenet: Any) -> None:
    # Measured on 70 faces, the same for both files: cosine from 0.99998, norm within 0.07 %.
    assert _deviations(mobilefacenet, list(_of_insightface("mobilefacenet_y1"))) == []


@pytest.mark.parametrize(("program", "count"), [("opencv", 69), ("insightface", 70)])
@pytest.mark.usefixtures("testdata")
def test_no_reference_vector_is_left_out(program: str, count: int) -> None:
    """One portrait of OpenCV's 58 was scaled, and its landmarks with it: its vector cannot agree."""
    cases = _of_opencv() if program == "opencv" else _of_insightface("sface")
    assert sum(1 for _ in cases) == count


def _deviations(embedder: Any, cases: list[Case]) -> list[str]:
    """The pictures whose vector is another: cosine below 0.999 (the requirement), or a norm 1 % off."""
    answers = embedder.predict(np.stack([crop for _, crop, _ in cases]))
    told = [
        (name, cosine(answer.vector, other), answer.norm / float(np.linalg.norm(other)))
        for answer, (name, _, other) in zip(answers, cases, strict=True)
    ]
    return [
        f"{name}: cosine {alike:.5f}, norm × {ratio:.4f}"
        for name, alike, ratio in told
        if alike < 0.999 or abs(ratio - 1) > 0.01
    ]


def _of_opencv() -> Iterator[Case]:
    for name, seen in reference("opencv_yunet_sface.json")["images"].items():
        if seen.get("scale", 1) == 1:
            yield from _cases(name, seen, seen.get("faces", ()), "embedding")


def _of_insightface(key: str) -> Iterator[Case]:
    for name, seen in reference("insightface_scrfd.json")["images"].items():
        yield from _cases(name, seen, seen.get("scrfd_500m_bnkps", ()), key)


def _cases(name: str, seen: dict[str, Any], faces: Any, key: str) -> Iterator[Case]:
    """The picture itself where it is a crop, else its faces that have an embedding."""
    pixels = picture(name).pixels
    if key in seen:
        yield name, pixels, seen[key]
    for face in faces:
        if key in face:
            yield name, align(pixels, np.array([face["kps"]], np.float32))[0], face[key]
