"""NVML as its header says; a driver that is really there is what `pytest -m gpu` is for."""

import ctypes
from pathlib import Path
from typing import Any

import pytest

from visage.backends.gpu import Driver, Gpu, driver, gpus


class Nvml:
    """`names`: None for a GPU that does not tell its own."""

    def __init__(self, names: list[bytes | None], fails: str = "") -> None:
        self.names, self.fails, self.calls = names, fails, list[str]()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            known = getattr(type(self), f"_{name}", lambda *_: 0)
            return 999 if name == self.fails else int(known(self, *arguments))

        return call

    def _nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.names)
        return 0

    def _nvmlDeviceGetHandleByIndex_v2(self, index: int, device: Any) -> int:
        device._obj.value = index + 1
        return 0

    def _nvmlDeviceGetName(self, device: ctypes.c_void_p, name: Any, length: int) -> int:
        told = self.names[(device.value or 0) - 1]
        if told is None:
            return 15
        name.value = told[: length - 1]
        return 0

    def _nvmlSystemGetDriverVersion(self, version: Any, length: int) -> int:
        version.value = b"580.65.06"[: length - 1]
        return 0

    def _nvmlSystemGetCudaDriverVersion_v2(self, version: Any) -> int:
        version._obj.value = 13010
        return 0

    def _nvmlDeviceGetMemoryInfo(self, device: Any, memory: Any) -> int:
        memory._obj.total = 24 * 2**30
        return 0

    def _nvmlDeviceGetCudaComputeCapability(self, device: Any, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = 8, 6
        return 0


def test_the_driver_tells_what_it_bears_and_what_its_gpus_are() -> None:
    found = driver(lambda _: Nvml([b"NVIDIA A10"]))
    assert found == Driver("580.65.06", (13, 1), (Gpu("NVIDIA A10", 24 * 2**30, (8, 6)),))


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ("nvmlSystemGetDriverVersion", Driver("of unknown version", (13, 1), (Gpu("A", 24 * 2**30, (8, 6)),))),
        ("nvmlSystemGetCudaDriverVersion_v2", Driver("580.65.06", (0, 0), (Gpu("A", 24 * 2**30, (8, 6)),))),
        ("nvmlDeviceGetHandleByIndex_v2", Driver("580.65.06", (13, 1), (Gpu("GPU 0", 0, (0, 0)),))),
        ("nvmlDeviceGetMemoryInfo", Driver("580.65.06", (13, 1), (Gpu("A", 0, (8, 6)),))),
    ],
)
def test_what_it_does_not_tell_is_left_open(fails: str, expected: Driver) -> None:
    assert driver(lambda _: Nvml([b"A"], fails)) == expected


def test_the_driver_names_its_gpus() -> None:
    nvml = Nvml([b"NVIDIA A10", None])
    assert gpus(lambda _: nvml) == ["NVIDIA A10", "GPU 1"] and nvml.calls[-1] == "nvmlShutdown"


@pytest.mark.parametrize("fails", ["nvmlInit_v2", "nvmlDeviceGetCount_v2"])
def test_a_driver_that_does_not_answer_has_none(fails: str) -> None:
    assert gpus(lambda _: Nvml([b"NVIDIA A10"], fails)) == []


def test_without_a_driver_there_are_none(tmp_path: Path) -> None:
    def missing(name: str) -> Any:
        return ctypes.CDLL(str(tmp_path / name))

    assert gpus(missing) == []
