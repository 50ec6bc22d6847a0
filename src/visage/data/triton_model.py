"""model.py of a Triton model that opens its ONNX file with ONNX Runtime: what `platform: python` serves.

Runs inside Triton's python backend, with numpy and onnxruntime in that server's Python; `visage triton-repo --platform
python` puts it there. The file that it opens stands beside it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb


class TritonPythonModel:
    """One instance of a network; the requests that the server joined are one run."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(config["parameters"]["threads"]["string_value"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self._input: str = config["input"][0]["name"]
        self._outputs: list[str] = [output["name"] for output in config["output"]]
        self._joins = config["max_batch_size"] > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        """A response a request, in order."""
        given = [pb.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests]
        if not self._joins or len({tensor.shape[1:] for tensor in given}) > 1:
            return [self._response(self._session.run(self._outputs, {self._input: tensor})) for tensor in given]
        joined = self._session.run(self._outputs, {self._input: np.concatenate(given)})
        ends = np.cumsum([len(tensor) for tensor in given])[:-1]
        parts = [np.split(output, ends) for output in joined]
        return [self._response([output[i] for output in parts]) for i in range(len(given))]

    def finalize(self) -> None:
        del self._session

    def _response(self, outputs: list[Any]) -> Any:
        return pb.InferenceResponse([pb.Tensor(*named) for named in zip(self._outputs, outputs, strict=True)])
