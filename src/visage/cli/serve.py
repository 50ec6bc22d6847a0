"""Prepare, then answer requests."""

import argparse
import asyncio
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from visage import logs
from visage.api.access import gate_of
from visage.api.app import create_app
from visage.api.connection import Connection
from visage.api.state import State
from visage.api.stopping import Stopping
from visage.engines.standing import Standings
from visage.errors import ConfigurationError
from visage.memory import use_few_arenas
from visage.runtime import choose_engines, open_runtime, prepare
from visage.settings import Settings

ABOUT = "Prepare the networks and serve."

log = logging.getLogger("visage.serve")

# A request that is being answered when the service is told to stop may take so long to finish.
_GRACE_SECONDS = 20
# A process whose device is lost says so for so long, that balancers see it, and ends then: whoever keeps it running
# starts it anew.
_LOSS_SECONDS = 15
# A worker process that says nothing for so long hangs, and is killed. One that starts says nothing before it has loaded
# its libraries, which takes seconds, and on a busy machine many: uvicorn's 5 s would kill it again and again.
_HANG_SECONDS = 60


def run(_: argparse.Namespace) -> int:
    settings, said = Settings.load()
    settings.check_auth()
    logs.configure(settings.log_level, settings.log_format)
    for line in said:
        log.warning(line)
    gate_of(settings).close()  # what it cannot use is told before anything is loaded
    use_few_arenas()
    networks = prepare(settings)
    listening = _listen(settings.host, settings.port)
    engines = choose_engines(settings, networks)
    address = _url(settings.host, listening.getsockname()[1])
    if settings.num_workers == 1:
        return _serve_here(settings, engines, listening, address)
    return _serve_in_processes(settings, engines, listening, address)


def application(address: str, engines: Standings) -> object:
    """One worker process's application; the parent has checked the settings and chosen the engines."""
    settings, _ = Settings.load()
    use_few_arenas()
    logs.configure(settings.log_level, settings.log_format)
    return create_app(
        settings,
        opener=partial(open_runtime, engines=engines),
        opened=partial(_worker_opened, address),
        lost=partial(os.kill, os.getpid(), signal.SIGTERM),  # the others go on, and the parent starts another one
    )


def _serve_here(settings: Settings, engines: Standings, listening: socket.socket, address: str) -> int:
    failed = False

    def end() -> None:
        nonlocal failed
        failed = server.should_exit = True
        app.state.visage.stopping.begin()

    def opened(state: State) -> None:
        if state.failure is not None:
            end()
        else:
            _tell_when_stopped(state.stopping)
            log.info("visage is ready: %s (try it: %s/ui; the API: %s/docs)", address, address, address)

    app = create_app(settings, opener=partial(open_runtime, engines=engines), opened=opened, lost=partial(_later, end))
    server = uvicorn.Server(server_config(settings, app))
    log.info("visage starts: %s", address)
    server.run(sockets=[listening])
    return 1 if failed else 0


def _serve_in_processes(settings: Settings, engines: Standings, listening: socket.socket, address: str) -> int:
    folder = tempfile.mkdtemp(prefix="visage-metrics-")
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
    log.info("visage starts %d workers: %s", settings.num_workers, address)
    try:
        workers = _Workers(server_config(settings, partial(application, address, engines)), sockets=[listening])
        workers.run()
    finally:
        shutil.rmtree(Path(folder), ignore_errors=True)
    return 1 if any(worker.exitcode == STARTUP_FAILURE for worker in workers.processes) else 0


class _Workers(Multiprocess):
    """Asks each worker twice a second whether it lives.

    As uvicorn has it, one that is killed while it is asked is waited for as if it hung, and nobody looks after the
    others meanwhile: the worker's end of the pipe is open here, too, so that it does not break.
    """

    def keep_subprocess_alive(self) -> None:
        for worker in self.processes:
            worker.child_conn.close()
        super().keep_subprocess_alive()


def server_config(settings: Settings, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        factory=isinstance(app, partial),
        workers=settings.num_workers,
        loop="uvloop",
        http=Connection,
        ws="none",  # offers of it are ignored like all others
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_worker_healthcheck=_HANG_SECONDS,
        backlog=2048,
    )


def _later(end: Callable[[], None]) -> None:
    """Ask the event loop to `end` what answers no more."""
    log.error("this process ends in %g s", _LOSS_SECONDS)
    asyncio.get_running_loop().call_later(_LOSS_SECONDS, end)


def _worker_opened(address: str, state: State) -> None:
    if state.failure is not None:
        os._exit(STARTUP_FAILURE)  # at this word the parent ends the others, rather than start this one again
    _tell_when_stopped(state.stopping)
    log.info("visage is ready: %s (worker %d)", address, os.getpid())


def _tell_when_stopped(stopping: Stopping) -> None:
    """At the signal that the server takes for its end, before it waits for what is inside."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        served = signal.getsignal(number)
        if callable(served):
            signal.signal(number, partial(_stopped, loop, stopping, served))


def _stopped(
    loop: asyncio.AbstractEventLoop,
    stopping: Stopping,
    served: Callable[[int, FrameType | None], Any],
    number: int,
    frame: FrameType | None,
) -> None:
    loop.call_soon_threadsafe(stopping.begin)
    served(number, frame)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is told in one line before anything is loaded."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as exc:
        raise ConfigurationError(
            f"cannot listen on HOST={host} PORT={port}: {exc.strerror}; choose another: PORT=18081"
        ) from exc
    listening.set_inheritable(True)
    return listening


def _url(host: str, port: int) -> str:
    """What to type into a browser on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
