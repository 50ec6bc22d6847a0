from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.galleries import unit
from visage.search.base import Precision
from visage.search.embedded.ranking import EVERYBODY, Asked, Ranker
from visage.search.embedded.segment import encode


@pytest.mark.parametrize("probes", [1, 3, 4, 9])
@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-6), ("fp16", 1e-3), ("int8", 6e-3)])
def test_every_precision_gives_the_cosines(precision: Precision, error: float, probes: int) -> None:
    vectors, asked = unit(70, dimension=37), unit(probes, seed=1, dimension=37)
    rows = encode(precision, vectors, np.arange(70, dtype=np.int32), np.arange(70, dtype=np.int64))
    ranker = Ranker(1)
    best = ranker.nearest([rows], Asked(asked, 70, False, -1, EVERYBODY))
    ranker.close()
    found = np.take_along_axis(best.similarities, np.argsort(best.keys, axis=1), axis=1)
    np.testing.assert_allclose(found, asked @ vectors.T, atol=error)


def test_every_float16_number_is_read_as_it_is() -> None:
    numbers = np.arange(65536, dtype=np.uint16)
    finite = numbers[np.isfinite(numbers.view(np.float16))]
    rows = encode(
        "fp16", np.zeros((len(finite), 1), np.float32), np.zeros(len(finite), np.int32), finite.astype(np.int64)
    )
    rows.vectors[:, 0] = finite
    from visage.search.embedded.kernels import products

    out = np.empty((1, len(finite)), np.float32)
    products(rows.vectors, np.ones((1, 1), np.float32), out)
    np.testing.assert_array_equal(out[0], finite.view(np.float16).astype(np.float32))


def plain(similarities: Any, persons: Any, asked: Asked) -> list[list[float]]:
    """What the kernel finds, by sorting everything."""
    found = []
    for line in similarities:
        seen: dict[int, float] = {}
        for i in np.argsort(-line, kind="stable"):
            person, score = int(persons[i]), float(line[i])
            there = person >= 0 and (not len(asked.allowed) or asked.allowed[person])
            if there and score >= np.float32(asked.threshold):
                seen.setdefault(person if asked.by_person else -int(i) - 1, score)
        found.append(list(seen.values())[: asked.top])
    return found


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 300),
    several=st.integers(1, 40),
    top=st.integers(1, 50),
    by_person=st.booleans(),
    threshold=st.sampled_from([-1.0, 0.0, 0.3]),
    filtered=st.booleans(),
    parts=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_the_best_are_those_that_sorting_finds(
    count: int, several: int, top: int, by_person: bool, threshold: float, filtered: bool, parts: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    vectors, probes = unit(count, seed=seed), unit(3, seed=seed + 1)
    persons = random.integers(-1, several, count).astype(np.int32)
    allowed = random.integers(0, 2, several).astype(np.uint8) if filtered else EVERYBODY
    asked = Asked(probes, top, by_person, threshold, allowed)
    rows = encode("fp32", vectors, persons, np.arange(count, dtype=np.int64))
    ranker = Ranker(2)
    best = ranker.nearest([rows[i * count // parts : (i + 1) * count // parts] for i in range(parts)], asked)
    ranker.close()
    got = [line[keys >= 0].tolist() for line, keys in zip(best.similarities, best.keys, strict=True)]
    for one, other in zip(got, plain(probes @ vectors.T, persons, asked), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    if by_person:
        assert all(len(set(line[line >= 0].tolist())) == (line >= 0).sum() for line in best.persons)


def test_blocks_and_threads_change_nothing() -> None:
    vectors, probes = unit(20_000), unit(5, seed=3)
    rows = encode("fp32", vectors, np.arange(20_000, dtype=np.int32) // 3, np.arange(20_000, dtype=np.int64))
    asked = Asked(probes, 10, True, -1, EVERYBODY)
    answers = []
    for threads in (1, 2, 3):
        ranker = Ranker(threads)
        answers.append(ranker.nearest([rows], asked))
        ranker.close()
    for other in answers[1:]:
        np.testing.assert_array_equal(answers[0].keys, other.keys)
