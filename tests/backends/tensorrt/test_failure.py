"""What an exception of CuPy or TensorRT means."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.backends.tensorrt.fakes import Cuda, CudaError
from visage.backends.tensorrt.failure import failure, is_final
from visage.errors import DeviceLost, InferenceFailed, Overloaded

# Of cudaError: "any further CUDA work will return the same error", and faults of memory and links.
FINAL = [214, 220, 226, 700, 702, 710, *range(714, 720), 721, 810, 911]
# An invalid value, no memory, no device, an invalid configuration, a stream that is recorded, unknown.
PASSING = [1, 2, 100, 9, 900, 999]


@pytest.mark.parametrize("status", FINAL + PASSING)
def test_what_only_another_process_can_mend_is_told_by_its_number(status: int) -> None:
    assert is_final(CudaError(status, "why")) == (status in FINAL)


def test_what_has_no_number_is_not_final() -> None:
    assert not is_final(RuntimeError("an illegal memory access was encountered")) and not is_final(None)


@pytest.mark.parametrize(
    ("exc", "after", "kind", "freed"),
    [
        (CudaError(700, "illegal"), None, DeviceLost, 0),
        (InferenceFailed("did not start"), CudaError(719, "launch"), DeviceLost, 0),
        (CudaError(2, "no room"), CudaError(700, "illegal"), DeviceLost, 0),
        (CudaError(2, "no room"), None, Overloaded, 1),
        (MemoryError("numpy"), None, Overloaded, 1),
        (InferenceFailed("did not start: Cuda Runtime (out of memory)"), None, Overloaded, 1),
        (InferenceFailed("did not start"), CudaError(1, "invalid"), InferenceFailed, 0),
    ],
)
def test_what_is_raised_for_it(exc: Any, after: Any, kind: Any, freed: int) -> None:
    cuda = Cuda()
    assert type(failure("det failed", exc, cuda, after)) is kind and cuda.freed == freed


def test_it_is_one_line_of_what_was_asked_and_what_was_said() -> None:
    nothing: Any = SimpleNamespace()
    assert str(failure("det failed", ValueError("a\nb"), nothing)) == "det failed: a"
    assert str(failure("det failed", ValueError(), nothing)) == "det failed: ValueError"
    lost = failure("det failed", CudaError(700, "cudaErrorIllegalAddress: it was\nencountered"), nothing)
    assert str(lost).startswith("det failed: cudaErrorIllegalAddress: it was; ") and "started anew" in str(lost)
