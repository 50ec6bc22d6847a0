"""A real Milvus server (standalone 2.3.5), from the package `milvus` that `make milvus-test` fetches into build/.

Its own launcher leaves the server behind when it is ended, so that the program is run here itself.
"""

import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support import REPO

PACKAGE = Path(os.environ.get("MILVUS_SERVER", REPO / "build" / "milvus-server")) / "milvus" / "__init__.py"
START_SECONDS = 120.0


class Server:
    """One server on ports of its own, its data below `folder`. `kill` is kill -9; `start` again finds the data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        package = _package()
        package._initialize_data_files(str(PACKAGE.parents[1]))
        self._program = PACKAGE.parents[1] / "bin" / "milvus"
        self._config: Any = package.MilvusServerConfig(data_dir=str(folder))
        ports = iter(_free_ports(16))
        for key in self._config.configurable_items:
            if key.endswith("_port"):
                self._config.configs[key] = next(ports)
        self._config.set("etcd.log.level", "error")
        self._config.set("log.level", "warn")
        self.port: int = self._config.configs["proxy_port"]
        self._health = next(ports)
        self._etcd(next(ports), next(ports))
        self._config.resolve()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns once the server says that it is well."""
        environment = {
            **os.environ,
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._health),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "LD_LIBRARY_PATH": str(self._program.parent),
        }
        with (self.folder / "said.log").open("ab") as said:
            self.process = subprocess.Popen(
                [self._program, "run", "standalone"], cwd=self.folder, env=environment, stdout=said, stderr=said
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._well():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError((self.folder / "said.log").read_text(errors="replace")[-2000:])
            time.sleep(0.2)

    def _etcd(self, clients: int, peers: int) -> None:
        """The server has its etcd within, which listens on 2379 and 2380 unless a file of its own says otherwise."""
        path = self.folder / "etcd.yaml"
        here = "http://127.0.0.1"
        path.write_text(
            f"listen-client-urls: {here}:{clients}\nadvertise-client-urls: {here}:{clients}\n"
            f"listen-peer-urls: {here}:{peers}\ninitial-advertise-peer-urls: {here}:{peers}\n"
            f"initial-cluster: default={here}:{peers}\n"
        )
        text = self._config.template_text
        self._config.template_text = text.replace("\netcd:\n", f"\netcd:\n  config:\n    path: {path}\n", 1)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def _well(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/healthz", timeout=5) as answer:
                return b"OK" in answer.read()
        except (OSError, urllib.error.URLError):
            return False


def _package() -> ModuleType:
    spec = spec_from_file_location("milvus_server_package", PACKAGE)
    assert spec is not None and spec.loader is not None
    package = module_from_spec(spec)
    sys.modules[spec.name] = package
    spec.loader.exec_module(package)
    return package


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, below those that the system gives to whoever connects: a client that tries
    again and again while the server is down could otherwise be given the server's port.
    """
    found: list[int] = []
    for port in random.sample(range(15_000, 32_000), 2_000):
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")
