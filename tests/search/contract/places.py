"""Where stores are that must all do the same."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from visage.search.base import Store

# Seconds that a call to Milvus may take here: the machine may be busy.
PATIENT = 60.0


@dataclass(frozen=True)
class Place:
    """`open`: a store, as another process would have it. `rough_graphs`: whether it has graphs of float16 and int8."""

    open: Callable[[], Store]
    rough_graphs: bool = True

    @contextmanager
    def opened(self) -> Iterator[Store]:
        store = self.open()
        try:
            yield store
        finally:
            store.close()


def of_server(address: str) -> Place:
    """Empty."""
    from visage.search.milvus import open_store

    place = Place(lambda: open_store(address, seconds=PATIENT), rough_graphs=False)
    with place.opened() as store:
        for collection in store.collections():
            store.drop(collection.name)
    return place


def server_address() -> str | None:
    """Of a server that is there already, for who does not want to wait for one of our own."""
    return os.environ.get("MILVUS_TEST_ADDRESS")
