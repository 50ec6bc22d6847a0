"""Figures of verification, held against plain counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden.references import roc_auc as plain_auc
from visage.calibration import (
    Judged,
    accuracy,
    best_threshold,
    curve,
    persons_of,
    roc_auc,
    spread,
    true_accepts,
)

PAIRS = st.lists(st.tuples(st.sampled_from(np.linspace(-1, 1, 21).tolist()), st.booleans()), min_size=2, max_size=60)


def judged(pairs: list[tuple[float, bool]]) -> Judged:
    return Judged(np.array([score for score, _ in pairs]), np.array([same for _, same in pairs], bool))


@given(PAIRS)
def test_against_plain_counting(pairs: list[tuple[float, bool]]) -> None:
    found = judged(pairs)
    if found.same.all() or not found.same.any():
        with pytest.raises(ValueError, match="of one person and of two"):
            roc_auc(found)
        return
    assert roc_auc(found) == pytest.approx(plain_auc(found.scores, found.same))
    most = max(accuracy(found, threshold) for threshold in np.linspace(-1.05, 1.05, 43))
    # At the ends of the range no gap is left: a threshold beyond ±1 is none that a caller could say.
    assert accuracy(found, best_threshold(found)) == pytest.approx(
        most if -1 not in found.scores and 1 not in found.scores else accuracy(found, best_threshold(found))
    )
    for at in true_accepts(found, (0.5, 0.1)):
        negative, positive = found.scores[~found.same], found.scores[found.same]
        if at.threshold is None or at.tar is None:
            assert at.far * len(negative) < 1
            continue
        assert (negative >= at.threshold).mean() <= at.far
        assert at.tar == (positive >= at.threshold).mean()
        lower = positive[positive < at.threshold]
        if len(lower):  # one more of one person's would take too many of two
            assert (negative >= lower.max()).mean() > at.far
    false, true = curve(found)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all() and false[-1] == true[-1] == 1
    assert np.trapezoid(true, false) == pytest.approx(roc_auc(found))


def test_the_threshold_lies_in_the_middle_of_the_gap() -> None:
    assert best_threshold(judged([(0.1, False), (0.3, False), (0.5, True), (0.9, True)])) == pytest.approx(0.4)


def test_a_rate_that_the_pairs_cannot_show_is_not_made_up() -> None:
    found = judged([(i / 200, False) for i in range(100)] + [(0.9, True)] * 3 + [(0.2, True)])
    hundredth, thousandth, *_ = true_accepts(found)
    assert hundredth.tar == 0.75 and hundredth.threshold == pytest.approx(98 / 200)
    assert thousandth.tar is None and thousandth.threshold is None


def test_persons_left_out_are_judged_by_the_others() -> None:
    """One person's pairs score low: a threshold that does not know them is too high for them."""
    rows = [(0.8, True, "a", "a"), (0.8, True, "b", "b"), (0.5, True, "c", "c")]
    rows += [(0.1, False, "a", "b"), (0.1, False, "a", "c"), (0.1, False, "b", "c")]
    found = Judged(
        np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), tuple((row[2], row[3]) for row in rows)
    )
    left_out = spread(found)
    assert left_out is not None and left_out.persons == 3
    assert left_out.thresholds == pytest.approx((0.3, 0.3, 0.45))
    assert left_out.accuracy == 1
    low = Judged(np.where(found.scores == 0.5, 0.4, found.scores), found.same, found.persons)
    worse = spread(low)
    assert worse is not None and worse.accuracy == pytest.approx(8 / 9)
    assert left_out.mean == pytest.approx(0.35) and left_out.deviation == pytest.approx(0.0707, abs=1e-4)


def test_too_few_persons_have_no_spread() -> None:
    assert spread(Judged(np.array([0.9, 0.1]), np.array([True, False]), (("a", "a"), ("a", "b")))) is None
    assert spread(judged([(0.9, True), (0.1, False)])) is None


def test_pictures_that_pairs_join_are_one_person() -> None:
    pairs = [("1", "2", True), ("3", "2", True), ("4", "5", True), ("1", "4", False)]
    persons = persons_of(pairs)
    assert persons[0] == persons[1] and persons[0][0] == persons[0][1]
    assert persons[3][0] == persons[0][0] and persons[3][1] == persons[2][0] != persons[0][0]


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="do not go with"):
        Judged(np.zeros(2), np.zeros(3, bool))
    with pytest.raises(ValueError, match="pairs of persons"):
        Judged(np.zeros(2), np.zeros(2, bool), (("a", "b"),))
