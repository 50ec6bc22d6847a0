from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.networks import pictures
from visage.crops import Crops
from visage.faces import Detections
from visage.families.base import ALIGNED, Crop
from visage.geometry.alignment import TEMPLATE

SQUARE = Crop(192, 1.5)
PIXELS = pictures(1, (300, 200))[0]
FOUND = Detections(
    np.array([[20, 30, 100, 150], [150, 10, 190, 40]], np.float32),
    np.array([0.9, 0.8], np.float32),
    np.stack([TEMPLATE, TEMPLATE * 0.4 + (140, 5)]).astype(np.float32),
)


def test_each_kind_is_made_once_and_only_when_it_is_asked_for() -> None:
    made: list[str] = []

    @contextmanager
    def timed() -> Iterator[None]:
        made.append("begun")
        yield
        made.append("done")

    crops = Crops(PIXELS, FOUND, timed=timed)
    assert len(crops) == 2 and made == []
    first = crops.of(ALIGNED)
    assert made == ["begun", "done"]
    assert crops.of(Crop(112)) is first and made == ["begun", "done"]
    assert crops.of(SQUARE).shape == (2, 192, 192, 3) and len(made) == 4
    assert (first == ALIGNED.cut(PIXELS, FOUND)).all() and (crops.of(SQUARE) == SQUARE.cut(PIXELS, FOUND)).all()


def test_aligned_crops_that_are_there_already_are_not_made_again() -> None:
    mine = np.zeros((2, 112, 112, 3), np.uint8)
    assert Crops(PIXELS, FOUND, mine).of(ALIGNED) is mine
    assert Crops(PIXELS, FOUND, mine).of(SQUARE).any()


def test_places_in_crops_are_the_same_in_the_picture() -> None:
    corners = np.array([[0, 0], [192, 192], [96, 96]], np.float32)
    first, second = Crops(PIXELS, FOUND).in_picture(SQUARE, [corners, corners])
    # The longer side of the box is 120 and 40; its square 180 and 60.
    assert first == pytest.approx(np.array([[-30, 0], [150, 180], [60, 90]]), abs=1e-3)
    assert second == pytest.approx(np.array([[140, -5], [200, 55], [170, 25]]), abs=1e-3)
