"""Who of a folder is on a picture? A gallery in memory, searched with one matrix product.

    .venv/bin/python misc/examples/search.py GALLERY probe.jpg

Every picture below GALLERY is of one person, who is called what the file is called, or the folder that it lies in:
ann.jpg, or ann/1.jpg and ann/2.jpg. Of sales/john/1.jpg and it/john/1.jpg the persons are sales/john and it/john. This
is enough for some ten thousand pictures; it keeps nothing and reads the gallery at every start.
"""

import argparse
import asyncio
from pathlib import Path

import numpy as np

from visage.deadline import Deadline
from visage.errors import ImageError
from visage.faces import Outcome
from visage.images.fetching import Raw
from visage.options import ExtractOptions
from visage.runtime import Runtime, Unwatched, open_runtime
from visage.settings import Settings

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic"}
AT_ONCE = 32


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("probe", type=Path)
    parser.add_argument("--top", type=int, default=3)
    given = parser.parse_args()

    settings, _ = Settings.load()
    runtime = open_runtime(settings, Unwatched())
    threshold = runtime.networks.defaults["rec"].entry.threshold or 0.0
    names, vectors = await gallery(runtime, given.gallery, settings.def_det_thresh)
    (probe,) = await embedded(runtime, [given.probe], ExtractOptions(threshold=settings.def_det_thresh))
    await runtime.aclose()

    for number, vector in enumerate(probe):
        likeness = vectors @ vector  # (n,): all have length 1
        best = np.argsort(-likeness)[: given.top]
        shown = ", ".join(f"{names[i]} {likeness[i]:.3f}" for i in best if likeness[i] >= threshold)
        print(f"face {number}: {shown or 'unknown'}")
    return 0


async def gallery(runtime: Runtime, folder: Path, threshold: float) -> tuple[list[str], np.ndarray]:
    """Names, and their unit vectors (n, D)."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    names, vectors = [], []
    for start in range(0, len(paths), AT_ONCE):
        some = paths[start : start + AT_ONCE]
        options = ExtractOptions(threshold=threshold, limit_faces=1)
        for path, faces in zip(some, await embedded(runtime, some, options), strict=True):
            inside = path.relative_to(folder)
            names += [inside.parent.as_posix() if len(inside.parts) > 1 else path.stem] * len(faces)
            vectors += faces
    if not vectors:
        raise SystemExit(f"{folder}: no picture with a face")
    return names, np.stack(vectors)


async def embedded(runtime: Runtime, paths: list[Path], options: ExtractOptions) -> list[list[np.ndarray]]:
    """The vectors of each picture's faces; a picture that cannot be read is told and has none."""
    files = {path: file for path in paths if (file := file_of(path)) is not None}
    outcomes = await runtime.service.extract(list(files.values()), options, Deadline(300))
    found = {path: vectors_of(path, outcome) for path, outcome in zip(files, outcomes, strict=True)}
    return [found.get(path, []) for path in paths]


def file_of(path: Path) -> Raw | None:
    try:
        return Raw(path.read_bytes())
    except OSError as error:
        print(f"{path}: {error.strerror}")
        return None


def vectors_of(path: Path, outcome: Outcome) -> list[np.ndarray]:
    if isinstance(outcome.result, ImageError):
        print(f"{path}: {outcome.result}")
        return []
    return [face.embedding.vector for face in outcome.result.faces if face.embedding is not None]


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
