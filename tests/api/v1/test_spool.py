"""Bytes from one task to another."""

import asyncio

import pytest

from visage.api.v1.spool import Spool
from visage.errors import AnswerNotRead


async def read(spool: Spool) -> bytes:
    return b"".join([piece async for piece in spool.pieces()])


def test_what_is_written_comes_out_in_order() -> None:
    async def go() -> None:
        spool = Spool()
        for i in range(100):
            await spool.write(bytes([i]) * 50_000)
        spool.end(b"last")
        assert await read(spool) == b"".join(bytes([i]) * 50_000 for i in range(100)) + b"last"
        spool.close()

    asyncio.run(go())


def test_a_full_spool_waits_until_it_is_taken_and_is_empty_then() -> None:
    async def go() -> None:
        spool = Spool(most=1000, patience=100)
        reading = asyncio.create_task(read(spool))
        for _ in range(50):
            await spool.write(b"x" * 600)
            assert spool._written <= 1200  # what was taken is not kept
        spool.end(b"last")
        assert await reading == b"x" * 30_000 + b"last"
        spool.close()

    asyncio.run(go())


def test_who_writes_does_not_wait_for_ever() -> None:
    async def go() -> None:
        spool = Spool(most=1000, patience=0.05)
        await spool.write(b"x" * 1000)
        with pytest.raises(AnswerNotRead, match="1001 bytes"):
            await spool.write(b"x")
        spool.end(b"last")
        assert await read(spool) == b"x" * 1001 + b"last"
        spool.close()

    asyncio.run(go())
