import numpy as np
import pytest

from visage.engines.agreement import require_same
from visage.errors import InferenceFailed

A = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)


def test_rounding_is_no_difference() -> None:
    require_same([A, A[:, :1]], [A + np.float32(5e-4), A[:, :1]])
    require_same([np.zeros((1, 0), np.float32)], [np.zeros((1, 0), np.float32)])
    require_same([np.zeros((2, 2), np.float32)], [np.zeros((2, 2), np.float32)])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "0 outputs, not 1"),
        ([A.T.copy()], r"output 0 has shape \(6, 2\), not \(2, 6\)"),
        ([A.astype(np.float64)], "output 0 is float64, not float32"),
        ([A + np.float32(2e-3)], r"output 0 is off by 0\.002 of its largest number"),
        ([A[:, ::-1].copy()], "output 0 is off by"),
        ([np.where(A > 0.9, np.nan, A).astype(np.float32)], "output 0 is off by nan"),
    ],
)
def test_what_differs_is_named(found: list[np.ndarray], said: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InferenceFailed, match=said):
        require_same([A], found)


def test_half_precision_is_given_more_room_and_not_any_amount() -> None:
    half = A + np.float32(1e-2) * np.sin(np.arange(12, dtype=np.float32)).reshape(2, 6)
    require_same([A], [half], half=True)
    with pytest.raises(InferenceFailed):
        require_same([A], [half])
    with pytest.raises(InferenceFailed, match="output 0 is off by"):
        require_same([A], [A * np.float32(1.1)], half=True)
    with pytest.raises(InferenceFailed, match="output 0 is off by"):
        require_same([A], [np.where(A[0, 3] == A, 0.06 - A[0, 3], A).astype(np.float32)], half=True)


def test_many_small_differences_are_seen_where_no_single_one_is_large() -> None:
    small = np.full(10_000, 1e-2, np.float32)
    small[0] = 100.0
    other = small.copy()
    other[1:] *= -1
    require_same([small], [small])
    far = np.concatenate([[0.02], np.full(9_999, 1e-2)]).astype(np.float32)
    with pytest.raises(InferenceFailed, match="cosine"):
        require_same([far], [-far])
