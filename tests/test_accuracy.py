"""The arithmetic of benchmarks/accuracy.py, which prints the figures of docs/models.md."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support import REPO

SCRIPT = REPO / "benchmarks" / "accuracy.py"
ACCURACY = runpy.run_path(str(SCRIPT))


def test_without_labelled_pictures_it_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / "none")])
    assert ACCURACY["main"]() == 0
    assert capsys.readouterr().out == f"no labelled pictures and weights at {tmp_path / 'none'}: nothing measured\n"


def test_each_annotated_box_has_one_partner_the_best() -> None:
    wanted = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    found = np.array([[0, 0, 10, 8], [0, 0, 10, 9], [26, 0, 36, 10]], np.float32)
    table = ACCURACY["overlaps"](found, wanted)

    np.testing.assert_allclose(table, [[0.8, 0], [0.9, 0], [0, 0.25]], atol=1e-6)
    assert ACCURACY["partners"](table) == pytest.approx([0.9])
    assert ACCURACY["partners"](np.empty((0, 2), np.float32)) == []


def test_pairs_are_judged_by_rank_and_by_the_best_threshold() -> None:
    same = np.array([True, True, False, False])

    assert ACCURACY["roc_auc"](np.array([0.9, 0.5, 0.4, 0.1]), same) == 1
    assert ACCURACY["roc_auc"](np.array([0.9, 0.4, 0.4, 0.1]), same) == 0.875
    assert ACCURACY["best_accuracy"](np.array([0.9, 0.5, 0.4, 0.1]), same) == (1.0, 0.5)
    assert ACCURACY["best_accuracy"](np.array([0.9, 0.3, 0.4, 0.1]), same) == (0.75, 0.9)
