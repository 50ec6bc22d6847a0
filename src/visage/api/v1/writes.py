"""A write and its Idempotency-Key: done once, answered as often as it is asked."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from visage.api.idempotency import Ids, Kept, Keys, digest
from visage.api.state import state_of
from visage.errors import Overloaded, StoreUnavailable, VisageError

_HEADER = "idempotency-key"
_REPLAY = "Idempotent-Replay"
_MOST = 255  # characters
_KEPT_HEADERS = ("content-type", "location")

# What a write answers, and what that tells of: a collection, or collection/person.
Work = Callable[[Ids], Awaitable[tuple[Response, str]]]


async def once(request: Request, work: Work) -> Response:
    """What `work` answers; for a key that came before with the same request, what it answered then.

    Only an answer that tells of success is kept: what failed wrote nothing, and may be tried again with its key.
    Raises KeyReused.
    """
    scope = key_of(request)
    if scope is None:
        return (await work(Ids()))[0]
    keys = state_of(request).keys
    said = (request.headers.get("content-type", "").encode(), request.scope["query_string"], await request.body())
    before = await asyncio.to_thread(lambda: keys.begin(scope, digest(*said)))
    if isinstance(before, Kept):
        return Response(before.body, before.status, {**before.headers, _REPLAY: "true"})
    return await _kept(keys, scope, work, Ids(scope, before))


async def _kept(keys: Keys, scope: str, work: Work, ids: Ids) -> Response:
    try:
        response, subject = await work(ids)
    except (Overloaded, StoreUnavailable):
        raise  # it may have happened: the key goes on standing for it
    except (VisageError, RequestValidationError):
        await asyncio.to_thread(keys.drop, scope)
        raise
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    kept = Kept(response.status_code, headers, bytes(response.body))
    await asyncio.to_thread(keys.finish, scope, kept, subject)
    return response


def key_of(request: Request) -> str | None:
    """A name for the request's key that no other caller's and no other route's has. Raises RequestValidationError."""
    key = request.headers.get(_HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= _MOST or not key.isprintable():
        fault = {"type": "idempotency_key", "loc": ("header", _HEADER), "input": key[:_MOST]}
        raise RequestValidationError([fault | {"msg": f"1 to {_MOST} printable characters"}])
    who = request.headers.get("authorization", "")
    return digest(request.method.encode(), request.url.path.encode(), who.encode(), key.encode())
