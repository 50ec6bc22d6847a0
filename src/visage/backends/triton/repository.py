"""The model repository that Triton serves networks from: a folder a network, with its file and its config.pbtxt.

The format is Triton's: model_repository.md and model_configuration.md in docs/user_guide of its server's sources.
"""

import filecmp
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from visage.backends.base import ModelFile
from visage.backends.triton.signature import DYNAMIC, SHA256, Signature, Tensor, of_file
from visage.errors import GraphRejected

Platform = Literal["onnxruntime", "tensorrt", "python"]
PLATFORMS: tuple[Platform, ...] = ("onnxruntime", "tensorrt", "python")
Device = Literal["auto", "cpu", "gpu"]
DEVICES: tuple[Device, ...] = ("auto", "cpu", "gpu")

CONFIG = "config.pbtxt"
# What is being made is called so until it is whole.
WORK = ".work-"

_SCRIPT = Path(__file__).resolve().parents[2] / "data" / "triton_model.py"
# The file that the server opens, and the ONNX file, in the model's folder.
_OPENED: dict[Platform, str] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan", "python": "model.py"}
_ONNX: dict[Platform, str] = {"onnxruntime": "1/model.onnx", "tensorrt": "model.onnx", "python": "1/model.onnx"}
_PLAN = "1/model.plan"
_STALE = "model.plan.stale"
# The least side of a picture that an engine is built for.
_LEAST_SIDE = 32


@dataclass(frozen=True, slots=True)
class Serving:
    """How a server is to serve a network: `instances` of it on `device`, each on `threads` cores (0: all; for python).

    Questions are joined up to `max_batch` pictures, for which one waits `delay` µs at most; one that has waited
    `patience` µs is refused.
    """

    platform: Platform = "onnxruntime"
    instances: int = 1
    device: Device = "auto"
    threads: int = 0
    max_batch: int = 16
    delay: int = 1000
    patience: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Written:
    """What was done for one network: the files that were new or other ones, and what is left to do."""

    name: str
    changed: tuple[str, ...]
    remark: str = ""


def write(model: ModelFile, folder: Path, serving: Serving) -> Written:
    """Put `model` into the repository `folder`; nothing is touched that is already so. For one writer at a time.

    A new model appears whole or not at all; in one that is there each file is replaced whole, the config last.
    Raises GraphRejected.
    """
    signature = of_file(model)
    place = folder / model.name
    with tempfile.TemporaryDirectory(dir=folder, prefix=WORK) as work:
        made = Path(work) / model.name
        _make(made, model, signature, serving)
        if not place.exists():
            changed = tuple(_files(made))
            made.rename(place)
        else:
            changed = tuple(_replaced(made, place))
    return Written(model.name, changed, _left_to_do(model, signature, place, serving))


def _make(made: Path, model: ModelFile, signature: Signature, serving: Serving) -> None:
    (made / "1").mkdir(parents=True)
    shutil.copyfile(model.path, made / _ONNX[serving.platform])
    if serving.platform == "python":
        shutil.copyfile(_SCRIPT, made / "1" / "model.py")
    (made / CONFIG).write_text(config(model, signature, serving), "utf-8")


def _files(folder: Path) -> list[str]:
    """All below `folder`, the config last."""
    found = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return sorted(found, key=lambda name: (name == CONFIG, name))


def _replaced(made: Path, place: Path) -> Iterator[str]:
    """Put those of `made` that differ in `place`; which ones."""
    for name in _files(made):
        if (place / name).is_file() and filecmp.cmp(made / name, place / name, shallow=False):
            continue
        if name == _ONNX["tensorrt"] and (place / name).is_file() and (place / _PLAN).is_file():
            (place / _PLAN).replace(place / _STALE)  # of other weights than the config will say
        (place / name).parent.mkdir(exist_ok=True)
        (made / name).replace(place / name)
        yield name


def _left_to_do(model: ModelFile, signature: Signature, place: Path, serving: Serving) -> str:
    if serving.platform != "tensorrt" or (place / _PLAN).is_file():
        return ""
    batches = (1, min(4, serving.max_batch), serving.max_batch) if signature.joins else (signature.shape[0],) * 3
    sides = [(_LEAST_SIDE, _LEAST_SIDE), model.largest.usual, model.largest.size]
    shapes = [
        "x".join(map(str, (max(1, batch), *_concrete(signature.picture, model, size))))
        for batch, size in zip(batches, sides, strict=True)
    ]
    command = ["trtexec", f"--onnx={place / _ONNX['tensorrt']}", f"--saveEngine={place / _PLAN}"]
    if DYNAMIC in signature.shape:
        name = signature.picture.name
        command += [f"--{end}Shapes={name}:{shape}" for end, shape in zip(("min", "opt", "max"), shapes, strict=True)]
    return f"its engine is to be built on the server's GPU with the server's TensorRT: {' '.join(command)}"


def config(model: ModelFile, signature: Signature, serving: Serving) -> str:
    """The text of config.pbtxt. Raises GraphRejected where the file does not tell the shape of an output."""
    most = serving.max_batch if signature.joins else 0
    kind = "CPU" if serving.platform == "python" else serving.device.upper()
    parts = [
        f'name: "{model.name}"',
        f'backend: "{serving.platform}"',
        f'default_model_filename: "{_OPENED[serving.platform]}"',
        f"max_batch_size: {most}",
        *(_tensor("input", tensor, model, most) for tensor in (signature.picture,)),
        *(_tensor("output", tensor, model, most) for tensor in signature.outputs),
        f'parameters {{ key: "{SHA256}" value {{ string_value: "{model.sha256}" }} }}',
        f"instance_group {{ count: {serving.instances} kind: KIND_{kind} }}",
    ]
    if serving.platform == "python":
        parts.append(f'parameters {{ key: "threads" value {{ string_value: "{serving.threads}" }} }}')
    if most:
        parts.append(_batching(serving))
    parts += [_warm_up(f"{count} at once", count, signature, model) for count in dict.fromkeys((1, most or 1))]
    return "\n".join(parts) + "\n"


def _tensor(kind: str, tensor: Tensor, model: ModelFile, most: int) -> str:
    if tensor.shape is None:
        raise GraphRejected(f"{model.name}: {model.path.name} does not tell the shape of its output {tensor.name!r}")
    dims = tensor.shape[1:] if most else tensor.shape
    return f'{kind} {{ name: "{tensor.name}" data_type: TYPE_FP32 dims: {list(dims)} }}'


def _batching(serving: Serving) -> str:
    preferred = [size for size in (4, 8, 16, 32, 64, 128) if size < serving.max_batch] + [serving.max_batch]
    return (
        "dynamic_batching {\n"
        f"  preferred_batch_size: {preferred}\n"
        f"  max_queue_delay_microseconds: {serving.delay}\n"
        f"  default_queue_policy {{ timeout_action: REJECT default_timeout_microseconds: {serving.patience} }}\n"
        "}"
    )


def _warm_up(name: str, count: int, signature: Signature, model: ModelFile) -> str:
    """Zeros of the usual size, so that the first picture waits for nothing."""
    dims = list(_concrete(signature.picture, model, model.largest.usual))
    if not signature.joins:
        dims.insert(0, max(1, signature.shape[0]))
    picture = f'key: "{signature.picture.name}" value {{ data_type: TYPE_FP32 dims: {dims} zero_data: true }}'
    return f'model_warmup {{ name: "{name}" batch_size: {count} inputs {{ {picture} }} }}'


def _concrete(picture: Tensor, model: ModelFile, size: tuple[int, int]) -> tuple[int, ...]:
    """The input's axes but the batch, those that may be any as `size` (width, height)."""
    width, height = size
    said = (picture.shape or ())[1:]
    wanted = (3, height, width) if model.preprocess.layout == "nchw" else (height, width, 3)
    return tuple(other if axis == DYNAMIC else axis for axis, other in zip(said, wanted, strict=True))
