"""Where galleries are: a folder, or what another store's address names."""

from importlib import import_module
from pathlib import Path

from visage.errors import BackendUnavailable
from visage.search.base import Store

FOLDER = "galleries"

# Beginning of an address → what opens it: a function of the address. Loaded when it is asked for.
OPENERS: dict[str, str] = {
    "milvus:": "visage.search.milvus:open_store",
    "http://": "visage.search.milvus:open_store",
    "https://": "visage.search.milvus:open_store",
}


def open_place(place: str, *, compact_after: float | None = None) -> Store:
    """The store at an address, or in a folder as DATA_DIR names one.

    `compact_after`: seconds until an embedded store by itself takes what was deleted out of its files; None: never.
    Raises BackendUnavailable, StoreUnavailable.
    """
    opener = _opener(place)
    if opener is None:
        from visage.search.embedded import EmbeddedStore  # compiled kernels: only where they are needed

        return EmbeddedStore(Path(place) / FOLDER, compact_after=compact_after)
    module, name = opener.split(":")
    try:
        store: Store = getattr(import_module(module), name)(place.removeprefix("milvus:"))
    except ImportError as exc:
        raise BackendUnavailable(
            f"{place}: its store is not installed ({exc.name}): pip install visage[milvus]"
        ) from exc
    return store


def is_begun(place: str) -> bool:
    """Whether something was kept there already, as far as that is seen without a connection."""
    return _opener(place) is None and (Path(place) / FOLDER).is_dir()


def warm_up(store: Store) -> None:
    """Have the store ready what its first search would wait for."""
    from visage.search.embedded import EmbeddedStore

    if isinstance(store, EmbeddedStore):
        store.warm_up()


def _opener(place: str) -> str | None:
    return next((path for start, path in OPENERS.items() if place.startswith(start)), None)
