"""The application: routes, the door around them, the runtime opened behind them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from visage import __version__
from visage.api.access import gate_of
from visage.api.callers import Callers
from visage.api.door import Door, path_of, speaks_compat
from visage.api.galleries import Galleries
from visage.api.galleries import Opener as StoreOpener
from visage.api.idempotency import Keys
from visage.api.metrics import Metrics
from visage.api.pages import add_pages
from visage.api.problems import problem, problem_of, validation_problem
from visage.api.routers import draw, extract, status, ui
from visage.api.state import State, state_of
from visage.api.v1 import PREFIX, add_v1, is_streamed
from visage.backup.parts import IDEMPOTENCY_FILE
from visage.errors import VisageError
from visage.galleries import open_galleries
from visage.memory import give_back
from visage.runtime import Runtime, RuntimeWatcher, open_runtime
from visage.settings import Settings

log = logging.getLogger(__name__)

_GUARDED = frozenset({"/extract", "/multipart/extract", "/draw_detections", "/multipart/draw_detections"})

# How long the service looks at its memory after work; a trim costs milliseconds.
_TIDY_SECONDS = 5.0

# How long after a deletion the store rids its files of what was deleted.
_COMPACT_SECONDS = 120.0

# How often answers that are kept for idempotency keys are looked through for old ones.
_ANSWERS_SECONDS = 300.0

Open = Callable[[Settings, RuntimeWatcher], Runtime]
Notify = Callable[[State], None]

_DESCRIPTION = """Face detection and recognition; speaks the wire format of InsightFace-REST, and under /v1 its own:
faces with their quality, comparison, collections of persons, search.

Try it, compare, enrol and search with your own pictures in the browser: [the page](ui).

Every answer carries `X-Request-Id`, and `X-Visage-Models` where networks stand for it. Errors are problem
documents (RFC 9457).

What "Try it out" fills in runs as it stands. The examples of /v1 build on one another: make the collection `staff`,
enrol `grace`, send the row of `bulk`, then look, search and delete."""


def create_app(
    settings: Settings,
    *,
    opener: Open = open_runtime,
    opened: Notify = lambda _: None,
    stores: StoreOpener | None = None,
    lost: Callable[[], None] = lambda: None,
) -> FastAPI:
    """An application that opens its runtime when it starts, in a thread: /health answers meanwhile.

    `opened` is told when the runtime is ready or has failed, `lost` when only another process can answer; `stores`
    opens the galleries when they are first needed (as the settings say).
    """
    galleries = Galleries(
        settings.galleries_place, stores or partial(open_galleries, settings, compact_after=_COMPACT_SECONDS)
    )
    keys = Keys(settings.data_dir / IDEMPOTENCY_FILE)
    state = State(settings, Metrics(), gate_of(settings), galleries, keys, on_loss=lost)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(state, opener, opened))
        tidying = [asyncio.create_task(_give_memory_back(state)), asyncio.create_task(_rest(state))]
        tidying.append(asyncio.create_task(_forget_answers(state)))
        yield
        for task in tidying:
            task.cancel()
        await loading
        await state.galleries.aclose()
        await asyncio.to_thread(state.keys.close)
        if state.runtime is not None:
            await state.runtime.aclose()
        state.gate.close()
        state.metrics.close()

    app = FastAPI(
        title="visage",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.visage = state
    for module in (extract, draw, status, ui):
        app.include_router(module.router)
    add_v1(app)
    app.exception_handler(VisageError)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http)
    _add_middleware(app, state)
    add_pages(app, _is_guarded)
    return app


def _add_middleware(app: FastAPI, state: State) -> None:
    settings = state.settings
    doors: list[Door] = []

    def door(inner: Any) -> Door:
        made = Door(
            inner,
            settings=settings,
            callers=Callers(settings),
            gate=state.gate,
            metrics=state.metrics,
            guarded=_is_guarded,
            streamed=is_streamed,
            enter=state.enter,
            models=state.models,
            stopping=state.stopping,
        )
        doors.append(made)
        return made

    app.add_middleware(door)
    if settings.cors_origins:  # around the door: a browser must be able to read its refusals too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=[
                "X-Request-Id",
                "X-Visage-Models",
                "Retry-After",
                "WWW-Authenticate",
                "Location",
                "Idempotent-Replay",
            ],
        )
    state.metrics.watch_door(
        lambda: (
            state.runtime.service.door.inside if state.runtime else 0,
            sum(made.bytes_inside for made in doors),
        )
    )


async def _load(state: State, opener: Open, opened: Notify) -> None:
    try:
        runtime, _, _ = await asyncio.gather(
            asyncio.to_thread(opener, state.settings, state.metrics),
            state.galleries.warm_up(),
            asyncio.to_thread(state.keys.look),
        )
    except VisageError as error:
        state.failure = error
        log.error("%s", error)
    except Exception as exc:  # the readiness probe: a process that cannot load must say so, not vanish
        state.failure = VisageError(f"the networks could not be loaded: {exc}")
        log.exception("the networks could not be loaded")
    else:
        state.runtime = runtime
        state.metrics.ready(
            [(role, model.entry.name, model.file.sha256) for role, model in runtime.networks.all()],
            runtime.service.rack.standing,
        )
    opened(state)


async def _give_memory_back(state: State) -> None:
    """After a burst, once nobody is inside, return what it took."""
    tidied = 0
    while True:
        await asyncio.sleep(_TIDY_SECONDS)
        inside = state.runtime.service.door.inside if state.runtime else 0
        entered = state.runtime.service.door.entered if state.runtime else 0
        if inside == 0 and entered != tidied:
            await asyncio.to_thread(give_back)
            tidied = entered


async def _rest(state: State) -> None:
    """Unload what nobody has used for MODELS_IDLE_SECONDS."""
    idle = state.settings.models_idle_seconds
    while idle:
        await asyncio.sleep(min(max(idle / 4, 0.05), _TIDY_SECONDS))
        if state.runtime is not None:
            await state.runtime.service.rack.rest()
            state.metrics.networks()


async def _forget_answers(state: State) -> None:
    """Those that were kept for a day, and those of whom a busy file kept in spite of a deletion."""
    while True:
        await asyncio.sleep(_ANSWERS_SECONDS)
        await asyncio.to_thread(state.keys.tidy)


async def _refused(request: Request, error: VisageError) -> Response:
    state = state_of(request)
    state.failed(error)
    return problem_of(error, compat=_compat(request))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    return validation_problem(error.errors(), compat=_compat(request))


async def _http(request: Request, error: HTTPException) -> Response:
    return problem(error.status_code, error.detail, error.detail, compat=_compat(request), headers=error.headers)


def _compat(request: Request) -> bool:
    return speaks_compat(state_of(request).settings, path_of(request.scope))


def _is_guarded(method: str, path: str) -> bool:
    """Whether real work is behind it, that needs a place inside."""
    return path.startswith(PREFIX) or (method == "POST" and path in _GUARDED)
