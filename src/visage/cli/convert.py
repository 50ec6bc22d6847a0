"""`visage models convert`: a network in another form, held against the one it was made from."""

import argparse
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np

from visage import selftest
from visage.backends import ORACLE, backend
from visage.backends.base import Means, ModelFile, Session, run_in_batches
from visage.backends.half import write_half
from visage.backends.tensorrt.build import Recipe, build
from visage.backends.tensorrt.profile import Profile
from visage.backends.tensorrt.source import Source
from visage.engines.agreement import likeness, require_same
from visage.errors import BackendUnavailable, ConfigurationError, GraphRejected, InferenceFailed, SelfTestFailed
from visage.faces import Image, Pixels
from visage.families import family
from visage.images.decoding import Decoder, Limits
from visage.zoo.catalogue import Entry
from visage.zoo.sources import data_file

# What a form is called in `--to`, and how its file ends.
SUFFIXES = {"fp16": "fp16.onnx", "onnx": "onnx", "engine": "engine"}

Making = Callable[[Entry, ModelFile, Path], str]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument(
        "--to",
        choices=SUFFIXES,
        required=True,
        help="fp16: float16 inside, float32 at both ends; onnx: as the service computes it, for any batch and size; "
        "engine: TensorRT's, for the GPU of this machine",
    )
    parser.add_argument("--out", type=Path, help="the file to write; NAME and what it is, in this folder, if left out")


def convert(entry: Entry, file: ModelFile, form: str, target: Path) -> str:
    """Write the prepared `file` in another form, whole or not at all; what there is to say of it.

    Raises GraphRejected where it would be another network, BackendUnavailable without TensorRT, and ConfigurationError
    where nothing can be written.
    """
    draft = target.with_name(f".draft-{target.name}")
    try:
        said = _MAKING[form](entry, file, draft)
        draft.replace(target)
    except OSError as exc:
        raise ConfigurationError(f"{target} cannot be written: {exc.strerror}") from exc
    finally:
        draft.unlink(missing_ok=True)
    before, after = (path.stat().st_size / 1e6 for path in (file.path, target))
    return f"{after:.1f} MB of {before:.1f}{said and f'; {said}'}"


def _as_onnx(_: Entry, file: ModelFile, draft: Path) -> str:
    """As it was prepared, which was proved then."""
    shutil.copyfile(file.path, draft)
    return ""


def _in_half(entry: Entry, file: ModelFile, draft: Path) -> str:
    """Proved: both are run on the self-test picture and on noise."""
    write_half(file.path, draft)
    try:
        alike = _proved(entry, replace(file, means=Means()), draft)
    except (InferenceFailed, SelfTestFailed) as exc:
        raise GraphRejected(f"{file.name} in half precision is another network: {exc}") from exc
    return f"least cosine of an output with the original's: {alike:.6f}"


def _proved(entry: Entry, file: ModelFile, draft: Path) -> float:
    """The least likeness of the outputs of both. Raises InferenceFailed and SelfTestFailed where it is too little."""
    shown = Decoder(Limits()).decode(data_file("selftest.png").read_bytes())
    with ExitStack() as held:
        opened = [held.enter_context(closing(backend(ORACLE)(one))) for one in (file, replace(file, path=draft))]
        pixels = _pictures(opened[0], shown)
        runs = list(zip(*(run_in_batches(session, pixels) for session in opened), strict=True))
        for expected, found in runs:
            require_same(expected, found, half=True)
        before, after = (
            selftest.numbers(entry.task, family(entry.family).build(session, entry.params), shown) for session in opened
        )
    known = selftest.Known(before, selftest.TOLERANCES[entry.task], "the original").halved()
    selftest.check(entry.name, after, known, f"{ORACLE} in half precision")
    return min(likeness(a, b) for expected, found in runs for a, b in zip(expected, found, strict=True))


def _pictures(session: Session, shown: Image) -> Pixels:
    """The self-test picture and noise, of a size that the network takes: (2, h, w, 3)."""
    size = session.sizes.nearest(selftest.INPUT)
    face = cv2.resize(shown.pixels, size)
    return np.stack([face, np.random.default_rng(0).integers(0, 256, face.shape, np.uint8)]).astype(np.uint8)


def _as_engine(_: Entry, file: ModelFile, draft: Path) -> str:
    """Built for the GPU at hand, for as many pictures and as large ones as the settings ask. It is not run: the
    service's start holds it to the known numbers.
    """
    try:
        library = import_module("tensorrt")
    except ImportError as exc:
        raise BackendUnavailable(
            f"{file.name} cannot be built: TensorRT is not installed ({exc}); pip install visage[trt], on the machine "
            "that is to run the engine"
        ) from exc
    source = Source.read(file)
    recipe = Recipe(Profile.of(source.shape, file), file.means.fp16, file.means.workspace_mb)
    draft.write_bytes(build(library, source, recipe)[0])
    return f"{'half' if recipe.half else 'single'} precision, {recipe.profile}"


_MAKING: Mapping[str, Making] = {"fp16": _in_half, "onnx": _as_onnx, "engine": _as_engine}
