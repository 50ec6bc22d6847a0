"""The commands whose tables stand in the documents."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import REPO

SCRIPT = REPO / "benchmarks" / "extra_sizes.py"


def test_without_real_weights_the_table_of_extra_sizes_is_skipped_with_a_line(tmp_path: Path) -> None:
    (tmp_path / "project" / "benchmarks").mkdir(parents=True)
    script = shutil.copy(SCRIPT, tmp_path / "project" / "benchmarks")
    env = {"PYTHONPATH": str(REPO / "src")}
    done = subprocess.run([sys.executable, script], check=False, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("skipped: ") and done.stdout.count("\n") == 1


@pytest.fixture(scope="module")
def script() -> Any:
    return _module("extra_sizes")


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, REPO / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("boxes", "wanted", "pairs"),
    [
        ([], [[0, 0, 10, 10]], 0),
        ([[0, 0, 10, 10]], [[0, 0, 10, 10]], 1),
        ([[0, 0, 10, 10], [0, 0, 10, 11]], [[0, 0, 10, 10]], 1),  # one annotated face counts once
        ([[0, 0, 10, 10]], [[0, 0, 10, 10], [1, 0, 11, 10]], 1),  # so does one box
        ([[0, 0, 10, 10], [50, 50, 60, 60]], [[51, 50, 61, 60], [0, 0, 10, 4.9]], 1),
    ],
)
def test_boxes_and_annotations_are_counted_in_pairs(
    script: Any, boxes: list[list[float]], wanted: list[list[float]], pairs: int
) -> None:
    found = (np.array(rows, np.float32).reshape(-1, 4) for rows in (boxes, wanted))
    overlaps = script.matches(*found)
    assert len(overlaps) == pairs and all(0.5 <= overlap <= 1 for overlap in overlaps)


def test_the_table_of_engines_has_a_row_a_case_and_a_ratio_an_engine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = _module("engines")
    monkeypatch.setattr(engines, "SECONDS", 0)
    monkeypatch.setattr(sys, "argv", ["engines.py", "sface"])
    monkeypatch.setattr("logging.disable", lambda _: None)
    assert engines.main() == 0

    head, _, *rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert head == "| network | input | threads | batch | onnx, ms | openvino | onnx, PReLU as published |"
    threads = {len(os.sched_getaffinity(0)), 1}
    assert len(rows) == 2 * len(threads)  # one face and four
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[:2] == ["`sface`", "112×112"] and all(float(cell.removeprefix("×")) > 0 for cell in cells[5:])
