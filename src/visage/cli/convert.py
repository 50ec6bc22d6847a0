"""`visage models convert`: a network in another form, held against the one it was made from."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np

from visage.backends import ORACLE, backend
from visage.backends.base import ModelFile, Session, run_in_batches
from visage.backends.half import write_half
from visage.backends.tensorrt.build import Recipe, build
from visage.backends.tensorrt.profile import Profile
from visage.backends.tensorrt.source import Source
from visage.errors import BackendUnavailable, ConfigurationError, GraphRejected
from visage.faces import Floats, Pixels
from visage.images.decoding import Decoder, Limits
from visage.zoo.sources import data_file

FORMS = ("fp16", "engine")

# Of each output as one vector, on the self-test picture; what the parity of backends asks of half precision.
LEAST_COSINE = 0.999
_INPUT = (320, 320)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument(
        "--to",
        choices=FORMS,
        default="fp16",
        help="fp16: an ONNX file, float16 inside, float32 at both ends; engine: TensorRT's file, for the GPU at hand",
    )
    parser.add_argument(
        "--out", type=Path, help="the file to write; NAME.fp16.onnx or NAME.engine in this folder if left out"
    )


def convert(file: ModelFile, target: Path) -> float:
    """Write `file` in half precision; the least cosine of its outputs with those in single precision.

    Nothing is written where that is too low. Raises GraphRejected and ConfigurationError.
    """
    draft = target.with_name(f".draft-{target.name}")
    try:
        write_half(file.path, draft)
        cosine = _likeness(file, ModelFile(file.name, draft, "", file.preprocess, file.threads, file.stride))
        if not cosine >= LEAST_COSINE:  # nan is neither
            raise GraphRejected(
                f"{file.name} in half precision is another network: the cosine of its outputs is {cosine:.5f}, "
                f"at least {LEAST_COSINE} is asked"
            )
        draft.replace(target)
    except OSError as exc:
        raise ConfigurationError(f"{target} cannot be written: {exc.strerror}") from exc
    finally:
        draft.unlink(missing_ok=True)
    return cosine


def build_engine(file: ModelFile, target: Path) -> None:
    """Build `file`'s TensorRT engine as the service would, with the settings' sizes, batches and precision.

    Raises BackendUnavailable, GraphRejected and ConfigurationError.
    """
    try:
        library = import_module("tensorrt")
    except ImportError as exc:
        raise BackendUnavailable(
            f"an engine is built by TensorRT, which is not installed: pip install visage[trt] ({exc})"
        ) from exc
    source = Source.read(file)
    recipe = Recipe(Profile.of(source.shape, file), file.means.fp16, file.means.workspace_mb)
    engine, _ = build(library, source, recipe)
    draft = target.with_name(f".draft-{target.name}")
    try:
        draft.write_bytes(engine)
        draft.replace(target)
    except OSError as exc:
        raise ConfigurationError(f"{target} cannot be written: {exc.strerror}") from exc
    finally:
        draft.unlink(missing_ok=True)


def _likeness(one: ModelFile, other: ModelFile) -> float:
    open_session = backend(ORACLE)
    with closing(open_session(one)) as a, closing(open_session(other)) as b:
        pixels = _picture(a)
        return min(
            _cosine(x, y)
            for expected, found in zip(run_in_batches(a, pixels), run_in_batches(b, pixels), strict=True)
            for x, y in zip(expected, found, strict=True)
        )


def _picture(session: Session) -> Pixels:
    """The self-test picture in a size that the network takes, (1, h, w, 3)."""
    shown = Decoder(Limits()).decode(data_file("selftest.png").read_bytes()).pixels
    return np.asarray(cv2.resize(shown, session.sizes.nearest(_INPUT)), np.uint8)[None]


def _cosine(a: Floats, b: Floats) -> float:
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / lengths if lengths else float(np.array_equal(x, y))


def megabytes(paths: Sequence[Path]) -> list[str]:
    return [f"{path.stat().st_size / 1e6:.1f} MB" for path in paths]
