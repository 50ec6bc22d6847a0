"""The Milvus store: for what outgrows a machine (docs/decisions/0013)."""

from visage.search.milvus.store import MilvusStore, open_store

__all__ = ["MilvusStore", "open_store"]
