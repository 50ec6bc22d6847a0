"""The model.py of `--platform python`, over a stand-in for the module that Triton gives it."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.networks import dense, model_file, yunet_heads
from tests.support import REPO
from visage.backends.triton.repository import Serving, write

SCRIPT = REPO / "src" / "visage" / "data" / "triton_model.py"


@dataclass
class Tensor:
    name: str
    array: Any

    def as_numpy(self) -> Any:
        return self.array


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    triton: Any = ModuleType("triton_python_backend_utils")
    triton.Tensor = Tensor
    triton.InferenceResponse = lambda tensors: SimpleNamespace(tensors=tensors)
    triton.get_input_tensor_by_name = lambda request, name: request[name]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton)
    spec = importlib.util.spec_from_file_location("triton_model", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module


@pytest.mark.parametrize("batch", ["n", 1])
def test_requests_that_were_joined_are_one_run_and_each_gets_its_own(
    tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch, batch: Any
) -> None:
    heads = yunet_heads()
    write(model_file(dense(tmp_path / "tiny.onnx", heads, batch=batch)), tmp_path, Serving("python"))
    config = {
        "max_batch_size": 16 if batch == "n" else 0,
        "input": [{"name": "input"}],
        "output": [{"name": head.name} for head in heads],
        "parameters": {"threads": {"string_value": "1"}},
    }
    model = script.TritonPythonModel()
    model.initialize(
        {"model_config": json.dumps(config), "model_repository": str(tmp_path / "tiny"), "model_version": "1"}
    )
    runs: list[Any] = []
    session = model._session
    monkeypatch.setattr(
        model, "_session", SimpleNamespace(run=lambda names, feed: (runs.append(1), session.run(names, feed))[1])
    )
    rng = np.random.default_rng(2)
    counts = (1, 3, 2) if batch == "n" else (1, 1, 1)
    given = [rng.normal(0, 50, (count, 3, 64, 32)).astype(np.float32) for count in counts]
    responses = model.execute([{"input": Tensor("input", tensor)} for tensor in given])

    assert len(runs) == (1 if batch == "n" else 3)
    for response, tensor in zip(responses, given, strict=True):
        assert [answer.name for answer in response.tensors] == [head.name for head in heads]
        for answer, head in zip(response.tensors, heads, strict=True):
            np.testing.assert_allclose(answer.array, head(tensor), atol=1e-4)

    apart = [{"input": Tensor("input", np.zeros((1, 3, side, 32), np.float32))} for side in (32, 64)]
    assert [r.tensors[0].array.shape[1] for r in model.execute(apart)] == [16, 32]  # sizes that cannot be joined
    model.finalize()
