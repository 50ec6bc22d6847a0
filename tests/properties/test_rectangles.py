"""What every family reads off a canvas is what it reads off the same corner of a larger one, whatever their shapes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detector_networks import Map, centerface_maps, decoded, mapped, retinaface_maps
from tests.networks import STRIDES, dense, model_file, pictures, scrfd_heads, yunet_heads
from visage.backends.onnx import open_session
from visage.faces import Floats, ImageBatch, Pixels
from visage.families import FAMILIES, family
from visage.families.base import Detector


@dataclass(frozen=True, slots=True)
class Tiny:
    """A network whose every cell sees its own pixels alone, and where its proposals stand."""

    save: Callable[[Path], Path]
    strides: tuple[int, ...]
    anchors: int


TINY = {
    "scrfd": Tiny(lambda path: dense(path, scrfd_heads()), STRIDES, 2),
    "yunet": Tiny(lambda path: dense(path, yunet_heads()), STRIDES, 1),
    "retinaface": Tiny(lambda path: mapped(path, retinaface_maps(masks=True)), STRIDES, 2),
    "centerface": Tiny(lambda path: mapped(path, centerface_maps()), (4,), 1),
    "yolov5_face": Tiny(lambda path: decoded(path, Map.of("rows", 8, 16, sigmoid=True)), (8,), 1),
}


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    folder = tmp_path_factory.mktemp("tiny")

    @cache
    def named(name: str) -> Any:
        return family(name).build(open_session(model_file(TINY[name].save(folder / f"{name}.onnx"))), {})

    return named


def rows_of(detector: Detector, pixels: Pixels) -> Floats:
    """What is proposed for one picture (h, w, 3) at the threshold 0: a row a cell and anchor."""
    (proposals,) = detector.propose(ImageBatch(pixels[None], np.ones(1)), np.zeros(1, np.float32))
    return proposals.rows


def corner(rows: Floats, tiny: Tiny, whole: tuple[int, int], part: tuple[int, int]) -> Floats:
    """The rows of the cells in the upper left `part` (h, w) of a canvas `whole`."""
    first, kept = 0, []
    for stride in tiny.strides:
        down, along = whole[0] // stride, whole[1] // stride
        count = down * along * tiny.anchors
        cells = rows[first : first + count].reshape(down, along, tiny.anchors, -1)
        kept.append(cells[: part[0] // stride, : part[1] // stride].reshape(-1, rows.shape[1]))
        first += count
    assert first == len(rows)
    return np.concatenate(kept)


def test_every_detector_family_is_tested_here() -> None:
    assert set(TINY) == {name for name, known in FAMILIES.items() if known.task == "detection"}


multiples = st.integers(1, 20).map(lambda n: 32 * n)


@pytest.mark.parametrize("name", TINY)
@settings(deadline=None, max_examples=25)
@given(st.data(), multiples, multiples, st.integers(0, 1000))
def test_a_canvas_reads_as_the_corner_of_a_larger_one(
    detector: Callable[[str], Any], name: str, data: st.DataObject, height: int, width: int, seed: int
) -> None:
    rows, columns = (data.draw(st.integers(1, side // 32).map(lambda n: 32 * n)) for side in (height, width))
    (pixels,) = pictures(1, (width, height), seed)
    part = np.ascontiguousarray(pixels[:rows, :columns])

    found = rows_of(detector(name), part)
    expected = corner(rows_of(detector(name), pixels), TINY[name], (height, width), (rows, columns))
    if name == "centerface":  # which cuts its boxes at the end of its input
        expected[:, :4] = np.minimum(expected[:, :4], [columns, rows, columns, rows])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("size", [(32, 32), (640, 32), (32, 640)])
def test_the_smallest_canvases_have_their_cells(
    detector: Callable[[str], Any], name: str, size: tuple[int, int]
) -> None:
    tiny = TINY[name]
    (pixels,) = pictures(1, size)
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in tiny.strides)
    assert len(rows_of(detector(name), pixels)) == cells * tiny.anchors
