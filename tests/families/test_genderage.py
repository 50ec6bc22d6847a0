from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.networks import Embedder, FixedSession, model_file, pictures
from visage.backends.base import Sizes
from visage.backends.onnx import open_session
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats, GenderAge
from visage.families.base import ALIGNED, Crop
from visage.families.genderage import FAMILY

RNG = np.random.default_rng(5)
PAIRS = 100


def predict(*outputs: NDArray[np.floating], count: int | None = None, max_batch: int = 0) -> list[GenderAge]:
    session = FixedSession(*outputs, sizes=Sizes((112, 112)), max_batch=max_batch)
    found: list[GenderAge] = FAMILY.build(session, {}).predict(pictures(count or len(outputs[0]), (112, 112)))
    return found


def row(gender: int, older_than: set[int]) -> Floats:
    """The scores (202,) of a face of this gender that is older than each of these years."""
    scores = RNG.uniform(-1, 1, 2 + 2 * PAIRS)
    scores[gender] = 2
    for year in range(PAIRS):
        scores[2 + 2 * year + (year in older_than)] = 2
    return scores.astype(np.float32)


def plain(scores: Floats) -> GenderAge:
    """One row read number by number."""
    male = scores[1] > scores[0]
    return GenderAge(int(male), sum(1 for i in range(PAIRS) if scores[2 + 2 * i + 1] > scores[2 + 2 * i]))


def test_gender_1_is_the_second_score_and_0_the_first() -> None:
    assert [face.gender for face in predict(np.stack([row(0, set()), row(1, set())]))] == [0, 1]


@pytest.mark.parametrize("age", [0, 1, 31, 99, 100])
def test_the_age_is_the_number_of_years_that_the_face_is_older_than(age: int) -> None:
    assert predict(row(0, set(range(age)))[None]) == [GenderAge(0, age)]


def test_years_that_contradict_each_other_are_counted_all_the_same() -> None:
    assert predict(row(1, {0, 1, 2, 50, 99})[None]) == [GenderAge(1, 5)]


@pytest.mark.parametrize("max_batch", [0, 1, 2, 8])
def test_any_number_of_crops_is_answered_in_order(max_batch: int) -> None:
    raw = RNG.normal(0, 1, (5, 202)).astype(np.float32)
    expected = [plain(scores) for scores in raw]

    assert len(set(expected)) > 1
    assert predict(raw, max_batch=max_batch) == expected


def test_answers_are_plain_numbers_that_any_encoder_takes() -> None:
    (found,) = predict(row(1, {3})[None])
    assert type(found.gender) is int and type(found.age) is int


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 201])
def test_numbers_that_are_not_finite_are_a_failed_inference(bad: float, at: int) -> None:
    raw = np.ones((3, 202), np.float32)
    raw[1, at] = bad
    with pytest.raises(InferenceFailed, match="not finite"):
        predict(raw)


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [np.ones((1, 202), np.float32), np.ones((1, 202), np.float32)],
        [np.ones((1, 3), np.float32)],
        [np.ones((1, 203), np.float32)],
        [np.ones(202, np.float32)],
        [np.ones((1, 202, 1, 1), np.float32)],
    ],
)
def test_anything_but_one_output_of_202_columns_is_rejected(outputs: list[NDArray[np.floating]]) -> None:
    with pytest.raises(GraphRejected, match=r"one output \(N, 202\)"):
        predict(*outputs, count=1)


def test_a_real_session_is_shown_red_green_blue_as_they_are(tmp_path: Path) -> None:
    tiny = Embedder.of(202)
    session = open_session(model_file(tiny.save(tmp_path / "a.onnx"), FAMILY.preprocess))
    crops = pictures(3, (112, 112))
    found = FAMILY.build(session, {}).predict(crops)

    fed = crops[..., ::-1].astype(np.float32)
    assert found == [plain(scores) for scores in tiny(fed, "nhwc")]
    assert found != [plain(scores) for scores in tiny(fed[..., ::-1], "nhwc")]


# The network of the buffalo packs: squares of 96×96, three numbers.


def predict96(*outputs: NDArray[np.floating], count: int | None = None, max_batch: int = 0) -> list[GenderAge]:
    session = FixedSession(*outputs, sizes=Sizes((96, 96)), max_batch=max_batch)
    found: list[GenderAge] = FAMILY.build(session, {}).predict(pictures(count or len(outputs[0]), (96, 96)))
    return found


@pytest.mark.parametrize(
    ("scores", "answer"),
    [
        ([0.2, 0.7, 0.31], GenderAge(1, 31)),
        ([0.7, 0.2, 0.31], GenderAge(0, 31)),
        ([-3.0, -2.0, 0.0], GenderAge(1, 0)),
        ([0.5, 0.5, 1.0], GenderAge(0, 100)),  # the first of equals, as numpy's argmax
        ([0.0, 1.0, 0.404], GenderAge(1, 40)),
        ([0.0, 1.0, 0.406], GenderAge(1, 41)),
        ([0.0, 1.0, 0.125], GenderAge(1, 12)),  # 12.5: half to even, as numpy's round
    ],
)
def test_three_numbers_are_two_genders_and_a_hundredth_of_the_age(scores: list[float], answer: GenderAge) -> None:
    assert predict96(np.array([scores], np.float32)) == [answer]


@pytest.mark.parametrize("max_batch", [0, 1, 2])
def test_three_numbers_a_face_are_read_as_insightface_does(max_batch: int) -> None:
    raw = RNG.uniform(0, 0.9, (7, 3)).astype(np.float32)
    expected = [GenderAge(int(np.argmax(pred[:2])), int(np.round(pred[2] * 100))) for pred in raw]
    assert len(set(expected)) > 3
    assert predict96(raw, max_batch=max_batch) == expected


@pytest.mark.parametrize(
    ("sizes", "params", "crop"),
    [
        (Sizes((112, 112)), {}, ALIGNED),
        (Sizes((96, 96)), {}, Crop(96, 1.5)),
        (Sizes((96, 96)), {"side": 112}, Crop(96, 1.5)),
        (Sizes(), {}, ALIGNED),
        (Sizes(), {"side": 96}, Crop(96, 1.5)),
    ],
)
def test_the_side_of_the_input_says_which_crop_is_wanted(sizes: Sizes, params: dict[str, int], crop: Crop) -> None:
    assert FAMILY.build(FixedSession(sizes=sizes), params).crop == crop


@pytest.mark.parametrize("size", [(224, 224), (96, 112), (112, 96)])
def test_another_input_is_rejected_with_what_was_expected(size: tuple[int, int]) -> None:
    with pytest.raises(GraphRejected, match=rf"crops of 112×112 or 96×96, this one of {size[0]}×{size[1]}"):
        FAMILY.build(FixedSession(sizes=Sizes(size)), {})


@pytest.mark.parametrize(
    "outputs",
    [[], [np.ones((1, 3), np.float32)] * 2, [np.ones((1, 202), np.float32)], [np.ones((1, 4), np.float32)]],
)
def test_anything_but_one_output_of_three_columns_is_rejected_from_squares(
    outputs: list[NDArray[np.floating]],
) -> None:
    with pytest.raises(GraphRejected, match=r"of 96×96 crops has one output \(N, 3\), this one \["):
        predict96(*outputs, count=1)


def test_three_numbers_that_are_not_finite_are_a_failed_inference() -> None:
    with pytest.raises(InferenceFailed, match="not finite"):
        predict96(np.array([[0, 1, 0.3], [0, 1, np.nan]], np.float32))


def test_a_real_session_of_squares_is_shown_red_green_blue_as_they_are(tmp_path: Path) -> None:
    tiny = Embedder(np.array([[1, 0, 0.001], [0, 1, 0.002], [0, 0, 0]], np.float32))
    session = open_session(model_file(tiny.save(tmp_path / "a.onnx", side=96), FAMILY.preprocess))
    network = FAMILY.build(session, {})
    crops = pictures(3, (96, 96))

    means = crops[..., ::-1].mean(axis=(1, 2))  # red, green, blue
    assert network.crop == Crop(96, 1.5)
    assert [face.gender for face in network.predict(crops)] == [int(green > red) for red, green, _ in means]
    assert [face.age for face in network.predict(crops)] == pytest.approx(
        [0.1 * red + 0.2 * green for red, green, _ in means], abs=0.6
    )
