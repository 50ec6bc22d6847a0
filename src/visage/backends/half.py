"""Networks in half precision: float16 inside, float32 at both ends."""

import logging
import os
from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from visage.errors import GraphRejected


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with weights and arithmetic of float16; what goes in and comes out stays float32.

    By ONNX Runtime's own tool, which leaves out the operators that have no such form. `model` is used up. Raises
    GraphRejected for a graph that it cannot convert.
    """
    quiet = logging.getLogger("onnxruntime.transformers.float16")
    before = quiet.level
    quiet.setLevel(logging.ERROR)  # else a line for each weight that float16 rounds to nothing
    try:
        made: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
    except Exception as exc:  # the tool raises what its passes stumble over
        raise GraphRejected(f"this network cannot be converted to float16: {str(exc).splitlines()[0]}") from exc
    finally:
        quiet.setLevel(before)
    return made


def write_half(source: Path, target: Path) -> None:
    """`half` of a file into another, whole or not at all. Raises GraphRejected and OSError."""
    made = half(onnx.load(str(source)))
    draft = target.with_name(f".work-{target.name}")
    try:
        with draft.open("wb") as out:
            out.write(made.SerializeToString())
            out.flush()
            os.fsync(out.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
