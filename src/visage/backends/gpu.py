"""The NVIDIA GPUs of this machine, as the driver tells them: no CUDA context is made, no package needed."""

import ctypes
from collections.abc import Callable
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"
_LONGEST_NAME = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE


def gpus(load: Callable[[str], Any] = ctypes.CDLL) -> list[str]:
    """Their names; none where there is no driver, or one that does not answer.

    NVML's calls (nvml.h): each returns 0 for success. CUDA_VISIBLE_DEVICES means nothing to it.
    """
    try:
        nvml = load(_LIBRARY)
    except OSError:
        return []
    if nvml.nvmlInit_v2() != 0:
        return []
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        return [_name(nvml, index) for index in range(count.value)]
    finally:
        nvml.nvmlShutdown()


def _name(nvml: Any, index: int) -> str:
    device, name = ctypes.c_void_p(), ctypes.create_string_buffer(_LONGEST_NAME)
    known = nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == 0
    known = known and nvml.nvmlDeviceGetName(device, name, _LONGEST_NAME) == 0
    return name.value.decode(errors="replace") if known else f"GPU {index}"
