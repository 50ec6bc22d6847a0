"""Who says the threshold; what the cosine is; why a face was chosen."""

import numpy as np
import pytest

from visage.errors import EmbeddingMismatch, ThresholdUnknown
from visage.verification import Threshold, similarity, threshold_of, why_chosen


def test_the_request_goes_before_the_setting_and_that_before_the_catalogue() -> None:
    assert threshold_of(0.5, 0.4, 0.3, "net") == Threshold(0.5, "request")
    assert threshold_of(None, 0.4, 0.3, "net") == Threshold(0.4, "settings")
    assert threshold_of(None, None, 0.3, "net") == Threshold(0.3, "catalogue")
    assert threshold_of(0.0, 0.4, 0.3, "net") == Threshold(0.0, "request")
    with pytest.raises(ThresholdUnknown, match=r"net.*SAME_THRESHOLD"):
        threshold_of(None, None, None, "net")


def test_the_cosine_never_leaves_its_range() -> None:
    vector = np.full(128, 128**-0.5, np.float32)
    assert similarity(vector, vector) == pytest.approx(1) and similarity(vector, vector) <= 1
    assert similarity(vector, -vector) >= -1
    with pytest.raises(EmbeddingMismatch, match="128 and of 2"):
        similarity(vector, np.array([1, 0], np.float32))


def test_why() -> None:
    assert why_chosen(1) == "the only face"
    assert why_chosen(3) == "the largest of 3 faces"
