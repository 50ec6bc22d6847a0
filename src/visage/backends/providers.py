"""What ONNX Runtime computes on, as ORT_PROVIDERS names it: strictly what is named, or an error that says why not."""

from collections.abc import Sequence

import onnxruntime as ort

from visage.errors import BackendUnavailable

CPU = "CPUExecutionProvider"
# What ORT_PROVIDERS calls them, and the package that has them.
PROVIDERS = {
    "cpu": (CPU, "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "rocm": ("ROCMExecutionProvider", "onnxruntime-rocm"),
    "migraphx": ("MIGraphXExecutionProvider", "onnxruntime-migraphx"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime for macOS"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
}
# A device computes one run while another's pictures are made ready here; DirectML takes one run at a time.
_STREAMS = 2


def is_cpu(names: Sequence[str]) -> bool:
    """Whether this process's cores are all that computes."""
    return all(name in ("cpu", CPU.lower()) for name in names)


def streams(names: Sequence[str]) -> int:
    """As `Session.streams`."""
    if is_cpu(names):
        return 0
    return 1 if "DmlExecutionProvider" in providers(names) else _STREAMS


def providers(names: Sequence[str]) -> list[str]:
    """ONNX Runtime's names for these, which it has. Raises BackendUnavailable."""
    known = {own.lower(): own for own, _ in PROVIDERS.values()} | {name: own for name, (own, _) in PROVIDERS.items()}
    packages = dict(PROVIDERS.values())
    here = ort.get_available_providers()
    have = ", ".join(name for name, (own, _) in PROVIDERS.items() if own in here)
    wanted = []
    for name in names:
        if name not in known:
            raise BackendUnavailable(f"ORT_PROVIDERS names {name!r}, which is not one of: {', '.join(PROVIDERS)}")
        own = known[name]
        if own not in here:
            raise BackendUnavailable(
                f"ORT_PROVIDERS names {name}, but this onnxruntime has: {have}; install the one that has it "
                f"({packages[own]}) in its place"
            )
        wanted.append(own)
    return list(dict.fromkeys(wanted))
