"""What is made on a thread for the event loop."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from visage.api.ahead import _PIECES, made_ahead

# One that was taken, those that wait, one that finds no room.
MOST = 1 + _PIECES + 1


def test_pieces_come_in_order_and_errors_in_their_place() -> None:
    def make() -> Iterator[int]:
        yield from range(100)
        raise KeyError("gone")

    async def taken() -> list[int]:
        pieces = made_ahead(make)
        found = [await anext(pieces) for _ in range(100)]
        with pytest.raises(KeyError, match="gone"):
            await anext(pieces)
        return found

    assert asyncio.run(taken()) == list(range(100))


def test_nothing_is_made_far_ahead_and_nothing_for_nobody() -> None:
    made: list[int] = []
    left = threading.Event()

    def make() -> Iterator[int]:
        try:
            for i in range(10_000):
                made.append(i)
                yield i
        finally:
            left.set()

    async def taken() -> None:
        pieces = made_ahead(make)
        assert await anext(pieces) == 0
        async with asyncio.timeout(60):
            while len(made) < MOST:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(made) == MOST
        await pieces.aclose()

    asyncio.run(taken())
    assert left.wait(30) and len(made) == MOST
