"""Faces of pictures, drawn onto them: the library without the service.

    .venv/bin/python misc/examples/detect.py misc/images/group.jpg -o build/
    INFERENCE_BACKEND=openvino DET_NAME=yunet_2023mar .venv/bin/python misc/examples/detect.py a.jpg b.jpg

Networks, engines and everything else come from the environment, as for the service (docs/operating.md).
"""

import argparse
import asyncio
from pathlib import Path

import cv2

from visage.deadline import Deadline
from visage.drawing import draw
from visage.errors import VisageError
from visage.images.fetching import Raw
from visage.options import DrawOptions, ExtractOptions
from visage.runtime import Unwatched, open_runtime
from visage.settings import Settings


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, help="a folder for the pictures with boxes")
    given = parser.parse_args()

    settings, _ = Settings.load()
    runtime = open_runtime(settings, Unwatched())
    options = ExtractOptions(threshold=settings.def_det_thresh, embedding=False)
    failed = 0
    for path in given.pictures:
        try:
            image = await runtime.service.read(Raw(path.read_bytes()), Deadline(60))
            found = await runtime.service.faces(image, options, Deadline(60))
        except (OSError, VisageError) as error:  # one bad picture costs its neighbours nothing
            print(f"{path}: {error}")
            failed += 1
            continue
        print(f"{path}: {len(found.faces)} faces")
        for face in found.faces:
            left, top, right, bottom = (round(float(x)) for x in face.box)
            print(f"    score {face.score:.3f}, box {left},{top} to {right},{bottom}")
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            shown = draw(image.pixels, found, DrawOptions(), settings.det_name)
            cv2.imwrite(str(given.out / f"{path.stem}.faces.png"), shown)
    await runtime.aclose()
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
