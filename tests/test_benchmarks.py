"""The commands whose tables stand in the documents."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from tests.support import REPO

BENCHMARKS = REPO / "benchmarks"
SCRIPT = BENCHMARKS / "extra_sizes.py"


def test_without_real_weights_the_table_of_extra_sizes_is_skipped_with_a_line(tmp_path: Path) -> None:
    (tmp_path / "project" / "benchmarks").mkdir(parents=True)
    script = shutil.copy(SCRIPT, tmp_path / "project" / "benchmarks")
    env = {"PYTHONPATH": str(REPO / "src")}
    done = subprocess.run([sys.executable, script], check=False, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("skipped: ") and done.stdout.count("\n") == 1


def test_the_edges_are_measured_by_every_way() -> None:
    command = [sys.executable, BENCHMARKS / "edges.py", "1"]
    env = {"PYTHONPATH": str(REPO / "src")}
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ") and ", ms" not in line]
    assert [row[0].strip() for row in rows[:4]] == ["raw body", "msgpack", "multipart", "JSON"]
    assert [int(row[1]) for row in rows[4:]] == [1, 1, 400, 400]
    assert all(float(number) > 0 for row in rows for number in row[2:])


def imported(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> Any:
    return imported("extra_sizes")


@pytest.mark.parametrize(
    ("size", "least", "of"),
    [((3000, 2000), 2, 2), ((3000, 2000), 8, 4), ((5120, 5120), 8, 8), ((5119, 5119), 8, 4), ((1279, 600), 8, 1)],
)
def test_a_scaled_picture_is_no_smaller_than_what_is_fitted(size: tuple[int, int], least: int, of: int) -> None:
    scaled = imported("scaled_decode")
    assert scaled.fraction(*size, least) == of
    data = simplejpeg.encode_jpeg(np.zeros((size[1], size[0], 3), np.uint8))
    pixels, milliseconds = scaled.decoded(data, of)
    assert pixels.shape[:2] == (-(-size[1] // of), -(-size[0] // of)) and milliseconds > 0


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
