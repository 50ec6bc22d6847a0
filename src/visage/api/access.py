"""Who may come in: the key that a request shows, held against what its route asks for."""

import asyncio
import logging
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from visage.access.audit import SERVICE_LOG, Audit, audit_of
from visage.access.keyfile import KeyFile
from visage.access.keylist import KeyList
from visage.access.keys import Key, Scope
from visage.access.rates import Buckets
from visage.access.ring import KeyRing
from visage.errors import ConfigurationError, Forbidden, RateLimited, Unauthorised
from visage.settings import Settings

log = logging.getLogger("visage.access")

# Whoever asks may read these: they tell nothing of what the service holds.
_OPEN = re.compile(r"/|/health|/ready|/docs|/docs/oauth2-redirect|/redoc|/openapi\.json|/static/.+|/ui|/ui/.*")

_ALL = "/v1/collections"
_ONE = f"{_ALL}/[^/]+"
_PERSON = f"{_ONE}/persons/[^/]+"
_FACES_OF_IMAGES = "/(?:multipart/)?(?:extract|draw_detections)|/v1/(?:detect|embeddings|compare)"

# Methods and paths → scope; what is not here needs admin: collections made and deleted, export, metrics, and every
# route that is added without a thought of this table.
_TABLE: tuple[tuple[frozenset[str], re.Pattern[str], Scope], ...] = (
    (frozenset({"GET"}), re.compile("/info|/models"), "read"),
    (frozenset({"POST"}), re.compile(_FACES_OF_IMAGES), "read"),
    (frozenset({"GET"}), re.compile(f"{_ALL}|{_ONE}|{_ONE}/persons|{_PERSON}"), "read"),
    (frozenset({"GET"}), re.compile(f"{_PERSON}/faces(?:/[^/]+(?:/crop)?)?"), "read"),
    (frozenset({"POST"}), re.compile(f"{_ONE}/search"), "read"),
    (frozenset({"POST"}), re.compile(f"{_ONE}/persons|{_ONE}/bulk|{_PERSON}/faces"), "write"),
    (frozenset({"PATCH", "DELETE"}), re.compile(_PERSON), "write"),
    (frozenset({"DELETE"}), re.compile(f"{_PERSON}/faces/[^/]+"), "write"),
)
_NAMED_COLLECTION = re.compile(f"{_ALL}/([^/]+)(?:/.*)?", re.DOTALL)

_HOW = "send Authorization: Bearer vk_… (`visage keys add` makes one)"
NO_KEY = f"A key is needed here: {_HOW}"
_MOST_PATH = 1000
_NOTED_EVERY = 60.0  # seconds: so exactly is it told when a key was last used


@dataclass(frozen=True, slots=True)
class Need:
    """What a request asks of a key. `collection`: the one that its path names; `all_collections`: it is about all.

    The list of collections is neither: who may reach some sees those.
    """

    scope: Scope
    collection: str | None = None
    all_collections: bool = False

    @property
    def audited(self) -> bool:
        return self.scope != "read"


def need_of(method: str, path: str, *, metrics_public: bool = False) -> Need | None:
    """None: nothing is asked."""
    method = "GET" if method == "HEAD" else method
    if method == "GET" and (_OPEN.fullmatch(path) or (metrics_public and path == "/metrics")):
        return None
    scope: Scope = next(
        (scope for methods, paths, scope in _TABLE if method in methods and paths.fullmatch(path)), "admin"
    )
    named = _NAMED_COLLECTION.fullmatch(path)
    return Need(scope, named[1] if named else None, all_collections=method != "GET" and path.rstrip("/") == _ALL)


class Gate(Protocol):
    """What the door asks of every request, before it takes a place and before its body is read."""

    def admit(self, method: str, path: str, authorization: str) -> Key | None:
        """The caller's key; None where none is asked for. Raises Unauthorised, Forbidden, RateLimited."""
        ...

    def left(self, key: Key | None, method: str, path: str, status: int, request_id: str) -> None:
        """The answer was given."""
        ...

    def hold_usable(self) -> None:
        """Raises NotReady where nobody can be let in."""
        ...

    def close(self) -> None: ...


class OpenGate:
    """AUTH=off."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def admit(self, method: str, path: str, authorization: str) -> Key | None:
        return None

    def left(self, key: Key | None, method: str, path: str, status: int, request_id: str) -> None:
        _audited(self._audit, need_of(method, path), key, method, path, status, request_id)

    def hold_usable(self) -> None:
        pass

    def close(self) -> None:
        pass


class KeyGate:
    """AUTH=keys."""

    def __init__(
        self, file: KeyFile, buckets: Buckets, audit: Audit, *, metrics_public: bool, listed: KeyList | None = None
    ) -> None:
        self._file = file
        self._ring = KeyRing(file, listed)
        self._buckets = buckets
        self._audit = audit
        self._metrics_public = metrics_public
        self._used: dict[str, float] = {}
        self._unnoted = False
        self._noting: set[asyncio.Task[None]] = set()

    def admit(self, method: str, path: str, authorization: str) -> Key | None:
        need = need_of(method, path, metrics_public=self._metrics_public)
        if need is None:
            return None
        key = self._shown(authorization)
        self._note(key)
        if key.rate and (wait := self._buckets.take(key.id, key.rate)):
            said = f"The key {key.name!r} may make {key.rate} requests a minute"
            raise RateLimited(said, retry_after=math.ceil(wait))
        _hold(key, need)
        return key

    def left(self, key: Key | None, method: str, path: str, status: int, request_id: str) -> None:
        need = need_of(method, path, metrics_public=self._metrics_public)
        _audited(self._audit, need, key, method, path, status, request_id)

    def hold_usable(self) -> None:
        self._ring.hold_usable()

    def close(self) -> None:
        self._ring.close()
        self._buckets.close()

    def __len__(self) -> int:
        return len(self._ring)

    def _shown(self, authorization: str) -> Key:
        scheme, _, secret = authorization.strip().partition(" ")
        if not authorization:
            raise Unauthorised(NO_KEY)
        if scheme.lower() != "bearer":
            raise Unauthorised(f"Keys are shown as a bearer token: {_HOW}")
        key = self._ring.find(secret.strip())
        if key is None:
            raise Unauthorised("This key is not known here, or was revoked; `visage keys list` tells which are valid")
        return key

    def _note(self, key: Key) -> None:
        """Remember when the key was used, now and then, off the event loop: no request waits for the disk."""
        now = time.monotonic()
        if now - self._used.get(key.id, -math.inf) < _NOTED_EVERY:
            return
        self._used[key.id] = now
        task = asyncio.get_running_loop().create_task(self._write_used({key.id: time.time()}))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _write_used(self, used: Mapping[str, float]) -> None:
        try:
            await asyncio.to_thread(self._file.note_used, used)
        except ConfigurationError as error:  # it tells people something, and no answer hangs on it
            if not self._unnoted:
                log.warning("when keys were used is not noted: %s", error)
            self._unnoted = True
        else:
            self._unnoted = False


def _hold(key: Key, need: Need) -> None:
    """Raises Forbidden."""
    if not key.may(need.scope):
        raise Forbidden(
            f"This needs a key with the scope {need.scope}; {key.name!r} has {', '.join(sorted(key.scopes))}"
        )
    if need.collection is not None and not key.reaches(need.collection):
        raise Forbidden(f"The key {key.name!r} is for other collections than {need.collection!r}")
    if need.all_collections and key.collections:
        raise Forbidden(f"The key {key.name!r} is for some collections only: ask for one of them by its name")


def _audited(
    audit: Audit, need: Need | None, key: Key | None, method: str, path: str, status: int, request_id: str
) -> None:
    if need is not None and need.audited and path != "/metrics":
        audit.record(
            key=key.id if key else None, method=method, path=path[:_MOST_PATH], status=status, request_id=request_id
        )


def gate_of(settings: Settings) -> Gate:
    """Raises ConfigurationError where a file of keys or the audit log cannot be used."""
    if not settings.asks_for_keys:
        return OpenGate(audit_of(settings.audit_log))
    file, buckets = KeyFile(settings.data_dir), Buckets(settings.data_dir / "rates")
    audit = audit_of(settings.audit_log or SERVICE_LOG)
    listed = KeyList(settings.auth_keys_file) if settings.auth_keys_file is not None else None
    gate = KeyGate(file, buckets, audit, metrics_public=settings.metrics_public, listed=listed)
    if not len(gate):
        log.warning("AUTH=keys, and there is no key yet: visage keys add NAME --scopes read,write")
    return gate


def declare_keys(document: dict[str, Any], *, metrics_public: bool) -> None:
    """Write into an OpenAPI document which routes ask for a key: its pages then have a place to type it."""
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["key"] = {"type": "http", "scheme": "bearer", "description": "A key of `visage keys add`: vk_…"}
    document["security"] = [{"key": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if need_of(method.upper(), path, metrics_public=metrics_public) is None:
                operation["security"] = []
