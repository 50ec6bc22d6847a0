from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.networks import Embedder, FixedSession, model_file, pictures
from visage.backends.base import Sizes
from visage.backends.onnx import open_session
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats, GenderAge
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
