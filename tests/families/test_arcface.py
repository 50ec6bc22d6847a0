from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.networks import Embedder, FixedSession, model_file, pictures
from visage.backends.base import Sizes
from visage.backends.onnx import open_session
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Embedding
from visage.families.arcface import FAMILY

RNG = np.random.default_rng(2)


def predict(*outputs: NDArray[np.floating], count: int | None = None, max_batch: int = 0) -> list[Embedding]:
    session = FixedSession(*outputs, sizes=Sizes((112, 112)), max_batch=max_batch)
    found: list[Embedding] = FAMILY.build(session, {}).predict(pictures(count or len(outputs[0]), (112, 112)))
    return found


@pytest.mark.parametrize("dimensions", [1, 2, 128, 512, 513])
def test_an_embedding_of_any_length_is_a_unit_vector_and_its_norm(dimensions: int) -> None:
    raw = RNG.normal(0, 9, (3, dimensions)).astype(np.float32)
    found = predict(raw)

    assert len(found) == 3
    for embedding, row in zip(found, raw.astype(np.float64), strict=True):
        assert embedding.vector.shape == (dimensions,) and embedding.vector.dtype == np.float32
        assert np.linalg.norm(embedding.vector.astype(np.float64)) == pytest.approx(1, abs=1e-6)
        assert embedding.norm == pytest.approx(np.linalg.norm(row), rel=1e-6)
        np.testing.assert_allclose(embedding.vector * embedding.norm, row, rtol=1e-5, atol=1e-5)


def test_a_vector_of_zeros_stays_one_with_norm_0() -> None:
    (found,) = predict(np.zeros((1, 4), np.float32))

    assert found.norm == 0 and found.vector.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_a_failed_inference(bad: float) -> None:
    raw = np.ones((3, 4), np.float32)
    raw[1, 2] = bad
    with pytest.raises(InferenceFailed, match="not finite"):
        predict(raw)


def test_a_vector_whose_length_overflows_is_a_failed_inference() -> None:
    with pytest.raises(InferenceFailed, match="not finite"), np.errstate(over="ignore"):
        predict(np.full((1, 4), 3e38, np.float32))


def test_half_precision_is_answered_in_single() -> None:
    (found,) = predict(np.array([[3, 4]], np.float16))

    assert found.vector.dtype == np.float32 and found.norm == 5


@pytest.mark.parametrize("max_batch", [0, 1, 2, 8])
def test_any_number_of_crops_is_answered_in_order(max_batch: int) -> None:
    raw = RNG.normal(0, 1, (5, 4)).astype(np.float32)
    found = predict(raw, max_batch=max_batch)

    np.testing.assert_allclose([e.vector * e.norm for e in found], raw, rtol=1e-5, atol=1e-6)


def test_an_answer_does_not_share_the_memory_of_the_next() -> None:
    raw = np.ones((2, 4), np.float32)
    first, second = predict(raw)
    first.vector[:] = 7

    assert raw.tolist() == [[1] * 4] * 2 and second.vector.tolist() == [0.5] * 4


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [np.ones((1, 4), np.float32), np.ones((1, 4), np.float32)],
        [np.ones(4, np.float32)],
        [np.ones((1, 4, 1, 1), np.float32)],
    ],
)
def test_anything_but_one_output_of_rows_is_rejected(outputs: list[NDArray[np.floating]]) -> None:
    with pytest.raises(GraphRejected, match=r"one output \(N, D\)"):
        predict(*outputs, count=1)


def test_a_real_session_is_read_alike(tmp_path: Path) -> None:
    tiny = Embedder.of(6)
    session = open_session(model_file(tiny.save(tmp_path / "a.onnx"), FAMILY.preprocess))
    crops = pictures(3, (112, 112))
    found = FAMILY.build(session, {}).predict(crops)

    expected = tiny(FAMILY.preprocess(crops))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose([e.vector for e in found], expected, atol=1e-5)
