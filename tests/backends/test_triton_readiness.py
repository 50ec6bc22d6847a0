"""Whether a server is there, asked of one in this process."""

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("tritonclient.grpc", reason="needs the extra visage[triton]")

import grpc
from tritonclient.grpc import service_pb2 as wire
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server

from visage.backends.triton.readiness import lacks


@dataclass
class Ready(GRPCInferenceServiceServicer):
    ready: bool = True
    models: set[str] = field(default_factory=set)

    def ServerReady(self, request: Any, context: Any) -> Any:
        return wire.ServerReadyResponse(ready=self.ready)

    def ModelReady(self, request: Any, context: Any) -> Any:
        return wire.ModelReadyResponse(ready=request.name in self.models)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (Ready(models={"a", "b", "c"}), ""),
        (Ready(models={"b"}), "it does not serve a, c"),
        (Ready(ready=False), "it is not ready"),
    ],
)
def test_what_a_server_lacks(server: Ready, said: str) -> None:
    with ThreadPoolExecutor(2) as workers:
        serving = grpc.server(workers)
        add_GRPCInferenceServiceServicer_to_server(server, serving)
        address = f"127.0.0.1:{serving.add_insecure_port('127.0.0.1:0')}"
        serving.start()
        assert lacks(address, ["a", "b", "c"], 30) == said
        serving.stop(None).wait()


def test_where_nothing_listens_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening, and nobody else's meanwhile
        assert lacks(f"127.0.0.1:{taken.getsockname()[1]}", ["a"], 30).startswith("UNAVAILABLE: ")
