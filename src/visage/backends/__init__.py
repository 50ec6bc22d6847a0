"""How numbers are computed: one module a backend, reached through one table of import strings."""

from importlib import import_module

from visage.backends.base import OpenSession
from visage.errors import BackendUnavailable

BACKENDS: dict[str, str] = {"onnx": "visage.backends.onnx:open_session"}


def backend(name: str) -> OpenSession:
    """The backend `name`; its libraries are imported here and nowhere else.

    Raises BackendUnavailable for an unknown name and where its libraries are missing.
    """
    if name not in BACKENDS:
        known = ", ".join(sorted(BACKENDS))
        raise BackendUnavailable(f"INFERENCE_BACKEND={name!r} is not one of: {known}")
    module, function = BACKENDS[name].split(":")
    try:
        found: OpenSession = getattr(import_module(module), function)
    except ImportError as exc:
        raise BackendUnavailable(f"INFERENCE_BACKEND={name!r} needs a package that is not installed: {exc}") from exc
    return found
