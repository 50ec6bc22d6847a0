"""The networks that are loaded: a request is lent a pipeline of those it names."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from visage.deadline import Deadline
from visage.faces import Embedding, Floats, GenderAge, MaskScores
from visage.options import ExtractOptions
from visage.pipeline import CropStage, DetectionStage, FacePipeline, Observe
from visage.slot import Slot


class Stage(Protocol):
    @property
    def waiting(self) -> int: ...


S = TypeVar("S", bound=Stage)


@dataclass(frozen=True, slots=True)
class Shelf(Generic[S]):
    """The networks for one task, by name; `default` answers who names none, None where nothing does."""

    slots: Mapping[str, Slot[S]] = field(default_factory=dict)
    default: str | None = None

    def find(self, name: str | None) -> Slot[S] | None:
        """The slot of `name`, which must be here; of the default for None."""
        wanted = self.default if name is None else name
        return None if wanted is None else self.slots[wanted]


@dataclass(frozen=True, slots=True)
class Standing:
    """A network of one stage: whether it is open, and how many items wait for it."""

    stage: str
    name: str
    in_memory: bool
    waiting: int


class Rack:
    """Lends the stages of a pipeline for the time of a request; those that a request does not need may rest on.

    What a request that was given up leaves running on a thread is no loan: closing a stage waits for what runs in it.
    """

    def __init__(
        self,
        detection: Shelf[DetectionStage],
        embedding: Shelf[CropStage[Embedding]],
        gender_age: Shelf[CropStage[GenderAge]],
        masks: Shelf[CropStage[MaskScores]],
        landmarks: Shelf[CropStage[Floats]],
        *,
        max_faces: int = 1000,
        observe: Observe = lambda stage, seconds: None,
    ) -> None:
        self._detection = detection
        self._embedding = embedding
        self._gender_age = gender_age
        self._masks = masks
        self._landmarks = landmarks
        self._max_faces = max_faces
        self._observe = observe

    @asynccontextmanager
    async def lent(
        self, options: ExtractOptions, deadline: Deadline, *, crops: bool = False
    ) -> AsyncIterator[FacePipeline]:
        """The pipeline for a request with these options; `crops`: its pictures need no detection.

        Raises DeadlineExceeded, and ModelUnavailable for a network that cannot be loaded again.
        """
        async with AsyncExitStack() as loans:

            async def of(slot: Slot[S] | None, wanted: bool) -> S | None:
                return await loans.enter_async_context(slot.lent(deadline)) if slot is not None and wanted else None

            yield FacePipeline(
                await of(self._detection.find(options.detector), not crops),
                await of(self._embedding.find(options.recogniser), options.embedding),
                await of(self._gender_age.find(None), options.gender_age),
                await of(self._masks.find(None), options.masks),
                await of(self._landmarks.find(None), options.landmarks_106),
                max_faces=self._max_faces,
                observe=self._observe,
            )

    def standing(self) -> list[Standing]:
        """How each network stands now."""
        return [
            Standing(stage, slot.name, slot.held is not None, slot.held.waiting if slot.held else 0)
            for stage, slot in self._slots()
        ]

    async def rest(self) -> None:
        """Close the networks that nobody has used for long."""
        for _, slot in self._slots():
            await slot.rest()

    async def aclose(self) -> None:
        await asyncio.gather(*(slot.aclose() for _, slot in self._slots()))

    def _slots(self) -> Iterator[tuple[str, Slot[Any]]]:
        """Every slot with its stage's name."""
        shelves: dict[str, Shelf[Any]] = {
            "detection": self._detection,
            "embedding": self._embedding,
            "gender_age": self._gender_age,
            "masks": self._masks,
            "landmarks": self._landmarks,
        }
        for stage, shelf in shelves.items():
            for slot in shelf.slots.values():
                yield stage, slot
