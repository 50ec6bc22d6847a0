"""Which backends can run here, as parameters of tests."""

import pytest

from visage.backends import ORACLE, PACKAGES, installed
from visage.backends.gpu import gpus

_ON_GPUS = {"trt"}
_needs_gpu = pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU, or no driver for it, is here")

# Those that compute on this machine's cores. One whose libraries are missing is not left out unsaid: its tests fail.
RUNNABLE = [name for name in PACKAGES if name not in _ON_GPUS]

# And those on GPUs, whose tests `pytest -m gpu` runs where there is one.
GPUS = [pytest.param(name, marks=[pytest.mark.gpu, _needs_gpu]) for name in sorted(_ON_GPUS)]
EVERY = [*RUNNABLE, *GPUS]
OTHERS = [one for one in EVERY if one != ORACLE]


def measured_here() -> set[str]:
    """Those that INFERENCE_BACKEND=auto measures."""
    return set(installed())
