"""A backend whose numbers are wrong is not served: readiness is refused, and everything that is needed is said."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import bending
from tests.networks import Embedder, dense, model_file, pictures, scrfd_heads
from tests.support import REPO, Client, b64, client_of, models_folder, settings_of, wait_ready
from visage.api.app import create_app
from visage.backends import BACKENDS, onnx

# Network, backend, and the difference.
SAID = r"yunet, computed by bent( in half precision)?, failed its self-test: number 1 is 0\.\d{4}, not 0\.1514 ± 0\.01"
MIT = {"licence": {"id": "MIT"}}

# `visage serve` where one more backend stands in the table; workers read this file as well.
SERVE = f"""
from visage.__main__ import main
from visage.backends import BACKENDS
BACKENDS[{bending.NAME!r}] = {bending.ADDRESS!r}
if __name__ == "__main__":
    raise SystemExit(main(["serve"]))
"""


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, bending.NAME, bending.ADDRESS)


def test_it_bends(tmp_path: Path) -> None:
    file = model_file(Embedder.of(4).save(tmp_path / "a.onnx"))
    right, wrong = (
        opener(file).run(pictures(1, (112, 112)))[0] for opener in (onnx.open_session, bending.open_session)
    )
    assert np.abs(wrong - right).max() == pytest.approx(0.1, rel=1e-3)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("half", ["0", "1"])
def test_ready_stays_503_and_says_which_network_on_what_and_how_far_off(
    models_dir: Path, hopper: bytes, half: str
) -> None:
    settings = settings_of(MODELS_DIR=str(models_dir), INFERENCE_BACKEND="bent", FORCE_FP16=half)
    with Client(create_app(settings), raise_server_exceptions=False) as client:
        wait_ready(lambda: client.get("/health").status_code == 500, 100)
        for _ in range(3):
            answer = client.get("/ready")
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:visage:not-ready")
            said = re.search(SAID, answer.json()["detail"])
            assert said and bool(said[1]) == (half == "1") and int(answer.headers["retry-after"]) > 0
            assert str(models_dir) not in answer.text
        refused = client.post("/extract", json={"images": {"data": [b64(hopper)]}})
        assert refused.status_code == 503


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_process_ends_with_that_line_in_its_log(models_dir: Path, tmp_path: Path, workers: str) -> None:
    script = tmp_path / "serve.py"
    script.write_text(SERVE, "utf-8")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{REPO / 'src'}:{REPO}", "MODELS_DIR": str(models_dir)}
    env |= {"INFERENCE_BACKEND": "bent", "PORT": "0", "NUM_WORKERS": workers, "LOG_FORMAT": "json"}
    done = subprocess.run([sys.executable, script], check=False, capture_output=True, text=True, env=env, timeout=200)
    assert done.returncode == 1
    errors = [line["event"] for line in map(json.loads, done.stderr.splitlines()) if line["level"] == "error"]
    assert errors and re.search(SAID, errors[0])
    assert "visage is ready" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("backend", ["bent", "right"])
def test_without_known_numbers_onnx_runtime_s_stand_in_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(BACKENDS, "right", BACKENDS["onnx"])
    files = {"near": dense(tmp_path / "d.onnx", scrfd_heads()), "one": Embedder.of(6).save(tmp_path / "e.onnx")}
    folder = models_folder(
        tmp_path / "models", {"near": {"family": "scrfd", **MIT}, "one": {"family": "arcface", **MIT}}, files
    )
    settings = settings_of(MODELS_DIR=str(folder), INFERENCE_BACKEND=backend, DET_NAME="near", REC_NAME="one")
    if backend == "right":
        with client_of(settings) as client:
            assert client.get("/ready").status_code == 200
        assert "no known numbers" not in caplog.text
        return
    with Client(create_app(settings), raise_server_exceptions=False) as client:
        wait_ready(lambda: client.get("/health").status_code == 500, 100)
        said = client.get("/ready").json()["detail"]
    assert "near, computed by bent, failed its self-test: number " in said and "as by ONNX Runtime on the CPU" in said
