"""A threshold of an int8 collection: nobody above it is missed, whatever the vectors look like."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.galleries import enrolment, opened
from visage.faces import Floats
from visage.search.base import NewCollection, Question, Recogniser

DIMENSION = 512
WIDE = Recogniser("wide", "ab" * 32, "bgr", DIMENSION)


def of_length_one(raw: Any) -> Floats:
    raw = np.asarray(raw, np.float64)
    return np.asarray(raw / np.linalg.norm(raw, axis=-1, keepdims=True), np.float32)


def at(probe: Floats, cosine: float, seed: int) -> Floats:
    """Any vector at this cosine of the probe."""
    raw = np.random.default_rng(seed).standard_normal(DIMENSION)
    across = of_length_one(raw - (raw @ probe) * probe)
    return of_length_one(cosine * probe + np.sqrt(1 - cosine**2) * across)


def probe_and_spiky() -> tuple[Floats, Floats, float]:
    """A vector whose first number is so large that int8 makes all others 0, a probe, and their cosine."""
    spiky = of_length_one([1.0, *[0.0034] * (DIMENSION - 1)])
    probe = of_length_one([0.37, *[0.93 / np.sqrt(DIMENSION - 1)] * (DIMENSION - 1)])
    return probe, spiky, float(spiky @ probe)


@pytest.mark.parametrize("by", ["persons", "faces"])
def test_a_face_of_which_int8_loses_much_is_found(tmp_path: Path, by: Any) -> None:
    probe, spiky, cosine = probe_and_spiky()
    with opened(tmp_path) as store:
        store.create(NewCollection("staff", WIDE, precision="int8"))
        store.enrol("staff", [enrolment("spiky", [("s1", spiky)])])
        for threshold, wanted in ((cosine - 1e-3, ["s1"]), (cosine + 1e-3, [])):
            (found,) = store.search("staff", probe[None], Question(by=by, threshold=threshold))
            assert [match.face.id for match in found] == wanted


def test_others_who_are_just_below_do_not_hide_who_is_above(tmp_path: Path) -> None:
    probe, spiky, cosine = probe_and_spiky()
    decoys = [enrolment(f"d{i}", [(f"d{i}", at(probe, cosine - 0.01, i))]) for i in range(100)]
    with opened(tmp_path) as store:
        store.create(NewCollection("staff", WIDE, precision="int8"))
        store.enrol("staff", [*decoys, enrolment("spiky", [("s1", spiky)])])
        for by in ("persons", "faces"):
            (found,) = store.search("staff", probe[None], Question(top=1, by=by, threshold=cosine - 1e-3))  # type: ignore[arg-type]  # both are
            assert [match.person.id for match in found] == ["spiky"]


def test_a_person_is_above_by_another_face_than_int8_takes_for_the_nearest(tmp_path: Path) -> None:
    probe, spiky, cosine = probe_and_spiky()
    with opened(tmp_path) as store:
        store.create(NewCollection("staff", WIDE, precision="int8"))
        store.enrol("staff", [enrolment("anna", [("plain", at(probe, cosine - 0.01, 0)), ("spiky", spiky)])])
        (found,) = store.search("staff", probe[None], Question(threshold=cosine - 1e-3))
    assert [(match.person.id, match.face.id) for match in found] == [("anna", "spiky")]
    assert found[0].similarity == pytest.approx(cosine, abs=1e-5)


def test_who_is_above_a_threshold_is_who_float32_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    raw = rng.standard_normal((600, DIMENSION)) * np.exp(
        rng.uniform(0, 2.5, (600, 1)) * rng.standard_normal((600, 512))
    )
    vectors, probes = of_length_one(raw), of_length_one(rng.standard_normal((20, DIMENSION)))
    with opened(tmp_path) as store:
        store.create(NewCollection("staff", WIDE, precision="int8"))
        store.enrol("staff", [enrolment(f"p{i // 3}", [(f"f{i}", v)]) for i, v in enumerate(vectors)])
        for threshold in (0.02, 0.05, 0.08):
            found = store.search("staff", probes, Question(top=200, threshold=threshold))
            for probe, matches in zip(probes, found, strict=True):
                above = {f"p{i // 3}" for i in np.flatnonzero(vectors @ probe >= threshold)}
                assert {match.person.id for match in matches} == above
