"""Who is this? Galleries of enrolled faces, and the search in them."""

from importlib import import_module
from importlib.util import find_spec

from visage.errors import ConfigurationError
from visage.search.base import Store

# What opens the store of a folder.
_EMBEDDED = "visage.search.embedded"


def open_store(where: str) -> Store:
    """The store at `where`, a folder. Nothing is made on disk before the first write.

    Raises ConfigurationError and StoreUnavailable.
    """
    if "://" in where:
        raise ConfigurationError(f"no store is known for addresses as {where.split('://')[0]}://…; name a folder")
    if find_spec(_EMBEDDED) is None:
        raise ConfigurationError("this build has no embedded store (visage.search.embedded): galleries are not kept")
    store: Store = import_module(_EMBEDDED).open_store(where)
    return store
