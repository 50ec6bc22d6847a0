"""A real Triton server: the one inside the package nvidia-pytriton, in a Python environment of its own.

`make triton-test` makes that environment; TRITON_VENV names another.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as wire
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.support import REPO

VENV = Path(os.environ.get("TRITON_VENV", REPO / "build" / "triton"))
PROGRAM = "pytriton/tritonserver/bin/tritonserver"


def packages() -> Path | None:
    """The folder of packages that holds the server; None where there is none."""
    return next((path.parents[3] for path in VENV.glob(f"lib/python*/site-packages/{PROGRAM}")), None)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class TritonServer:
    """Serves the model repository `repository` while it runs; `work` takes its backends and its log."""

    def __init__(self, repository: Path, work: Path, *, arguments: tuple[str, ...] = ()) -> None:
        found = packages()
        assert found is not None
        self._packages = found
        self._repository = repository
        self._work = work
        self._arguments = arguments
        # What its Python backend shares among its own processes is so called; a killed one leaves it behind.
        self._prefix = f"triton-test-{os.getpid()}-{id(self)}"
        self.log = work / "tritonserver.log"
        self.address = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._with_python_backend()

    def start(self, *, wait: bool = True) -> None:
        port = self.address.rsplit(":", 1)[1]
        python = VENV / "bin" / "python"
        told = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"],
            check=True,
            capture_output=True,
            text=True,
        )
        env = {
            "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"{self._packages / 'nvidia_pytriton.libs'}:{told.stdout.strip()}",
        }
        command = [
            str(self._packages / PROGRAM),
            f"--model-repository={self._repository}",
            f"--backend-directory={self._work / 'backends'}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={port}",
            "--allow-http=false",
            "--allow-metrics=false",
            "--exit-timeout-secs=5",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            *self._arguments,
        ]
        with self.log.open("ab") as log:
            # A session of its own: the stubs of the Python backend can then be ended with it.
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                if self.asked("ServerReady", wire.ServerReadyRequest()).ready:
                    return
            except grpc.RpcError:
                pass
            assert self._process is not None and self._process.poll() is None, self.log.read_text("utf-8")
            assert time.monotonic() < until, self.log.read_text("utf-8")
            time.sleep(0.1)

    def kill(self) -> None:
        """As kill -9 of the machine's operator: no goodbye, the stubs with it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def asked(self, method: str, request: Any) -> Any:
        with grpc.insecure_channel(self.address) as channel:
            return getattr(GRPCInferenceServiceStub(channel), method)(request, timeout=30)

    def batches(self, model: str) -> dict[int, int]:
        """How often the server ran the network on so many pictures at once."""
        stats = self.asked("ModelStatistics", wire.ModelStatisticsRequest(name=model)).model_stats[0]
        return {int(batch.batch_size): int(batch.compute_infer.count) for batch in stats.batch_stats}

    def regions(self) -> set[str]:
        """The names of the shared memory that it has mapped."""
        return set(self.asked("SystemSharedMemoryStatus", wire.SystemSharedMemoryStatusRequest()).regions)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        os.kill(self._process.pid, signal.SIGCONT)
        if how is signal.SIGKILL:
            os.killpg(self._process.pid, how)
        else:
            self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None
        for left in Path("/dev/shm").glob(f"{self._prefix}*"):
            left.unlink()

    def _with_python_backend(self) -> None:
        """A backend directory with the stub for the environment's own Python."""
        bundled = self._packages / "pytriton" / "tritonserver"
        shutil.copytree(bundled / "backends", self._work / "backends")
        version = self._packages.parent.name.removeprefix("python")
        stub = bundled / "python_backend_stubs" / version / "triton_python_backend_stub"
        shutil.copy(stub, self._work / "backends" / "python")
