import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.support import (
    ConstantDetector,
    ConstantEmbedder,
    ConstantGenderAge,
    ConstantLandmarks,
    ConstantMasks,
    opener_of,
    threads_since,
)
from visage.deadline import Deadline
from visage.errors import ModelUnavailable
from visage.faces import Embedding, Image, Pixels
from visage.families.base import ALIGNED
from visage.options import ExtractOptions
from visage.pipeline import CropStage, DetectionStage
from visage.rack import Rack, Shelf, Standing
from visage.slot import Slot

PICTURE = Image(np.random.default_rng(3).integers(0, 256, (480, 640, 3), np.uint8))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class House:
    """A rack of constant networks which counts how often each was opened."""

    def __init__(self, *, default: str | None = "one", **embedders: Any) -> None:
        self.clock = Clock()
        self.opened: list[str] = []
        self.broken: set[str] = set()
        recognisers = embedders or {"one": ConstantEmbedder(), "two": ConstantEmbedder()}
        self.rack = Rack(
            Shelf(
                {name: self._slot(name, lambda: DetectionStage(ConstantDetector())) for name in ("near", "far")}, "near"
            ),
            Shelf(
                {name: self._slot(name, partial(CropStage, name, e, max_batch=8)) for name, e in recognisers.items()},
                default,
            ),
            Shelf({"ages": self._slot("ages", lambda: CropStage("gender_age", ConstantGenderAge()))}, "ages"),
            Shelf({"masks": self._slot("masks", lambda: CropStage("masks", ConstantMasks()))}, "masks"),
            Shelf({"dense": self._slot("dense", lambda: CropStage("landmarks", ConstantLandmarks()))}, "dense"),
        )

    def _slot(self, name: str, make: Any) -> Slot[Any]:
        def made() -> Any:
            if name in self.broken:
                raise OSError("gone")
            self.opened.append(name)
            return make()

        return Slot(name, opener_of(made), idle=10, clock=self.clock)

    def in_memory(self) -> set[str]:
        return {network.name for network in self.rack.standing() if network.in_memory}

    async def rest(self) -> None:
        self.clock.now += 10
        await self.rack.rest()


@asynccontextmanager
async def house_of(**how: Any) -> AsyncIterator[House]:
    house = House(**how)
    try:
        yield house
    finally:
        await house.rack.aclose()


def later() -> Deadline:
    return Deadline(100)


@pytest.mark.parametrize(
    ("options", "crops", "needed"),
    [
        (ExtractOptions(), False, {"near", "one"}),
        (ExtractOptions(embedding=False), False, {"near"}),
        (ExtractOptions(embedding=False, gender_age=True, masks=True), False, {"near", "ages", "masks"}),
        (ExtractOptions(embedding=False, landmarks_106=True), False, {"near", "dense"}),
        (ExtractOptions(detector="far", recogniser="two"), False, {"far", "two"}),
        (ExtractOptions(embedding=False, detector="far", recogniser="two"), False, {"far"}),
        (ExtractOptions(recogniser="two"), True, {"two"}),
    ],
)
def test_a_request_is_lent_what_it_needs_and_the_rest_stays_asleep(
    options: ExtractOptions, crops: bool, needed: set[str]
) -> None:
    async def work() -> None:
        async with house_of() as house:
            assert house.in_memory() == {"near", "far", "one", "two", "ages", "masks", "dense"}
            await house.rest()
            assert house.in_memory() == set()
            async with house.rack.lent(options, later(), crops=crops) as pipeline:
                await house.rest()  # what is lent stays
                assert house.in_memory() == needed
                assert (pipeline.detection is None) == crops
                assert (pipeline.embedding is None) == (not options.embedding)
            await house.rest()
            assert house.in_memory() == set()

    asyncio.run(work())


def test_without_a_default_only_a_named_network_embeds() -> None:
    async def work() -> None:
        async with house_of(default=None) as house:
            async with house.rack.lent(ExtractOptions(), later()) as pipeline:
                answer = await asyncio.to_thread(pipeline.faces, PICTURE, ExtractOptions(), later())
            assert answer.faces[0].embedding is None
            assert answer.warnings == ("extract_embedding was asked for, but no network for it is loaded (REC_NAME)",)
            named = ExtractOptions(recogniser="two")
            async with house.rack.lent(named, later()) as pipeline:
                answer = await asyncio.to_thread(pipeline.faces, PICTURE, named, later())
            assert answer.faces[0].embedding is not None and answer.warnings == ()

    asyncio.run(work())


def test_who_waits_for_one_network_keeps_the_other() -> None:
    async def work() -> None:
        async with house_of() as house:
            await house.rest()
            house.broken.add("one")
            with pytest.raises(ModelUnavailable, match=r"^one could not be loaded again"):
                async with house.rack.lent(ExtractOptions(), later()):
                    pass
            assert house.in_memory() == {"near"}
            house.broken.clear()
            async with house.rack.lent(ExtractOptions(), later()):
                assert house.in_memory() == {"near", "one"}
            assert house.opened.count("near") == house.opened.count("one") == 2
            await house.rest()  # the failed request holds nothing any more
            assert house.in_memory() == set()

    asyncio.run(work())


def test_how_each_network_stands_is_told_also_of_those_that_sleep() -> None:
    async def work() -> None:
        async with house_of() as house:
            await house.rest()
            async with house.rack.lent(ExtractOptions(embedding=False), later()):
                assert house.rack.standing() == [
                    Standing("detection", "near", True, 0),
                    Standing("detection", "far", False, 0),
                    Standing("embedding", "one", False, 0),
                    Standing("embedding", "two", False, 0),
                    Standing("gender_age", "ages", False, 0),
                    Standing("masks", "masks", False, 0),
                    Standing("landmarks", "dense", False, 0),
                ]

    asyncio.run(work())


def test_the_threads_of_a_network_end_when_it_is_unloaded() -> None:
    async def work() -> None:
        before = set(threading.enumerate())
        async with house_of() as house:
            assert len(threads_since(before)) == 7
            await house.rest()
            assert threads_since(before) == []
            async with house.rack.lent(ExtractOptions(), later()):
                assert len(threads_since(before)) == 2
        assert threads_since(before) == []

    asyncio.run(work())


class Marked:
    """Answers with a number of its own for every crop, and knows how many it was shown."""

    crop = ALIGNED
    max_batch = 0
    streams = 0

    def __init__(self, mark: float) -> None:
        self.mark = mark
        self.shown = 0

    def predict(self, crops: Pixels, /) -> list[Embedding]:
        self.shown += len(crops)
        return [Embedding(np.array([self.mark], np.float32), 1.0) for _ in crops]


def test_vectors_of_different_recognisers_are_never_mixed() -> None:
    networks = {f"r{i}": Marked(float(i)) for i in range(3)}
    rounds = 60

    async def work() -> None:
        async with house_of(default="r0", **networks) as house:
            loop = asyncio.get_running_loop()

            async def ask(i: int, pool: ThreadPoolExecutor) -> None:
                options = ExtractOptions(recogniser=f"r{i % 3}")
                async with house.rack.lent(options, later()) as pipeline:
                    answer = await loop.run_in_executor(pool, pipeline.faces, PICTURE, options, later())
                assert [float(face.embedding.vector[0]) for face in answer.faces if face.embedding] == [i % 3, i % 3]

            with ThreadPoolExecutor(8) as pool:
                await asyncio.gather(*(ask(i, pool) for i in range(rounds)))

    asyncio.run(work())
    assert [network.shown for network in networks.values()] == [2 * rounds // 3] * 3
