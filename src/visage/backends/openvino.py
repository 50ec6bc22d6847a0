"""OpenVINO on the CPU; needs the extra `visage[openvino]`."""

from collections import deque
from collections.abc import Iterator

import numpy as np

from visage.backends.base import ModelFile, Preprocess, Sizes
from visage.backends.openvino_library import PrePostProcessor, operators, ov
from visage.cores import available
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats, Pixels

_SINGLE_PRECISION = {
    "INFERENCE_PRECISION_HINT": "f32",  # left alone it is bfloat16 where the CPU has it
    "PERFORMANCE_HINT": "LATENCY",
    "ENABLE_CPU_PINNING": False,  # sessions that know nothing of each other would choose the same cores
    # Compiled primitives are kept for every shape ever seen: 600 MB after 169 sizes of YuNet, and no faster for it
    # (docs/decisions/0009).
    "CPU_RUNTIME_CACHE_CAPACITY": 0,
}


class OpenVinoSession:
    """One network in OpenVINO; thread-safe, since every caller inside has an infer request of their own.

    With `threads=1` as many callers as there are cores compute side by side, on one core each; with more threads they
    take turns at all of them.
    """

    streams = 0

    def __init__(self, compiled: ov.CompiledModel, model: ModelFile, shape: ov.PartialShape) -> None:
        self._compiled = compiled
        self._model = model
        self._idle: deque[ov.InferRequest] = deque()
        batch, height, width = _axes(shape, model)
        self.sizes = Sizes((width, height) if width is not None and height is not None else None, model.stride)
        self.max_batch = batch or 0

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        given = len(pixels)
        if self.max_batch > given:  # a file of fixed batch takes no fewer
            pixels = np.concatenate([pixels, np.zeros((self.max_batch - given, *pixels.shape[1:]), np.uint8)])
        # Read where they lie; OpenVINO takes no view and nothing read-only for its own.
        tensor = ov.Tensor(np.require(pixels, np.uint8, ["C", "W"]), shared_memory=True)
        try:
            request = self._request()
            answers = request.infer({0: tensor}, share_outputs=False)
            outputs = tuple(answers[i] for i in range(len(answers)))
        except Exception as exc:  # OpenVINO raises RuntimeError, and what its Python layer happens to raise
            raise InferenceFailed(f"{self._model.name} failed on {pixels.shape}: {_reason(exc)}") from exc
        self._idle.append(request)  # one that failed is not used again
        return tuple(out[:given] for out in outputs) if self.max_batch > given else outputs

    def _request(self) -> ov.InferRequest:
        try:
            return self._idle.pop()
        except IndexError:
            return self._compiled.create_infer_request()

    def close(self) -> None:
        """Let the compiled network and its requests go, and their memory with them; a later `run` fails."""
        del self._compiled
        self._idle.clear()


def open_session(model: ModelFile, /) -> OpenVinoSession:
    """Load `model` with its own fixed number of threads."""
    core = ov.Core()
    try:
        graph = core.read_model(model.path)
    except Exception as exc:  # as above
        raise GraphRejected(f"{model.name}: OpenVINO cannot load {model.path.name}: {_reason(exc, model)}") from exc
    if len(graph.inputs) != 1:
        names = ", ".join(i.any_name for i in graph.inputs)
        raise GraphRejected(f"{model.name}: one input expected, the file wants: {names}")
    shape = graph.input(0).partial_shape
    _axes(shape, model)
    try:
        with_fused_prelu(graph)
        compiled = core.compile_model(_fed(graph, model.preprocess), "CPU", _SINGLE_PRECISION | _share(model.threads))
    except Exception as exc:  # as above
        raise GraphRejected(f"{model.name}: OpenVINO cannot compile {model.path.name}: {_reason(exc)}") from exc
    return OpenVinoSession(compiled, model, shape)


def with_fused_prelu(graph: ov.Model) -> int:
    """Give every PReLU the form that OpenVINO computes inside the convolution before it; how many there were.

    That is one operator with slopes [1, C, 1, 1]. Files have slopes [C, 1, 1], which broadcast to the same but are not
    recognised, and prepared ones a·x + (1 - a)·relu(x) (`zoo.graph.prelu_as_relu`).
    """
    found = 0
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "PRelu":
            slopes = _constant(node.input_value(1))
            if slopes is not None and slopes.ndim == 3:
                node.input(1).replace_source_output(operators.constant(slopes[None]).output(0))
                found += 1
        elif node.get_type_name() == "Add":
            for x, slopes in _written_out(node):
                fused = operators.prelu(x, operators.constant(slopes[None] if slopes.ndim == 3 else slopes))
                fused.output(0).set_names(node.output(0).names)
                for reader in node.output(0).get_target_inputs():
                    reader.replace_source_output(fused.output(0))
                found += 1
    return found


def _written_out(add: ov.Node) -> Iterator[tuple[ov.Output, Floats]]:
    """x and a, where `add` is a·x + (1 - a)·relu(x)."""
    terms = [_scaled(add.input_value(i)) for i in range(2)]
    for sloped, above in (terms, terms[::-1]):
        if sloped is None or above is None:
            continue
        (x, slopes), (positive, rest) = sloped, above
        relu = positive.get_node()
        if relu.get_type_name() == "Relu" and relu.input_value(0) == x and np.array_equal(rest, 1 - slopes):
            yield x, slopes
            return


def _scaled(output: ov.Output) -> tuple[ov.Output, Floats] | None:
    """What is multiplied, and the constant by which."""
    node = output.get_node()
    if node.get_type_name() == "Multiply":
        for i in range(2):
            factor = _constant(node.input_value(i))
            if factor is not None:
                return node.input_value(1 - i), factor
    return None


def _constant(output: ov.Output) -> Floats | None:
    node = output.get_node()
    return np.array(node.data, np.float32) if node.get_type_name() == "Constant" else None


def _share(threads: int) -> dict[str, int]:
    """How many run at once, and the threads of all of them together; 0 threads are OpenVINO's own choice."""
    streams = available().count if threads == 1 else 1
    return {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams * threads}


def _fed(graph: ov.Model, preprocess: Preprocess) -> ov.Model:
    """The network with `preprocess` before it: it then takes uint8 (N, h, w, 3) BGR."""
    steps = PrePostProcessor(graph)
    picture = steps.input(0)
    picture.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    picture.model().set_layout(ov.Layout(preprocess.layout.upper()))
    host = picture.preprocess().convert_element_type(ov.Type.f32)
    if preprocess.colours == "rgb":
        host.reverse_channels()
    if preprocess.mean:
        host.mean(preprocess.mean)
    if preprocess.std != 1.0:
        host.scale(preprocess.std)
    return steps.build()


def _axes(shape: ov.PartialShape, model: ModelFile) -> tuple[int | None, int | None, int | None]:
    """Batch, height and width of the input; None where the axis is dynamic."""
    sides = [None if side.is_dynamic else side.get_length() for side in shape] if shape.rank.is_static else []
    channels_at = 1 if model.preprocess.layout == "nchw" else 3
    if len(sides) != 4 or sides[channels_at] != 3:
        raise GraphRejected(f"{model.name}: the input has shape {shape}, not {model.preprocess.layout} of 3")
    first = 2 if model.preprocess.layout == "nchw" else 1
    return sides[0], sides[first], sides[first + 1]


def _reason(exc: Exception, model: ModelFile | None = None) -> str:
    """What OpenVINO says, without where in its sources it says so, and without the model's folder."""
    lines = [line.strip() for line in str(exc).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from ", "Check '"))]
    said = told[0] if told else type(exc).__name__
    return (said.replace(str(model.path), model.path.name) if model else said)[:300]
