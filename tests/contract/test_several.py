"""Several networks in a process of its own: named, idle, gone, put back; and starts that are refused."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.networks import Embedder, dense, heads, save, scrfd_heads
from tests.support import REPO, Server, b64, models_folder, served, wait_ready

BALLAST = 64 * 2**20  # bytes of the heavy embedder


def heavy(path: Path) -> Path:
    """An embedder of three numbers that carries a table of `BALLAST` bytes, which no optimiser can leave out."""
    nodes = [
        helper.make_node("ReduceMean", ["data", "axes"], ["means"], keepdims=0),
        helper.make_node("ArgMax", ["means"], ["row"], axis=1, keepdims=1),
        helper.make_node("Gather", ["table", "row"], ["nothing"]),
        helper.make_node("Add", ["means", "nothing"], ["fc1"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([2, 3]), "axes"),
        numpy_helper.from_array(np.zeros(BALLAST // 4, np.float32), "table"),
    ]
    result = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, ["batch", 3])
    return save(path, nodes, [("data", ["batch", 3, 112, 112])], [result], constants)


@dataclass
class House:
    """A served process and its models folder."""

    server: Server
    models: Path
    client: httpx.Client

    def ask(self, **fields: Any) -> httpx.Response:
        body = {"images": {"data": [PICTURE]}, "threshold": 0.5, "limit_faces": 2, **fields}
        return self.client.post("/extract", json=body)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.server.log().splitlines()]

    def resident(self) -> int:
        return psutil.Process(self.server.pid).memory_info().rss

    def threads(self) -> int:
        return psutil.Process(self.server.pid).num_threads()

    def in_memory(self) -> set[str]:
        return {model["name"] for model in self.client.get("/models").json()["models"] if model["in_memory"]}


PICTURE = b64((REPO / "src/visage/data/selftest.png").read_bytes())
IDLE = 4  # seconds; a busy machine must get to look at networks that are awake
NAMES = {"near": "scrfd", "far": "scrfd", "light": "arcface", "heavy": "arcface"}


def folder_of(tmp_path: Path) -> Path:
    other = heads({"score": 1, "bbox": 4, "kps": 10}, anchors=2, sigmoid=["score"], seed=8)
    files = {
        "near": dense(tmp_path / "near.onnx", scrfd_heads()),
        "far": dense(tmp_path / "far.onnx", other),
        "light": Embedder.of(6).save(tmp_path / "light.onnx"),
        "heavy": heavy(tmp_path / "heavy.onnx"),
    }
    entries = {name: {"family": family, "licence": {"id": "MIT"}} for name, family in NAMES.items()}
    return models_folder(tmp_path / "models", entries, files)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    models = folder_of(tmp_path)
    environ = {"MODELS_DIR": str(models), "DET_NAME": "near", "REC_NAME": "light", "MAX_SIZE": "96,64"}
    environ |= {"MODELS_LOADED": "far,heavy", "MODELS_IDLE_SECONDS": str(IDLE)}
    with served(tmp_path, **environ) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        yield House(server, models, client)


def test_networks_sleep_and_wake_and_give_back_what_they_took(house: House) -> None:
    first, awake, threads = _all_awake(house)
    assert first.status_code == 200 and len(first.json()["data"][0]["faces"][0]["vec"]) == 3
    assert first.json()["models"]["det"].startswith("far@") and first.json()["models"]["rec"].startswith("heavy@")
    wait_ready(lambda: house.in_memory() == set(), 60)
    # What is no longer in memory is let go of a moment later.
    wait_ready(lambda: house.threads() <= threads - len(NAMES), 60)
    wait_ready(lambda: house.resident() < awake - 0.7 * BALLAST, 60)
    before = len(house.events())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: house.ask(det_name="far", rec_name="heavy"), range(8)))
    for answer in answers:
        assert answer.status_code == 200
        assert answer.json()["data"][0]["faces"] == first.json()["data"][0]["faces"]
    events = house.events()
    woken = events[before:]
    for name in ("far", "heavy"):
        slept = [event.startswith(f"{name} was not used for {IDLE} s: unloaded, ") for event in events]
        assert any(slept)
        # Once for all eight; between those of a busy machine it may have slept again.
        assert 1 <= sum(event.startswith(f"{name} loaded again, ") for event in woken) <= 1 + sum(slept[before:])
    assert not any(event.startswith(("near loaded again", "light loaded again")) for event in woken)


def _all_awake(house: House) -> tuple[httpx.Response, int, int]:
    """An answer of far and heavy, and the process's size and threads, taken while every network was in memory."""
    until = time.monotonic() + 60
    while True:
        assert house.ask().status_code == 200  # a busy machine may have let them sleep already
        first = house.ask(det_name="far", rec_name="heavy")
        awake, threads = house.resident(), house.threads()
        if house.in_memory() == set(NAMES):
            return first, awake, threads
        assert time.monotonic() < until, "some sleep before the others are awake"


def test_a_file_that_is_gone_costs_those_who_need_it_and_nobody_else(house: House, tmp_path: Path) -> None:
    wait_ready(lambda: house.in_memory() == set(), 60)
    place = house.models / "onnx/heavy/heavy.onnx"
    place.unlink()
    refused = house.ask(rec_name="heavy")
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
    assert refused.json()["type"] == "urn:visage:model-unavailable"
    assert refused.json()["detail"] == "heavy could not be loaded again; the service's log says why"
    assert any(event.startswith("heavy could not be loaded again: heavy: no file at ") for event in house.events())
    assert house.ask().status_code == 200 and house.client.get("/ready").status_code == 200
    Embedder.of(3).save(place)
    assert house.ask(rec_name="heavy").status_code == 503  # another network must not answer under this name
    shutil.copyfile(tmp_path / "heavy.onnx", place)
    assert house.ask(rec_name="heavy").status_code == 200


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {"MODELS_LOADED": "far,middle"},
            "MODELS_LOADED: 'middle' is not in the catalogue; of detection and recognition there are: yunet, sface, ",
        ),
        ({"MODELS_LOADED": "far,light,far"}, "MODELS_LOADED names 'far' twice; name each once: far, light"),
        ({"MODELS_LOADED": "ages"}, "MODELS_LOADED: 'ages' is an attributes-gender-age model; name it in GA_NAME"),
        ({"MODELS_IDLE_SECONDS": "-1"}, "MODELS_IDLE_SECONDS='-1': Input should be greater than or equal to 0"),
        ({"MODELS_IDLE_SECONDS": "never"}, "MODELS_IDLE_SECONDS='never': Input should be a valid number"),
    ],
)
def test_a_start_that_cannot_be_is_refused_in_one_line(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    entries = {
        name: {"family": family, "licence": {"id": "MIT"}} for name, family in {**NAMES, "ages": "genderage"}.items()
    }
    folder = models_folder(tmp_path / "models", entries, {})
    env = {
        **os.environ,
        "PYTHONPATH": str(REPO / "src"),
        "MODELS_DIR": str(folder),
        "DET_NAME": "near",
        "REC_NAME": "light",
    }
    command = [sys.executable, "-m", "visage", "serve"]
    done = subprocess.run(
        command, cwd=REPO, env=env | environ, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert said in line
