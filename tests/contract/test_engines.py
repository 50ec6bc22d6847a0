"""A service with every backend that computes here, and one that chooses among them."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.golden.references import cosine
from tests.runnable import EVERY, measured_here
from tests.support import client_of, extract, served, settings_of, wait_ready
from visage.backends import ORACLE


def info(client: Any) -> Any:
    return client.get("/info").json()


@pytest.fixture
def folder(models_dir: Path, tmp_path: Path) -> Path:
    """A models folder of this test's own, prepared, in which nothing was measured."""
    copy = tmp_path / "models"
    shutil.copytree(models_dir, copy, ignore=shutil.ignore_patterns("*.engines.json", ".lock"))
    return copy


def test_left_to_us_each_network_has_an_engine_that_was_measured_and_a_restart_keeps_it(
    folder: Path, hopper: bytes
) -> None:
    settings = settings_of(MODELS_DIR=str(folder), INFERENCE_BACKEND="auto")
    with client_of(settings) as client:
        first = info(client)
        assert len(extract(client, hopper)["data"][0]["faces"]) == 1
    with client_of(settings) as client:
        second = info(client)

    assert first["models"]["inference_backend"] == "onnx"  # a word that clients know
    assert first["visage"]["inference_backend"] == "auto"
    assert set(first["visage"]["engines"]) == {"yunet", "sface"}
    for name, told in first["visage"]["engines"].items():
        again = second["visage"]["engines"][name]
        assert (told["why"], again["why"]) == ("measured", "remembered")
        assert told["engine"] == again["engine"] and told["timings"] == again["timings"]
        assert set(told["timings"]) == measured_here()
        assert all(case["ms"] > 0 <= case["spread"] for cases in told["timings"].values() for case in cases)


@pytest.mark.parametrize("name", EVERY)
def test_a_named_backend_answers_the_same_and_nothing_is_measured(folder: Path, hopper: bytes, name: str) -> None:
    with client_of(settings_of(MODELS_DIR=str(folder), INFERENCE_BACKEND=name)) as client:
        (face,) = extract(client, hopper)["data"][0]["faces"]
        told = info(client)
    with client_of(settings_of(MODELS_DIR=str(folder), INFERENCE_BACKEND=ORACLE)) as client:
        (known,) = extract(client, hopper)["data"][0]["faces"]

    assert cosine(face["vec"], known["vec"]) > 0.9999 and face["prob"] == pytest.approx(known["prob"], abs=1e-3)
    assert told["visage"]["inference_backend"] == name
    assert told["visage"]["engines"]["sface"] == {"engine": name, "why": "named", "timings": {}}
    assert not list(folder.rglob("*.engines.json"))


@pytest.mark.parametrize("compat", ["0.7", "0.9"])
def test_under_compat_api_info_tells_a_backend_that_clients_know(folder: Path, compat: str) -> None:
    with client_of(settings_of(MODELS_DIR=str(folder), INFERENCE_BACKEND="openvino", COMPAT_API=compat)) as client:
        told = info(client)
    assert told["models"]["backend_name" if compat == "0.7" else "inference_backend"] == "onnx" and "visage" not in told


def test_several_workers_take_the_choice_that_was_made_before_them(folder: Path, tmp_path: Path) -> None:
    with served(tmp_path, MODELS_DIR=str(folder), INFERENCE_BACKEND="auto", NUM_WORKERS="2") as server:
        wait_ready(lambda: server.log().count("visage is ready") == 2, 100)
        told = [line for line in server.log().splitlines() if "is computed by" in line]
        engines = httpx.get(f"{server.url}/info", timeout=60).json()["visage"]["engines"]
    assert len(told) == 2 and all(json.loads(line)["event"].startswith(("yunet", "sface")) for line in told)
    assert {engine["why"] for engine in engines.values()} == {"measured"}
