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
import simplejpeg
from benchmarks import decoding
from benchmarks import pictures as benchmark_pictures
from benchmarks.rows import Row, percentile, ratio

from tests.support import REPO, Client
from visage.faces import ImageBatch

BENCHMARKS = REPO / "benchmarks"
SCRIPT = BENCHMARKS / "extra_sizes.py"


def test_without_real_weights_the_table_of_extra_sizes_is_skipped_with_a_line(tmp_path: Path) -> None:
    (tmp_path / "project" / "benchmarks").mkdir(parents=True)
    script = shutil.copy(SCRIPT, tmp_path / "project" / "benchmarks")
    env = {"PYTHONPATH": str(REPO / "src")}
    done = subprocess.run([sys.executable, script], check=False, env=env, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("skipped: ") and done.stdout.count("\n") == 1


@pytest.mark.timeout(600)
def test_the_edges_are_measured_by_every_way() -> None:
    command = [sys.executable, BENCHMARKS / "edges.py", "1"]
    env = {"PYTHONPATH": str(REPO / "src")}
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=550)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ") and ", ms" not in line]
    assert [row[0].strip() for row in rows[:4]] == ["raw body", "msgpack", "multipart", "JSON"]
    assert [int(row[1]) for row in rows[4:]] == [1, 1, 400, 400]
    assert all(float(number) > 0 for row in rows for number in row[2:])


@pytest.mark.timeout(600)
def test_the_gallery_is_measured_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.search", "--rows", "3000", "--folder", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO / "src"), str(REPO)])}
    done = subprocess.run(command, check=False, cwd=REPO, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    rows = {
        line.split("|")[1].strip(): line.split("|")[3] for line in done.stdout.splitlines() if line.startswith("| ")
    }
    for name in ("fp32: recall of ten", "fp16: recall of ten", "int8, the best 40 weighed again: recall of ten"):
        assert float(rows[name]) >= 0.99
    for name in ("fp32: ten best persons", "memory of 3 processes to the raw vectors", "start to first answer"):
        assert float(rows[name].split()[0]) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_gallery_is_measured_over_http(tmp_path: Path, models_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.galleries", "--rows", "600", "--folder", str(tmp_path)],
        cwd=REPO,
        env={**os.environ, "MODELS_DIR": str(models_dir), "PYTHONPATH": str(REPO / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert "bulk enrolment, each row acknowledged" in told and "process to first answer" in told
    assert {f"{kind}: ten best persons of a vector" for kind in ("fp32", "fp16", "int8")} <= set(told)
    assert not any(tmp_path.iterdir())  # nothing is left


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
    ("size", "least", "of"),
    [((3000, 2000), 2, 2), ((3000, 2000), 8, 4), ((5120, 5120), 8, 8), ((5119, 5119), 8, 4), ((1279, 600), 8, 1)],
)
def test_a_scaled_picture_is_no_smaller_than_what_is_fitted(size: tuple[int, int], least: int, of: int) -> None:
    scaled = _module("scaled_decode")
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


# -- make bench, make soak, make compare --------------------------------------------------------------------------


def test_an_aim_is_met_from_above_or_from_below() -> None:
    assert Row("a", 1.0, "", 1.0).met and not Row("a", 1.01, "", 1.0).met
    assert Row("a", 1.0, "", 1.0, at_least=True).met and not Row("a", 0.99, "", 1.0, at_least=True).met
    assert Row("a", 1e9).met
    assert str(Row("a", 2.0, "s", 1.0)) == "| a | ≤ 1 | 2 s (missed) |"


def test_percentile_and_ratio() -> None:
    assert percentile([3, 1, 2, 4], 0.5) == 3 and percentile([3, 1, 2, 4], 0.99) == 4
    assert ratio([2, 9, 30], [1, 3, 10]) == 3


@pytest.mark.parametrize("faces", [0, 1, 278, 720])
def test_the_numpy_that_decoding_is_held_against_finds_the_same_faces(faces: int) -> None:
    outputs = decoding.crowd(faces)
    detector = decoding.FAMILY.build(decoding.Fixed(outputs), {})
    batch = ImageBatch(np.zeros((1, 640, 640, 3), np.uint8), np.ones(1))
    (found,) = detector.detect(batch, np.full(1, decoding.THRESHOLD, np.float32))
    expected = decoding.vectorised(outputs)

    assert len(found) == len(expected) == faces
    np.testing.assert_allclose(found.scores, expected[:, 4])
    np.testing.assert_allclose(found.boxes, expected[:, :4], atol=1e-3)
    np.testing.assert_allclose(found.landmarks.reshape(-1, 10), expected[:, 5:], atol=1e-3)


def test_the_pictures_have_the_sizes_and_faces_that_their_rows_name(real: Client) -> None:
    for name, size in (("one_face", (1076, 880)), ("wide", (1080, 1920))):
        body = getattr(benchmark_pictures, name)()
        assert simplejpeg.decode_jpeg(body).shape[:2] == size
        answer = real.post("/extract", content=body, headers={"Content-Type": "image/jpeg"}).json()
        assert len(answer["data"][0]["faces"]) == 1


@pytest.mark.timeout(600)
def test_a_short_soak_tells_memory_and_answers(models_dir: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--requests", "40"]
    env = {**os.environ, "PYTHONPATH": f"{REPO / 'src'}:{REPO}", "SOAK_PAUSE": "0.1", "REQUEST_TIMEOUT": "600"}
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=550, cwd=REPO)
    assert "RSS after 40 ÷ after 20 requests: " in done.stdout and done.stderr == ""
    assert "unexpected answers" not in done.stdout


@pytest.mark.timeout(600)
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
