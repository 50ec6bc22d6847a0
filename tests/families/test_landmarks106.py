from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.networks import Embedder, FixedSession, model_file, pictures
from visage.backends.base import Sizes
from visage.backends.onnx import open_session
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats
from visage.families.base import Crop
from visage.families.landmarks106 import FAMILY

RNG = np.random.default_rng(6)


def predict(
    *outputs: NDArray[np.floating], side: int = 192, count: int | None = None, max_batch: int = 0
) -> list[Floats]:
    session = FixedSession(*outputs, sizes=Sizes((side, side)), max_batch=max_batch)
    found: list[Floats] = FAMILY.build(session, {}).predict(pictures(count or len(outputs[0]), (side, side)))
    return found


def test_parts_of_half_the_crop_are_places_in_its_pixels() -> None:
    raw = np.zeros((1, 212), np.float32)
    raw[0, :6] = [-1, -1, 1, 0.5, 0.25, -0.25]
    (places,) = predict(raw)
    assert places.shape == (106, 2) and places.dtype == np.float32
    assert places[:4].tolist() == [[0, 0], [192, 144], [120, 72], [96, 96]]


@pytest.mark.parametrize("side", [192, 128])
@pytest.mark.parametrize("max_batch", [0, 1, 3])
def test_any_number_of_crops_is_answered_in_order(side: int, max_batch: int) -> None:
    raw = RNG.uniform(-1, 1, (5, 212)).astype(np.float32)
    for places, numbers in zip(predict(raw, side=side, max_batch=max_batch), raw, strict=True):
        plain = [
            [(x + 1) * (side // 2), (y + 1) * (side // 2)] for x, y in zip(numbers[::2], numbers[1::2], strict=True)
        ]
        assert places == pytest.approx(np.array(plain), abs=1e-3)


@pytest.mark.parametrize(
    ("sizes", "params", "crop"),
    [
        (Sizes((192, 192)), {}, Crop(192, 1.5)),
        (Sizes((128, 128)), {"side": 192}, Crop(128, 1.5)),
        (Sizes(), {}, Crop(192, 1.5)),
        (Sizes(), {"side": 160}, Crop(160, 1.5)),
    ],
)
def test_the_crop_is_the_square_around_the_box_as_large_as_the_file_takes(
    sizes: Sizes, params: dict[str, int], crop: Crop
) -> None:
    assert FAMILY.build(FixedSession(sizes=sizes), params).crop == crop


def test_a_file_of_crops_that_are_not_square_is_rejected() -> None:
    with pytest.raises(GraphRejected, match="takes square crops, this one of 192×96"):
        FAMILY.build(FixedSession(sizes=Sizes((192, 96))), {})


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [np.ones((1, 212), np.float32)] * 2,
        [np.ones((1, 210), np.float32)],
        [np.ones((1, 106, 2), np.float32)],
        [np.ones(212, np.float32)],
        [np.ones((1, 3309), np.float32)],
    ],
)
def test_anything_but_one_output_of_212_columns_is_rejected(outputs: list[NDArray[np.floating]]) -> None:
    with pytest.raises(GraphRejected, match=r"one output \(N, 212\), this one \["):
        predict(*outputs, count=1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_a_failed_inference(bad: float) -> None:
    raw = np.ones((3, 212), np.float32)
    raw[2, 211] = bad
    with pytest.raises(InferenceFailed, match="not finite"):
        predict(raw)


def test_a_real_session_is_shown_red_green_blue_as_they_are(tmp_path: Path) -> None:
    tiny = Embedder(Embedder.of(212).matrix / 500)
    session = open_session(model_file(tiny.save(tmp_path / "a.onnx", side=192), FAMILY.preprocess))
    network = FAMILY.build(session, {})
    crops = pictures(3, (192, 192))
    found = np.stack(network.predict(crops))

    fed = crops[..., ::-1].astype(np.float32)
    assert network.crop == Crop(192, 1.5)
    assert found.reshape(3, 212) == pytest.approx((tiny(fed, "nhwc") + 1) * 96, abs=1e-2)
    assert found.reshape(3, 212) != pytest.approx((tiny(fed[..., ::-1], "nhwc") + 1) * 96, abs=1e-2)
