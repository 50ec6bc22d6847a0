"""The seam: uint8 pixels in, float tensors out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from visage.faces import Floats, Pixels


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a network wants its pixels: x' = (x - mean) / std on 0..255, as data.

    Calling it is the host's plain version and the tests' oracle.
    """

    mean: float = 0.0
    std: float = 1.0
    colours: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"

    def __call__(self, pixels: Pixels) -> Floats:
        """uint8 (N, h, w, 3) BGR → float32 (N, 3, h, w), or (N, h, w, 3) for "nhwc"."""
        ordered = pixels[..., ::-1] if self.colours == "rgb" else pixels
        scaled = (ordered.astype(np.float32) - np.float32(self.mean)) / np.float32(self.std)
        if self.layout == "nchw":
            scaled = scaled.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(scaled, np.float32)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The input sizes that a session accepts, (width, height): one `fixed`, or multiples of `stride` up to `most`."""

    fixed: tuple[int, int] | None = None
    stride: int = 32
    most: tuple[int, int] | None = None

    def nearest(self, wanted: tuple[int, int]) -> tuple[int, int]:
        """The accepted size for `wanted`, rounded down as the reference rounds MAX_SIZE."""
        if self.fixed is not None:
            return self.fixed
        width, height = wanted if self.most is None else (min(wanted[0], self.most[0]), min(wanted[1], self.most[1]))
        stride = self.stride
        return max(stride, width // stride * stride), max(stride, height // stride * stride)


@dataclass(frozen=True, slots=True)
class Asking:
    """How servers are asked: `seconds` for one answer, `streams` questions at once, pixels in shared memory or not."""

    seconds: float = 10.0
    streams: int = 8
    shared_memory: bool = True


@dataclass(frozen=True, slots=True)
class Means:
    """What a backend computes with, as the operator set it; each reads what concerns it.

    `fp16`: half precision inside, single precision at both ends. `providers`: ONNX Runtime's, best first. `servers`:
    Triton's, host:port, which take turns, and how they are asked. `workspace_mb`: the most memory for TensorRT's
    scratch, 0 for its own limit; `cuda_graphs`: replay what it did for the last shape.
    """

    fp16: bool = False
    providers: tuple[str, ...] = ("cpu",)
    servers: tuple[str, ...] = ()
    asking: Asking = Asking()
    workspace_mb: int = 0
    cuda_graphs: bool = False


@dataclass(frozen=True, slots=True)
class Largest:
    """The most that a run asks of a network: so many pictures, of `usual` size (width, height), of `size` at most."""

    batch: int = 1
    usual: tuple[int, int] = (640, 640)
    size: tuple[int, int] = (640, 640)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A weight file and how to feed it.

    `sha256` identifies the weights; `threads`: cores for one run; `stride`: what the sides of its pictures must be
    multiples of, where it takes more than one size; `largest`: for backends that build for shapes; `kept`: the folder
    for what they build, beside the file where None.
    """

    name: str
    path: Path
    sha256: str
    preprocess: Preprocess
    threads: int = 0
    stride: int = 32
    means: Means = Means()
    largest: Largest = Largest()
    kept: Path | None = None


class Session(Protocol):
    """A loaded network; `run` may be called from several threads at once."""

    @property
    def sizes(self) -> Sizes: ...

    @property
    def max_batch(self) -> int:
        """The most pictures one `run` takes; 0 for any number."""
        ...

    @property
    def streams(self) -> int:
        """How many runs side by side it computes on a device or a server; 0 where it takes this process's cores."""
        ...

    def run(self, pixels: Pixels, /) -> tuple[Floats, ...]:
        """uint8 (N, h, w, 3) BGR → the outputs in the file's order, fresh arrays, batch axis first.

        Raises InferenceFailed; Overloaded where it is computed elsewhere and nobody there has room; DeviceLost where
        what computes it will answer this process no more.
        """
        ...

    def close(self) -> None: ...


class OpenSession(Protocol):
    """A backend is this one function. Raises GraphRejected for a file that it cannot load."""

    def __call__(self, model: ModelFile, /) -> Session: ...


def run_in_batches(session: Session, pixels: Pixels) -> list[tuple[Floats, ...]]:
    """Run any number of pictures, as many at a time as the session takes."""
    step = session.max_batch or max(1, len(pixels))
    return [session.run(pixels[i : i + step]) for i in range(0, len(pixels), step)]
