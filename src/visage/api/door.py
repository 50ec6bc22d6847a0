"""What every request passes: a name, a place inside, limits on its body, one line in the log.

Plain ASGI, since the place must be had before the body is read and given back after the answer is sent.
"""

import asyncio
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from visage.access.keys import Key
from visage.api.access import Gate
from visage.api.callers import Callers
from visage.api.context import RequestContext
from visage.api.metrics import Metrics
from visage.api.prefix import prefix_of
from visage.api.problems import problem, problem_of
from visage.api.stopping import Stopping
from visage.api.unpacking import too_large, unpacked
from visage.deadline import Deadline
from visage.errors import Overloaded, RequestTooLarge, ServiceStopping, VisageError
from visage.settings import Settings

log = structlog.get_logger("visage.request")

_ID = re.compile(r"[\w.:\-]{1,128}")
# The `$` of a route's pattern matches before a last line break too: such a path would lead to a route and yet be none
# of those that keys and limits are asked for. No route has a place for any of these.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TIMEOUT_HEADER = "x-request-timeout"
# Seldom of interest, and asked for every few seconds.
_QUIET_ROUTES = frozenset({"/health", "/ready", "/metrics"})
# nginx's number for "the client closed the connection"; only ever seen in logs and metrics.
_CLIENT_LEFT = 499

_V1 = "/v1/"
_COLLECTIONS = "/v1/collections"

Enter = Callable[[], AbstractContextManager[None]]


class Door:
    """Middleware around the whole application; `guarded` tells of a method and a path whether real work is behind it.

    A body on a path that `streamed` knows is worked on while it comes: its size and its length in time are not
    limited, only the time between two pieces; so is the answer's. `callers` asks which page a browser sends, `gate`
    who is there. `enter` takes a place for a guarded request and raises Overloaded or NotReady where there is none;
    `models` tells what X-Visage-Models says where a request names no networks.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        callers: Callers,
        gate: Gate,
        metrics: Metrics,
        guarded: Callable[[str, str], bool],
        enter: Enter,
        models: Callable[[], Mapping[str, str]],
        stopping: Stopping,
        streamed: Callable[[str, str], bool] = lambda *_: False,
    ) -> None:
        self._app = app
        self._settings = settings
        self._callers = callers
        self._gate = gate
        self._metrics = metrics
        self._guarded = guarded
        self._streamed = streamed
        self._enter = enter
        self._models = models
        self._stopping = stopping
        self.bytes_inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if root := self._settings.root_path.rstrip("/"):
            _enter_prefix(scope, root)
        await _Passage(self, scope, receive, send).go()


class _Passage:
    """One request on its way through."""

    def __init__(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        self._door = door
        self._method = scope["method"]
        # Whoever asks for a head gets that of what GET would answer (RFC 9110, 9.3.2), on every route.
        self._scope = scope if self._method != "HEAD" else {**scope, "method": "GET"}
        self._receive = receive
        self._send = send
        self._headers = Headers(scope=scope)
        self._status = 0
        self._head_sent = False  # and nothing is to follow
        self._path = path_of(scope)
        self._compat = speaks_compat(door._settings, self._path)
        self._streamed = door._streamed(self._scope["method"], self._path)
        name = self._id()
        self.context = RequestContext(name, Deadline(self._seconds(), request=name))
        self._body_read = asyncio.Event()
        self._empty = self._has_no_body()
        if self._empty:
            self._body_read.set()
        self._streamed_bytes = 0

    async def go(self) -> None:
        self.context.attach(self._scope)
        try:
            if _CONTROL.search(self._path):
                await self._nowhere()
                return
            self.context.key = self._admitted()
            if self._door._guarded(self._scope["method"], self._path):
                await self._guarded()
            else:
                await self._door._app(self._scope, self._receive, self._answer)
        except VisageError as error:
            await self._refuse(error)
        except ClientDisconnect:
            self._status = self._status or _CLIENT_LEFT
        except asyncio.CancelledError:
            if not self._door._stopping.begun:
                self._status = self._status or _CLIENT_LEFT
                raise
            # The server's grace is over: what is not answered by now is answered so, what is begun is cut.
            await self._refuse(ServiceStopping("The service is stopping: ask again", retry_after=5))
        except Exception:  # the 500 handler: whatever it is, the caller gets a number and the log the rest
            await self._incident()
        finally:
            self._door.bytes_inside -= self.context.bytes_in
            self._report()

    def _admitted(self) -> Key | None:
        self._door._callers.admit(self._method, self._headers, (self._scope.get("server") or (None, None))[1])
        return self._door._gate.admit(self._method, self._path, self._headers.get("authorization", ""))

    async def _guarded(self) -> None:
        declared = self._headers.get("content-length", "")
        too_large = declared.isdigit() and int(declared) > self._door._settings.max_body_bytes
        if too_large and not self._streamed:
            raise self._too_large()
        if not self._empty and "content-encoding" in self._headers:
            most = None if self._streamed else self._door._settings.max_body_bytes
            self._receive = unpacked(self._scope, self._receive, most)
        with self._door._enter():
            await self._until_client_leaves()

    async def _until_client_leaves(self) -> None:
        """Run the route; when the caller hangs up, stop."""
        work = asyncio.ensure_future(self._door._app(self._scope, self._limited_receive, self._answer))
        watch = asyncio.ensure_future(self._left())
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.context.deadline.cancel()
                if not self._head_sent:
                    self._status = _CLIENT_LEFT
                return
            work.result()
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)

    async def _left(self) -> None:
        """Returns when the caller has hung up."""
        await self._body_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _has_no_body(self) -> bool:
        """Nothing that a route waits for: nobody reads a body of these, and a caller who leaves is seen at once."""
        method = self._scope["method"]
        declared = "content-length" in self._headers or "transfer-encoding" in self._headers
        return method == "GET" or (method == "DELETE" and not declared)

    async def _limited_receive(self) -> Message:
        if self._empty:
            self._empty = False
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._body_read.is_set():  # what comes now is the disconnect, which `_left` waits for
            await asyncio.Event().wait()
        if self._streamed:
            self.context.deadline = Deadline(self._seconds(), request=self.context.id)
        try:
            async with asyncio.timeout(self.context.deadline.left()):
                message = await self._receive()
        except TimeoutError:
            self.context.deadline.left()
            raise
        size = len(message.get("body", b""))
        if self._streamed:  # the route holds no more than one group of it
            self._streamed_bytes += size
        else:
            self._count(size)
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_read.set()
        return message

    def _count(self, size: int) -> None:
        self.context.bytes_in += size
        self._door.bytes_inside += size
        self._door._metrics.at_door()
        if self.context.bytes_in > self._door._settings.max_body_bytes:
            raise self._too_large()
        if self._door.bytes_inside > self._door._settings.max_inflight_bytes:
            raise Overloaded("The requests being worked on fill the memory set apart for them (MAX_INFLIGHT_BYTES)")

    def _too_large(self) -> RequestTooLarge:
        return too_large(self._door._settings.max_body_bytes)

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.context.id
            headers["X-Content-Type-Options"] = "nosniff"
            if models := self.context.models or self._standing():
                headers["X-Visage-Models"] = ", ".join(f"{role}={name}" for role, name in models.items())
        if self._head_sent:
            return
        await self._send(message)
        if self._method == "HEAD":
            self._head_sent = True
            await self._send({"type": "http.response.body", "body": b""})

    def _standing(self) -> Mapping[str, str]:
        """The networks that stand for a request that names none; what a collection holds may be others' vectors."""
        return {} if self._path.startswith(_COLLECTIONS) else self._door._models()

    async def _nowhere(self) -> None:
        await problem(404, "Not Found", "Not Found", compat=self._compat)(self._scope, self._receive, self._answer)

    async def _refuse(self, error: VisageError) -> None:
        self._door._metrics.failure(error)
        if self._status:  # no more can be said: the connection ends without the answer's end, by which callers know
            log.warning("an answer was cut short", id=self.context.id, path=self._path[:200], reason=str(error))
        else:
            await problem_of(error, compat=self._compat)(self._scope, self._receive, self._answer)

    async def _incident(self) -> None:
        incident = uuid.uuid4().hex[:12]
        self._door._metrics.unforeseen()
        log.exception("unforeseen error", incident=incident, request_id=self.context.id)
        if not self._status:
            detail = f"An unforeseen error; the service's log has it as incident {incident}"
            answer = problem(500, "Internal error", detail, kind="internal", compat=self._compat, incident=incident)
            await answer(self._scope, self._receive, self._answer)

    def _report(self) -> None:
        context = self.context
        route = _route(self._scope, self._path)
        self._door._metrics.request(route, self._method, self._status, context.milliseconds / 1000)
        level = "debug" if route in _QUIET_ROUTES and self._status < 400 else "info"
        getattr(log, level)(
            "request",
            id=context.id,
            client=(self._scope.get("client") or ["-"])[0],
            method=self._method,
            path=self._path[:200],
            status=self._status,
            ms=round(context.milliseconds, 1),
            bytes=context.bytes_in + self._streamed_bytes,
            images=context.images,
            faces=context.faces,
            failed=context.failed,
            **({"key": context.key.id} if context.key else {}),
        )
        self._door._gate.left(context.key, self._method, self._path, self._status, context.id)

    def _id(self) -> str:
        given = self._headers.get("x-request-id", "")
        return given if _ID.fullmatch(given) else uuid.uuid4().hex

    def _seconds(self) -> float:
        """REQUEST_TIMEOUT, or less where the caller says so."""
        most = self._door._settings.request_timeout
        try:
            wanted = float(self._headers.get(_TIMEOUT_HEADER, most))
        except ValueError:
            return most
        return min(most, wanted) if wanted > 0 else most


def speaks_compat(settings: Settings, path: str) -> bool:
    """Whether problems take the reference's form here: COMPAT_API says nothing of routes that it does not know."""
    return settings.compat_api is not None and not path.startswith(_V1)


def _enter_prefix(scope: Scope, root: str) -> None:
    """`path` holds the prefix, as ASGI has it, whether the proxy left it there or took it off."""
    scope["root_path"] = root
    if scope["path"] != root and not scope["path"].startswith(root + "/"):
        scope["path"] = root + scope["path"]


def path_of(scope: Scope) -> str:
    """The path below ROOT_PATH, as the routes know it."""
    path, root = str(scope["path"]), prefix_of(scope)
    return path[len(root) :] or "/" if root and path.startswith(root + "/") else path


def _route(scope: Scope, path: str) -> str:
    """The route's template; strangers' paths are one label, or they would fill the memory."""
    route = scope.get("route")
    return str(getattr(route, "path", "")) or (path if path in _QUIET_ROUTES else "(none)")
