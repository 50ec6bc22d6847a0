"""The store that needs nothing else: a folder."""

from visage.search.embedded.store import EmbeddedStore

__all__ = ["EmbeddedStore"]
