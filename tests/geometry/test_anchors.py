import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from visage.geometry.anchors import ROW, distance_proposals

F = NDArray[np.float32]


def plain(scores: F, distances: F, offsets: F, stride: int, columns: int, anchors: int, threshold: float) -> F:
    """SCRFD's decode as its authors write it: every anchor decoded, then chosen (insightface, scrfd.py)."""
    rows = len(scores) // anchors // columns
    centres = np.stack(np.mgrid[:rows, :columns][::-1], axis=-1).astype(np.float32)  # (rows, columns, 2): x, y
    centres = np.repeat((centres * stride).reshape(-1, 2), anchors, axis=0)
    scaled = distances * np.float32(stride)
    boxes = np.concatenate([centres - scaled[:, :2], centres + scaled[:, 2:]], axis=1)
    points = (offsets * np.float32(stride)).reshape(-1, 5, 2) + centres[:, None]
    chosen = np.flatnonzero(scores > threshold)
    decoded = np.concatenate([boxes, scores[:, None], points.reshape(-1, 10)], axis=1)
    return decoded[chosen].astype(np.float32)


def compiled(scores: F, distances: F, offsets: F, stride: int, columns: int, anchors: int, threshold: float) -> F:
    rows = np.full((len(scores), ROW), np.nan, np.float32)
    found = distance_proposals(rows, scores, distances, offsets, stride, columns, anchors, threshold)
    assert np.isnan(rows[found:]).all()
    return rows[:found]


def outputs(seed: int, count: int) -> tuple[F, F, F]:
    random = np.random.default_rng(seed)
    return (
        random.random(count, np.float32),
        random.normal(2, 2, (count, 4)).astype(np.float32),
        random.normal(0, 2, (count, 10)).astype(np.float32),
    )


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([8, 16, 32]),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([1, 2]),
    st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
)
def test_the_compiled_decode_equals_the_plain_one(
    seed: int, stride: int, rows: int, columns: int, anchors: int, threshold: float
) -> None:
    given_outputs = outputs(seed, rows * columns * anchors)
    ours = compiled(*given_outputs, stride, columns, anchors, threshold)
    theirs = plain(*given_outputs, stride, columns, anchors, threshold)
    assert ours.shape == theirs.shape
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-4)


def test_a_score_must_exceed_the_threshold() -> None:
    scores, distances, offsets = outputs(1, 4)
    scores[:] = [0.5, 0.25, 0.75, 0.5]
    found = compiled(scores, distances, offsets, 8, 2, 1, 0.5)
    assert found[:, 4].tolist() == [0.75]


def test_a_score_that_is_no_number_is_no_face() -> None:
    scores, distances, offsets = outputs(2, 4)
    scores[:] = np.nan
    assert len(compiled(scores, distances, offsets, 8, 2, 1, 0.0)) == 0


def test_a_cells_centre_is_its_top_left_corner_and_both_its_anchors_share_it() -> None:
    scores = np.zeros(2 * 3 * 2, np.float32)
    scores[[10, 11]] = 0.9, 0.8  # the two anchors of column 2, row 1
    distances = np.zeros((12, 4), np.float32)
    offsets = np.zeros((12, 10), np.float32)
    for row in compiled(scores, distances, offsets, 16, 3, 2, 0.5):
        assert row[:4].tolist() == [32, 16, 32, 16]
        assert row[5:].reshape(5, 2).tolist() == [[32, 16]] * 5
