"""Fault 1 of the reference: it counted faces before the size filter and regrouped them by that count."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import FindsAtOnce, constant_runtime, settings_of
from visage.api.metrics import Metrics
from visage.backends.base import Sizes
from visage.deadline import Deadline
from visage.faces import Detections, Embedding, Floats, ImageBatch, ImageFaces, Pixels
from visage.families.base import ALIGNED
from visage.geometry.alignment import TEMPLATE
from visage.images.fetching import Raw
from visage.options import ExtractOptions
from visage.service import FaceService

SIDE = 128


@dataclass(frozen=True)
class Picture:
    """A grey of its own tells the fake networks which picture this is; `faces` are (score, width, height)."""

    grey: int
    faces: tuple[tuple[float, int, int], ...]

    def file(self) -> Raw:
        return Raw(bytes(cv2.imencode(".png", np.full((SIDE, SIDE, 3), self.grey, np.uint8))[1]))

    def wanted(self, limit: int, least: int) -> list[tuple[int, tuple[float, int, int]]]:
        """Index and face of what `limit_faces` and `min_face_size` leave of this picture alone."""
        kept = sorted(self.faces, key=lambda face: -face[1] * face[2])[:limit] if limit else self.faces
        return [(i, face) for i, face in enumerate(kept) if face[1] >= least]


class Album(FindsAtOnce):
    """A detector and an embedder that know the pictures of the example at hand by their grey."""

    sizes = Sizes((SIDE, SIDE))
    crop = ALIGNED
    max_batch = 0
    streams = 0

    def __init__(self) -> None:
        self.pictures: dict[int, Picture] = {}

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        return [
            self._faces(int(pixels[0, 0, 0]), float(threshold))
            for pixels, threshold in zip(images.pixels, thresholds, strict=True)
        ]

    def predict(self, crops: Pixels, /) -> list[Embedding]:
        return [Embedding(np.array([crop[56, 56, 0]], np.float32), 1.0) for crop in crops]

    def _faces(self, grey: int, threshold: float) -> Detections:
        faces = [face for face in self.pictures[grey].faces if face[0] > threshold]
        boxes = np.array([[grey, 0, grey + w, h] for _, w, h in faces], np.float32).reshape(-1, 4)
        points = np.broadcast_to(TEMPLATE.astype(np.float32), (len(faces), 5, 2)).copy()
        return Detections(boxes, np.array([score for score, _, _ in faces], np.float32), points)


@pytest.fixture(scope="module")
def album() -> Album:
    return Album()


@pytest.fixture(scope="module", params=["1", "4"])
def service(request: pytest.FixtureRequest, album: Album) -> Iterator[FaceService]:
    of = settings_of(DET_BATCH_SIZE=request.param)
    runtime = constant_runtime(of, Metrics(), detector=album, embedder=album, workers=4)
    yield runtime.service
    asyncio.run(runtime.aclose())


sizes = st.integers(1, 100)
faces = st.lists(st.tuples(st.sampled_from([0.95, 0.9, 0.8, 0.7]), sizes, sizes), max_size=6).map(
    lambda found: tuple(sorted(found, key=lambda face: -face[0]))
)
albums = st.lists(faces, min_size=1, max_size=12).map(
    lambda listed: [Picture(10 + 20 * i, found) for i, found in enumerate(listed)]
)
asked = st.tuples(st.integers(0, 7), st.integers(0, 110))


def check(outcome: object, picture: Picture, limit: int, least: int) -> None:
    assert isinstance(outcome, ImageFaces)
    found = [(f.index, (round(f.score, 6), int(f.box[2] - f.box[0]), int(f.box[3]))) for f in outcome.faces]
    assert found == picture.wanted(limit, least)
    assert all(face.box[0] == picture.grey for face in outcome.faces)
    assert all(face.embedding and face.embedding.vector[0] == picture.grey for face in outcome.faces)


@settings(deadline=None, max_examples=60)
@given(albums, asked)
def test_fault_01_each_face_stays_with_its_image_whatever_is_filtered(
    service: FaceService, album: Album, pictures: list[Picture], how: tuple[int, int]
) -> None:
    album.pictures = {picture.grey: picture for picture in pictures}
    limit, least = how
    options = ExtractOptions(limit_faces=limit, min_face_size=least)
    outcomes = asyncio.run(service.extract([picture.file() for picture in pictures], options, Deadline(100)))
    for outcome, picture in zip(outcomes, pictures, strict=True):
        check(outcome.result, picture, limit, least)


@settings(deadline=None, max_examples=25)
@given(albums, st.lists(asked, min_size=2, max_size=4))
def test_fault_01_requests_that_share_batches_keep_their_own_filters(
    service: FaceService, album: Album, pictures: list[Picture], wishes: list[tuple[int, int]]
) -> None:
    album.pictures = {picture.grey: picture for picture in pictures}
    files = [picture.file() for picture in pictures]

    async def all_at_once() -> list[list[object]]:
        requests = (
            service.extract(files, ExtractOptions(limit_faces=limit, min_face_size=least), Deadline(100))
            for limit, least in wishes
        )
        return [[outcome.result for outcome in outcomes] for outcomes in await asyncio.gather(*requests)]

    for (limit, least), answered in zip(wishes, asyncio.run(all_at_once()), strict=True):
        for outcome, picture in zip(answered, pictures, strict=True):
            check(outcome, picture, limit, least)
