"""The ONNX file that an engine is built of, as TensorRT is to be given it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import onnx
from google.protobuf.message import DecodeError

from visage.backends.base import ModelFile
from visage.backends.half import halved
from visage.errors import GraphRejected

_AXES = {"nchw": ("batch", "", "height", "width"), "nhwc": ("batch", "height", "width", "")}


@dataclass(frozen=True)
class Source:
    """The file's bytes; whichever property is read first raises GraphRejected for what is no network."""

    model: ModelFile
    data: bytes

    @classmethod
    def read(cls, model: ModelFile) -> "Source":
        try:
            return cls(model, model.path.read_bytes())
        except OSError as exc:
            raise GraphRejected(f"{model.name}: {model.path.name} cannot be read: {exc.strerror}") from exc

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def shape(self) -> tuple[int, ...]:
        """The input's; -1 where an axis is dynamic."""
        axes = self.graph.graph.input[0].type.tensor_type.shape.dim
        return tuple(axis.dim_value or -1 for axis in axes)

    @property
    def input(self) -> str:
        return str(self.graph.graph.input[0].name)

    @property
    def outputs(self) -> list[str]:
        """Their names in the file's order, which an engine need not keep."""
        return [str(output.name) for output in self.graph.graph.output]

    def parsed(self, *, half: bool) -> bytes:
        """The file to be parsed.

        Axes of one name must be of one length to TensorRT, and some files call all of them "?": so each has its own.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self.graph)
        axes = model.graph.input[0].type.tensor_type.shape.dim
        for axis, name in zip(axes, _AXES[self.model.preprocess.layout], strict=True):
            if name and not axis.dim_value:
                axis.dim_param = name
        if not half:
            return bytes(model.SerializeToString())
        try:
            return bytes(halved(model).SerializeToString())
        except Exception as exc:  # a foreign converter, which raises what it happens to
            said = str(exc).strip().partition("\n")[0][:300] or type(exc).__name__
            raise GraphRejected(
                f"{self.model.name} cannot be computed in half precision: {said}; unset FORCE_FP16"
            ) from exc

    @cached_property
    def graph(self) -> onnx.ModelProto:
        name, file = self.model.name, self.model.path.name
        try:
            model = onnx.load_model_from_string(self.data)
        except DecodeError as exc:
            raise GraphRejected(f"{name}: {file} is no ONNX file") from exc
        constants = {tensor.name for tensor in model.graph.initializer}
        inputs = [one.name for one in model.graph.input if one.name not in constants]
        if len(inputs) != 1 or model.graph.input[0].name != inputs[0] or not model.graph.output:
            raise GraphRejected(f"{name}: one input expected, {file} wants: {', '.join(inputs) or 'none'}")
        if not model.graph.input[0].type.tensor_type.HasField("shape"):
            raise GraphRejected(f"{name}: {file} does not say its input's shape")
        return model
