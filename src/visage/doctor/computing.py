"""What computes the networks: engines and their versions, ONNX Runtime's devices, Triton servers, the GPU."""

import re
from collections.abc import Iterator
from importlib.metadata import distributions

from visage.backends import AUTO, PACKAGES, backend, installed
from visage.backends.gpu import Driver, driver
from visage.choice import chosen_names
from visage.doctor.finding import Finding, amount
from visage.errors import BackendUnavailable
from visage.settings import Settings
from visage.zoo.catalogue import Catalogue

_ON_NVIDIA = {"cuda", "tensorrt"}
# The least compute capability of TensorRT 10.5 and later: Turing (its support matrix).
_LEAST_CAPABILITY = (7, 5)
_SECONDS = 3.0


def engines(settings: Settings, catalogue: Catalogue | None) -> Iterator[Finding]:
    there = installed()
    yield Finding("engines", "good", ", ".join(f"{name} {version}" for name, version in there.items()))
    wanted = settings.inference_backend
    if wanted != AUTO:
        try:
            backend(wanted)
        except BackendUnavailable as error:
            yield Finding("engines", "bad", str(error))
            return
        yield Finding("engines", "good", f"{wanted} ({PACKAGES.get(wanted, 'servers')}) computes all networks")
    if wanted in (AUTO, "onnx"):
        yield from _devices(settings)
    if wanted == "triton":
        yield from _servers(settings, chosen_names(settings, catalogue) if catalogue is not None else [])


def _devices(settings: Settings) -> Iterator[Finding]:
    from visage.backends.providers import providers  # ONNX Runtime takes long to import and is needed only here

    try:
        found = providers(settings.ort_providers)
    except BackendUnavailable as error:
        yield Finding("engines", "bad", str(error))
    else:
        yield Finding("engines", "good", f"ONNX Runtime has {', '.join(found)}")


def _servers(settings: Settings, names: list[str]) -> Iterator[Finding]:
    """One that answers for all networks is enough."""
    from visage.backends.triton.readiness import lacks  # the extra triton, which is there: `backend` found it

    said = {address: lacks(address, names, _SECONDS) for address in dict.fromkeys(settings.triton_uri)}
    one_there = any(not lack for lack in said.values())
    for address, lack in said.items():
        if lack:
            remedy = "start it, with what `visage triton-repo` wrote for these settings, or mend TRITON_URI"
            yield Finding("engines", "doubtful" if one_there else "bad", f"Triton at {address}: {lack}", remedy)
        else:
            yield Finding("engines", "good", f"Triton at {address} is ready for {', '.join(names)}")


def gpu(settings: Settings) -> Iterator[Finding]:
    here = settings.inference_backend in (AUTO, "onnx")
    wants = settings.inference_backend == "trt" or (here and bool(_ON_NVIDIA & set(settings.ort_providers)))
    found = driver()
    if found is None:
        if wants:
            remedy = "install it; in a container, start it with --gpus and nvidia-container-toolkit"
            yield Finding("gpu", "bad", "NVIDIA's driver is not there", remedy)
        else:
            yield Finding("gpu", "good", "none is asked for, none is there")
        return
    yield Finding("gpu", "good", f"NVIDIA's driver {found.version}, for CUDA up to {'.'.join(map(str, found.cuda))}")
    for one in found.gpus:
        yield Finding("gpu", "good", f"{one.name}, {amount(one.memory)}, sm{''.join(map(str, one.capability))}")
    if not found.gpus:
        remedy = "in a container, start it with --gpus" if wants else ""
        yield Finding("gpu", "bad" if wants else "doubtful", "the driver shows no GPU", remedy)
    if settings.inference_backend == "trt":
        yield from _tensorrt(found)


def _tensorrt(found: Driver) -> Iterator[Finding]:
    """Whether the driver bears the CUDA that the packages are made for, and TensorRT the GPUs."""
    for package, major in _cuda_packages():
        if 0 < found.cuda[0] < major:
            remedy = f"a newer driver, or the package for CUDA {found.cuda[0]}"
            yield Finding("gpu", "bad", f"{package} is for CUDA {major}, the driver for {found.cuda[0]}", remedy)
    for one in found.gpus:
        if (0, 0) < one.capability < _LEAST_CAPABILITY:
            remedy = "use a newer GPU, or INFERENCE_BACKEND=onnx"
            yield Finding("gpu", "bad", f"{one.name} is older than what TensorRT computes on", remedy)


def _cuda_packages() -> list[tuple[str, int]]:
    """CuPy and TensorRT as they are installed, with the CUDA of their names: tensorrt_cu13_libs, cupy-cuda12x."""
    names = sorted({str(one.metadata["Name"]) for one in distributions()})
    made = ((name, re.search(r"^(?:cupy|tensorrt)[-_]cu(?:da)?(\d+)", name)) for name in names)
    return [(name, int(match[1])) for name, match in made if match]
