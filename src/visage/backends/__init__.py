"""How numbers are computed: one module a backend, reached through one table of import strings."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from visage.backends.base import OpenSession
from visage.backends.gpu import gpus
from visage.errors import BackendUnavailable

# The one that is always there, and that the others are held against.
ORACLE = "onnx"

# What INFERENCE_BACKEND says where the engine is to be chosen for each network.
AUTO = "auto"

BACKENDS: dict[str, str] = {
    ORACLE: "visage.backends.onnx:open_session",
    "openvino": "visage.backends.openvino:open_session",
    "triton": "visage.backends.triton.session:open_session",
    "trt": "visage.backends.trt:open_session",
}

# Those that ask servers: files are tried, and engines raced, on this machine's own.
REMOTE = frozenset({"triton"})

# The package that each computes with on this machine, and how it is had.
PACKAGES: dict[str, str] = {ORACLE: "onnxruntime", "openvino": "openvino", "trt": "tensorrt"}
_REMEDIES: dict[str, str] = {
    ORACLE: "pip install visage",
    "openvino": "pip install visage[openvino]",
    "triton": "pip install visage[triton]",
    "trt": "pip install visage[trt]",
}
# Those that compute on an NVIDIA GPU.
_ON_GPUS = {"trt"}


def backend(name: str) -> OpenSession:
    """The backend `name`; its libraries are imported here and nowhere else.

    Raises BackendUnavailable for an unknown name and where its libraries are missing.
    """
    if name not in BACKENDS:
        known = ", ".join(sorted((AUTO, *BACKENDS)))
        raise BackendUnavailable(f"INFERENCE_BACKEND={name!r} is not one of: {known}")
    module, function = BACKENDS[name].split(":")
    try:
        found: OpenSession = getattr(import_module(module), function)
    except ImportError as exc:
        remedy = f"; install it: {_REMEDIES[name]}" if name in _REMEDIES else ""
        raise BackendUnavailable(
            f"INFERENCE_BACKEND={name!r} needs a package that is not installed: {exc}{remedy}"
        ) from exc
    return found


def installed() -> dict[str, str]:
    """The backends of this machine whose package is installed, and what they compute on there, with their versions.

    Nothing is imported.
    """
    found = {}
    for name, package in PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
        if name in _ON_GPUS:
            there = gpus()
            if there:
                found[name] += f" on {there[0]}"  # what was measured holds for that GPU
            else:
                del found[name]
    return found
