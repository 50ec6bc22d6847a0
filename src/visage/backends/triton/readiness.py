"""Whether a Triton server is there for some networks, asked once."""

from collections.abc import Sequence
from contextlib import closing

import grpc
from tritonclient.grpc import service_pb2 as wire
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub


def lacks(address: str, names: Sequence[str], seconds: float) -> str:
    """What the server at `address` lacks to answer for these models, in one line; empty where it lacks nothing."""
    with closing(grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),))) as channel:
        stub = GRPCInferenceServiceStub(channel)
        try:
            if not stub.ServerReady(wire.ServerReadyRequest(), timeout=seconds).ready:
                return "it is not ready"
            missing = [n for n in names if not stub.ModelReady(wire.ModelReadyRequest(name=n), timeout=seconds).ready]
        except grpc.RpcError as exc:
            words = (exc.details() or "").strip().splitlines()
            return f"{exc.code().name}: {words[0][:300] if words else 'no reason given'}"
    return f"it does not serve {', '.join(missing)}" if missing else ""
