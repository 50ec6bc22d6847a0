"""Who is this? Galleries of enrolled faces, and the search in them."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from visage.errors import ConfigurationError
from visage.search.base import Store

# What opens the store of a folder.
_EMBEDDED = "visage.search.embedded"


def open_store(where: str) -> Store:
    """The store at `where`, a folder. Nothing is made on disk before the first write.

    Raises ConfigurationError and StoreUnavailable.
    """
    if "://" in where:
        scheme = where.partition("://")[0]
        raise ConfigurationError(f"no store is known for addresses as {scheme}://…; name a folder")
    if find_spec(_EMBEDDED) is None:
        raise ConfigurationError("this build has no embedded store (visage.search.embedded): galleries are not kept")
    store: Store = import_module(_EMBEDDED).EmbeddedStore(Path(where))
    return store
