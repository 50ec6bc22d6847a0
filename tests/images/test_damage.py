"""A differential fuzz: damaged headers, read by the service's decoder, by OpenCV and by Pillow."""

from typing import Any

import pytest

from tests.images.damage import figures


def _holds(told: dict[str, Any], least: int, share: float) -> None:
    assert told["right"] >= least  # there is something to compare
    assert told["share"] <= share, told
    assert told["different"] == [], told


def test_what_opencv_reads_in_spite_of_a_damaged_header_is_read_the_same_or_with_a_word() -> None:
    _holds(figures(300, seed=1), 50, 0.03)  # of so few, two


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_five_thousand_damaged_headers(seed: int) -> None:
    _holds(figures(5000, seed), 1000, 0.01)
