"""The OpenVINO package, which is imported here and nowhere else: without its telemetry.

`import openvino` reports itself to its makers over the network wherever `openvino_telemetry`, which it depends on, can
be imported. A service that is shown faces calls nobody. Without that package OpenVINO puts a stub in its place.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_REPORTER = "openvino_telemetry"


@contextmanager
def _unreported() -> Iterator[None]:
    """Within, the telemetry cannot be imported."""
    before = sys.modules.pop(_REPORTER, None)
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # Python's own mark of what must not be imported
    try:
        yield
    finally:
        del sys.modules[_REPORTER]
        if before is not None:
            sys.modules[_REPORTER] = before


with _unreported():
    import openvino as ov
    from openvino import opset13 as operators
    from openvino.preprocess import PrePostProcessor

__all__ = ["PrePostProcessor", "operators", "ov"]
