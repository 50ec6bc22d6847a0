"""That the service was told to end: those inside have a while to finish; what would go on for longer ends itself."""

import asyncio


class Stopping:
    """For one event loop."""

    def __init__(self) -> None:
        self._told = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self._told.is_set()

    def begin(self) -> None:
        self._told.set()

    async def wait(self) -> None:
        """Until it begins."""
        await self._told.wait()
