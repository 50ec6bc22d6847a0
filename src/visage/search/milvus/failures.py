"""What Milvus says has gone wrong, in the words of this service."""

from visage.errors import SearchError, StoreUnavailable

_GONE = {4, 100}
_INVALID = {6, 1100}  # Milvus Lite's and Milvus' numbers for what is wrong in itself
# What Milvus says of it under the number that it has for everything else.
_INVALID_SAID = ("invalid index type", "cannot parse expression", "duplicate collection", "already exists")


class Gone(Exception):
    """Milvus has no such collection, or none any more."""


def told(exc: Exception) -> Exception:
    """Without addresses: those are of no use to a caller."""
    code = getattr(exc, "code", None)
    status = code() if callable(code) else code
    said = " ".join(str(getattr(exc, "message", "") or status).split())[:200]
    if status in _GONE:
        return Gone(said)
    if status in _INVALID or any(words in said for words in _INVALID_SAID):
        return SearchError(f"Milvus refused it: {said}")
    name = str(getattr(status, "name", status))
    if name in ("UNAUTHENTICATED", "PERMISSION_DENIED") or "auth" in said.lower():
        return StoreUnavailable("Milvus refuses the service; see MILVUS_TOKEN and MILVUS_DB_NAME", retry_after=30)
    return StoreUnavailable("Milvus does not answer, or not yet; see its log", retry_after=2)
