"""The galleries that the settings name."""

from visage.search.base import Store
from visage.search.places import Milvus, open_place
from visage.settings import Settings


def open_galleries(settings: Settings, place: str | None = None, *, compact_after: float | None = None) -> Store:
    """Those at `place`, or where the settings have them. Raises what `open_place` raises."""
    milvus = Milvus(settings.milvus_token, settings.milvus_db_name, settings.milvus_timeout)
    memory = settings.search_memory_mb * 2**20
    return open_place(place or settings.galleries_place, compact_after=compact_after, memory=memory, milvus=milvus)
