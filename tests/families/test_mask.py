from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.attributes import MATRIX, softmaxed
from tests.networks import FixedSession, model_file, pictures
from visage.backends.base import Sizes
from visage.backends.onnx import open_session
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats, MaskScores, Pixels
from visage.families.mask import FAMILY

RNG = np.random.default_rng(6)


class Shown(FixedSession):
    """Sees no mask anywhere, and keeps the pixels that it was shown."""

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        self.shown = pixels
        return (np.tile(np.array([0.25, 0.75], np.float32), (len(pixels), 1)),)


def predict(*outputs: NDArray[np.floating], count: int | None = None, max_batch: int = 0) -> list[MaskScores]:
    session = FixedSession(*outputs, sizes=Sizes((112, 112)), max_batch=max_batch)
    found: list[MaskScores] = FAMILY.build(session, {}).predict(pictures(count or len(outputs[0]), (112, 112)))
    return found


def shown(crops: Pixels, sizes: Sizes, **params: Any) -> Pixels:
    """What a network of these sizes is shown of the crops."""
    session = Shown(sizes=sizes)
    assert FAMILY.build(session, params).predict(crops) == [MaskScores(0.25, 0.75)] * len(crops)
    return session.shown


def doubled(crop: Pixels) -> NDArray[np.float64]:
    """(h, w, 3) at twice the size: each new pixel is ¾ of the nearest old one, ¼ of the next, along both axes."""
    found = crop.astype(np.float64)
    for axis in (0, 1):
        before = np.concatenate([found.take([0], axis), found.take(range(found.shape[axis] - 1), axis)], axis)
        after = np.concatenate([found.take(range(1, found.shape[axis]), axis), found.take([-1], axis)], axis)
        pair = np.stack([0.75 * found + 0.25 * before, 0.75 * found + 0.25 * after], axis + 1)
        found = pair.reshape(*found.shape[:axis], -1, *found.shape[axis + 1 :])
    return found


def test_the_first_probability_is_of_a_mask_and_the_second_of_none() -> None:
    found = predict(np.array([[0.75, 0.25], [0.125, 0.875]], np.float32))

    assert found == [MaskScores(mask=0.75, no_mask=0.25), MaskScores(mask=0.125, no_mask=0.875)]
    assert all(type(face.mask) is float for face in found)


@pytest.mark.parametrize("max_batch", [0, 1, 2, 8])
def test_any_number_of_crops_is_answered_in_order(max_batch: int) -> None:
    masks = RNG.uniform(0, 1, 5).astype(np.float32)
    found = predict(np.stack([masks, 1 - masks], axis=1), max_batch=max_batch)

    assert [face.mask for face in found] == pytest.approx(masks.tolist())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_a_failed_inference(bad: float) -> None:
    with pytest.raises(InferenceFailed, match="not finite"):
        predict(np.array([[0.5, 0.5], [bad, 0.5]], np.float32))


@pytest.mark.parametrize("scores", [[2.5, -1.5], [1.0, 1.0], [0.0, 0.0], [0.3, 0.5]])
def test_scores_that_are_no_probabilities_are_rejected(scores: list[float]) -> None:
    with pytest.raises(GraphRejected, match="two probabilities"):
        predict(np.array([[0.5, 0.5], scores], np.float32))


def test_probabilities_of_half_precision_are_taken() -> None:
    (found,) = predict(np.array([[0.0333, 0.9663]], np.float16))
    assert found.no_mask == pytest.approx(0.9663, abs=1e-3)


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [np.ones((1, 2), np.float32), np.ones((1, 2), np.float32)],
        [np.ones((1, 1), np.float32)],
        [np.ones((1, 3), np.float32)],
        [np.ones(2, np.float32)],
    ],
)
def test_anything_but_one_output_of_two_columns_is_rejected(outputs: list[NDArray[np.floating]]) -> None:
    with pytest.raises(GraphRejected, match=r"one output \(N, 2\)"):
        predict(*outputs, count=1)


def test_a_network_of_224_pixels_is_shown_the_crops_at_twice_their_size() -> None:
    crops = pictures(3, (112, 112))
    fitted = shown(crops, Sizes((224, 224)))

    assert fitted.shape == (3, 224, 224, 3) and fitted.dtype == np.uint8
    for crop, larger in zip(crops, fitted, strict=True):
        assert np.abs(larger - doubled(crop)).max() <= 0.75  # rounded once or twice on the way


def test_a_network_of_112_pixels_is_shown_the_crops_themselves() -> None:
    crops = pictures(3, (112, 112))
    np.testing.assert_array_equal(shown(crops, Sizes((112, 112))), crops)


@pytest.mark.parametrize(("params", "side"), [({}, 224), ({"side": 160}, 160), ({"side": 112}, 112)])
def test_where_the_file_takes_any_size_the_entry_says_it(params: dict[str, int], side: int) -> None:
    assert shown(pictures(2, (112, 112)), Sizes(), **params).shape == (2, side, side, 3)


def test_the_size_of_the_file_goes_before_that_of_the_entry() -> None:
    assert shown(pictures(1, (112, 112)), Sizes((224, 224)), side=112).shape == (1, 224, 224, 3)


@pytest.mark.parametrize("side", [112, 224, "side"])
def test_a_real_session_is_shown_red_green_blue_from_minus_1_to_1(tmp_path: Path, side: int | str) -> None:
    session = open_session(model_file(softmaxed(tmp_path / "a.onnx", side), FAMILY.preprocess))
    crops = pictures(3, (112, 112))
    found = FAMILY.build(session, {}).predict(crops)

    # Twice the size has the same mean, within the rounding of its pixels.
    means = crops[..., ::-1].astype(np.float64).mean(axis=(1, 2)) / 127.5 - 1
    powers = np.exp(means @ MATRIX)
    np.testing.assert_allclose(
        [[face.mask, face.no_mask] for face in found], powers / powers.sum(axis=1, keepdims=True), atol=0.01
    )
