"""Are these the same person? Each picture's largest face against the first picture's.

.venv/bin/python misc/examples/embed.py one.jpg two.jpg three.jpg
INFERENCE_BACKEND=openvino .venv/bin/python misc/examples/embed.py one.jpg two.jpg
"""

import argparse
import asyncio
from pathlib import Path

from visage.deadline import Deadline
from visage.errors import ImageError
from visage.images.fetching import Raw
from visage.options import ExtractOptions
from visage.runtime import Unwatched, open_runtime
from visage.settings import Settings


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("others", nargs="+", type=Path)
    given = parser.parse_args()

    pictures = [given.first, *given.others]
    try:
        files = [Raw(path.read_bytes()) for path in pictures]
    except OSError as error:
        raise SystemExit(f"{error.filename}: {error.strerror}") from None

    settings, _ = Settings.load()
    runtime = open_runtime(settings, Unwatched())
    threshold = runtime.networks.defaults["rec"].entry.threshold
    # The largest face of each picture; all pictures in one call, each with an outcome of its own.
    options = ExtractOptions(threshold=settings.def_det_thresh, limit_faces=1)
    outcomes = await runtime.service.extract(files, options, Deadline(60))
    await runtime.aclose()

    vectors = []
    for path, outcome in zip(pictures, outcomes, strict=True):
        if isinstance(outcome.result, ImageError):
            raise SystemExit(f"{path}: {outcome.result}")
        faces = outcome.result.faces
        if not faces or faces[0].embedding is None:
            raise SystemExit(f"{path}: no face")
        vectors.append(faces[0].embedding.vector)
    for path, vector in zip(given.others, vectors[1:], strict=True):
        cosine = float(vectors[0] @ vector)  # both have length 1
        verdict = "" if threshold is None else ", the same person" if cosine >= threshold else ", another person"
        print(f"{path}: cosine {cosine:.3f}{verdict}")
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
