"""TensorRT on an NVIDIA GPU; needs the extra `visage[trt]`. Not run on a GPU: docs/backends.md tells what is tested."""

import cupy
import tensorrt

from visage.backends.base import ModelFile
from visage.backends.tensorrt.session import TrtSession, opened


def open_session(model: ModelFile, /) -> TrtSession:
    """Load `model`, whose engine is built first where there is none for this GPU, TensorRT, precision and sizes."""
    return opened(tensorrt, cupy, model)
