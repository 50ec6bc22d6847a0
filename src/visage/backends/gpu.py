"""The NVIDIA GPUs of this machine, as the driver tells them: no CUDA context is made, no package needed."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"
_LONGEST_NAME = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
_LONGEST_VERSION = 80  # NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE


@dataclass(frozen=True, slots=True)
class Gpu:
    """`memory` in bytes; `capability`: CUDA's compute capability, (8, 6) for sm86. Zeros where it does not tell."""

    name: str
    memory: int
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Driver:
    """`cuda`: the newest that it bears."""

    version: str
    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpus(load: Callable[[str], Any] = ctypes.CDLL) -> list[str]:
    """Their names; none where there is no driver, or one that does not answer."""
    found = driver(load)
    return [one.name for one in found.gpus] if found is not None else []


def driver(load: Callable[[str], Any] = ctypes.CDLL) -> Driver | None:
    """What the driver tells; None where there is none, or one that does not answer.

    NVML's calls (nvml.h): each returns 0 for success. CUDA_VISIBLE_DEVICES means nothing to it.
    """
    try:
        nvml = load(_LIBRARY)
    except OSError:
        return None
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return None
        return Driver(_version(nvml), _cuda(nvml), tuple(_gpu(nvml, index) for index in range(count.value)))
    finally:
        nvml.nvmlShutdown()


def _version(nvml: Any) -> str:
    told = ctypes.create_string_buffer(_LONGEST_VERSION)
    known = nvml.nvmlSystemGetDriverVersion(told, _LONGEST_VERSION) == 0
    return told.value.decode(errors="replace") if known else "of unknown version"


def _cuda(nvml: Any) -> tuple[int, int]:
    """NVML says 12080 for 12.8."""
    told = ctypes.c_int()
    known = nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(told)) == 0
    return (told.value // 1000, told.value % 1000 // 10) if known else (0, 0)


def _gpu(nvml: Any, index: int) -> Gpu:
    device = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) != 0:
        return Gpu(f"GPU {index}", 0, (0, 0))
    name, memory = ctypes.create_string_buffer(_LONGEST_NAME), _Memory()
    major, minor = ctypes.c_int(), ctypes.c_int()
    named = nvml.nvmlDeviceGetName(device, name, _LONGEST_NAME) == 0
    nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))
    nvml.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor))
    told = name.value.decode(errors="replace") if named else f"GPU {index}"
    return Gpu(told, memory.total, (major.value, minor.value))
