"""What goes into a network and what comes out: of a file, and how a server's differs from it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from visage.backends.base import ModelFile
from visage.errors import GraphRejected

if TYPE_CHECKING:
    import onnx

# Both ends of every network are single precision, whatever it computes in.
DATATYPE = "FP32"
DYNAMIC = -1

# The parameter by which a model's config says of which weights it is.
SHA256 = "visage_sha256"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output. `shape` has the batch axis first, -1 where an axis may be any; None where it is not told."""

    name: str
    datatype: str
    shape: tuple[int, ...] | None

    def told(self) -> str:
        shape = "any shape" if self.shape is None else f"[{', '.join(map(str, self.shape))}]"
        return f"{self.name!r} {self.datatype} {shape}"


@dataclass(frozen=True, slots=True)
class Signature:
    """The one input and the outputs in the file's order."""

    picture: Tensor
    outputs: tuple[Tensor, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The input's four axes."""
        return self.picture.shape or ()  # `of_file` takes none without

    @property
    def joins(self) -> bool:
        """Whether any number of pictures goes in and as many answers come out of every output."""
        return all((tensor.shape or ())[:1] == (DYNAMIC,) for tensor in (self.picture, *self.outputs))

    def sides(self, layout: str) -> tuple[int, int]:
        """Height and width of the input, -1 for any."""
        first = 2 if layout == "nchw" else 1
        return self.shape[first], self.shape[first + 1]

    def difference(self, picture: Tensor, outputs: tuple[Tensor, ...]) -> str | None:
        """How a server's input and outputs differ from these, in words; None where they do not.

        The order of the outputs is no difference: they are asked for by name.
        """
        if picture != self.picture:
            return f"its input is {picture.told()}, the file's {self.picture.told()}"
        found = {output.name: output for output in outputs}
        missing = [output.name for output in self.outputs if output.name not in found]
        if missing:
            return f"it has no output {', '.join(map(repr, missing))}; it has {', '.join(map(repr, found))}"
        for output in self.outputs:
            other = found[output.name]
            if other.datatype != output.datatype or not _agree(output.shape, other.shape):
                return f"its output is {other.told()}, the file's {output.told()}"
        return None


def of_file(model: ModelFile) -> Signature:
    """Read from the ONNX file. Raises GraphRejected for what is no network of one picture input."""
    import onnx  # takes long to import, and serves this backend alone

    try:
        graph = onnx.load(str(model.path), load_external_data=False).graph
    except Exception as exc:  # protobuf's and onnx's own share no base
        raise GraphRejected(f"{model.name}: {model.path.name} is no ONNX file") from exc
    constants = {constant.name for constant in graph.initializer}
    inputs = [_tensor(value) for value in graph.input if value.name not in constants]
    outputs = tuple(_tensor(value) for value in graph.output)
    if len(inputs) != 1:
        raise GraphRejected(f"{model.name}: one input expected, the file wants: {', '.join(i.name for i in inputs)}")
    layout, shape = model.preprocess.layout, inputs[0].shape or ()
    if len(shape) != 4 or shape[1 if layout == "nchw" else 3] != 3:
        raise GraphRejected(f"{model.name}: the input is {inputs[0].told()}, not {layout} of 3")
    for tensor in (*inputs, *outputs):
        if tensor.datatype != DATATYPE:
            raise GraphRejected(f"{model.name}: {tensor.told()} is not {DATATYPE}, which is what is sent and read here")
    return Signature(inputs[0], outputs)


def _tensor(value: "onnx.ValueInfoProto") -> Tensor:
    import onnx  # as above

    said = value.type.tensor_type
    datatype = DATATYPE if said.elem_type == onnx.TensorProto.FLOAT else onnx.TensorProto.DataType.Name(said.elem_type)
    if not said.HasField("shape"):
        return Tensor(value.name, datatype, None)
    return Tensor(value.name, datatype, tuple(axis.dim_value or DYNAMIC for axis in said.shape.dim))


def _agree(one: tuple[int, ...] | None, other: tuple[int, ...] | None) -> bool:
    """Whether both can be the shape of one array."""
    if one is None or other is None:
        return True
    return len(one) == len(other) and all(a == b or DYNAMIC in (a, b) for a, b in zip(one, other, strict=True))
