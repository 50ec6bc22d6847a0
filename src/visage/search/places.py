"""Where galleries are: a folder, or what another store's address names."""

from dataclasses import dataclass
from pathlib import Path

from visage.errors import BackendUnavailable, ConfigurationError
from visage.search import folder
from visage.search.base import Store
from visage.search.folder import FOLDER

_MILVUS = "milvus:"
_ADDRESSES = (_MILVUS, "http://", "https://")


@dataclass(frozen=True, slots=True)
class Milvus:
    """How one is asked. `seconds`: that a call may take."""

    token: str = ""
    database: str = ""
    seconds: float = 10.0


_USUAL = Milvus()


def open_place(
    place: str, *, compact_after: float | None = None, memory: int = 512 * 2**20, milvus: Milvus = _USUAL
) -> Store:
    """The store at an address (http://…, https://…, milvus:FILE for Milvus Lite), or in a folder as DATA_DIR names one.

    Of an embedded store: `compact_after`: seconds until it by itself takes what was deleted out of its files; None:
    never. `memory`: bytes that it may hold of collections for searching.
    Raises BackendUnavailable, StoreUnavailable, ConfigurationError.
    """
    hold_known(place)
    if not _is_address(place):
        from visage.search.embedded import EmbeddedStore  # compiled kernels: only where they are needed

        return EmbeddedStore(Path(place) / FOLDER, compact_after=compact_after, memory=memory)
    try:
        from visage.search.milvus import open_store

        return open_store(
            place.removeprefix(_MILVUS), token=milvus.token, database=milvus.database, seconds=milvus.seconds
        )
    except ImportError as exc:
        raise BackendUnavailable(
            f"{place}: its store is not installed ({exc.name}): pip install visage[milvus]"
        ) from exc


def hold_known(place: str) -> None:
    """Raises ConfigurationError for what looks like an address and is no store's: it is not to become a folder."""
    if not _is_address(place) and ("://" in place or place.lower().startswith(("http:", "https:"))):
        raise ConfigurationError(
            f"{place!r} is no store's address: http://HOST:19530, https://…, milvus:FILE, or a folder as DATA_DIR "
            "names one"
        )


def hold_begun(place: str) -> None:
    """Raises ConfigurationError where a folder holds no galleries; what is at an address only its server knows."""
    hold_known(place)
    if not _is_address(place) and not is_begun(place):
        there = "there is no folder" if not Path(place).exists() else "no galleries are in the folder"
        inside = "; it is inside of one that has galleries: give that" if (Path(place) / folder.FILE).exists() else ""
        raise ConfigurationError(f"{there} {place}{inside}")


def is_begun(place: str) -> bool:
    """Whether something was kept there already, as far as that is seen without a connection."""
    return not _is_address(place) and folder.is_begun(Path(place) / FOLDER)


def unwritable(place: str) -> str:
    """What is to be said of a folder that may not be written to; else nothing."""
    if _is_address(place) or folder.is_writable(Path(place) / FOLDER):
        return ""
    return "DATA_DIR is read-only: what is enrolled can be searched, nothing can be enrolled, changed or deleted"


def check(store: Store) -> None:
    """Whether it can be used, as far as that is seen at once, without a connection. Raises StoreUnavailable."""
    from visage.search.embedded import EmbeddedStore

    if isinstance(store, EmbeddedStore):
        store.check()


def warm_up(store: Store) -> None:
    """Have the store ready what its first search would wait for."""
    from visage.search.embedded import EmbeddedStore

    if isinstance(store, EmbeddedStore):
        store.warm_up()


def _is_address(place: str) -> bool:
    return place.startswith(_ADDRESSES)
