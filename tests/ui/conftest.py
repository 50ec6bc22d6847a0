"""A real Chromium before the whole application. Without one these tests are skipped, and say why."""

import asyncio
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
from fastapi import Request
from starlette.responses import JSONResponse, Response

from tests.support import REPO, settings_of, wait_ready
from visage.api.app import create_app

SHOTS = REPO / "build" / "ui"
# Chromium asks its maker for updates and more unless it is told not to; the camera is a made one.
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--force-color-profile=srgb",
]


def is_fault(message: Any) -> bool:
    """An error in the console; the browser's own line about an answer of 4xx or 5xx is none of the page's."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


@dataclass
class Page:
    """A page of the browser, and all that it must not do."""

    page: Any
    url: str
    faults: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def go(self, place: str = "") -> None:
        self.page.goto(f"{self.url}/ui#/{place}")
        self.page.locator(f'main[data-view="{place or "try"}"] h1').wait_for()

    def imported(self, script: str, then: str, given: Any = None) -> Any:
        """What the function `then` makes of this script of the page and of `given`."""
        app = self.page.locator("script[type=module]").get_attribute("src")
        loaded = f"import(new URL({app!r}, document.baseURI).href.replace('app.js', {script!r}))"
        return self.page.evaluate(f"async (given) => ({then})(await {loaded}, given)", given)

    def shot(self, name: str, *, full: bool = True) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        if full:
            self.page.evaluate("() => scrollTo(0, 0)")
        self.page.wait_for_timeout(250)  # transitions end
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=full)


@dataclass
class Refusals:
    """What a test may order of /v1: `key` (401 without it), `busy` (so many 503s), `held` (paths that wait until they are taken out)."""

    key: str | None = None
    busy: int = 0
    held: set[str] = field(default_factory=set)
    calls: list[tuple[str, str]] = field(default_factory=list)

    async def __call__(self, request: Request, following: Any) -> Any:
        if not request.url.path.startswith("/v1/"):
            return await following(request)
        self.calls.append((request.method, request.url.path))
        while request.url.path in self.held:
            await asyncio.sleep(0.02)
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return problem(401, "unauthorised", "This needs an API key", {"WWW-Authenticate": "Bearer"})
        if self.busy and request.method == "POST":
            self.busy -= 1
            return problem(503, "overloaded", "No room", {"Retry-After": "1"})
        return await following(request)


@dataclass
class Served:
    url: str
    refusals: Refusals

    def api(self, method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(method, f"{self.url}/v1{path}", json=body, timeout=60)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def people(self, collection: str = "staff") -> list[Any]:
        found: list[Any] = self.api("GET", f"/collections/{collection}/persons")["items"]
        return found

    def anew(self) -> None:
        self.refusals.__init__()  # type: ignore[misc]
        for collection in self.api("GET", "/collections")["items"]:
            self.api("DELETE", f"/collections/{collection['name']}")


def problem(status: int, kind: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    title = kind.replace("-", " ").capitalize()
    body = {"type": f"urn:visage:{kind}", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, "application/problem+json")


@pytest.fixture(scope="module")
def served(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The application over the embedded networks on a port of this machine."""
    data = tmp_path_factory.mktemp("data")
    app = create_app(settings_of(MODELS_DIR=str(models_dir), DATA_DIR=str(data), KEEP_CROPS="1"))
    refusals = Refusals()
    app.middleware("http")(refusals)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", log_config=None, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        wait_ready(lambda: app.state.visage.runtime is not None, 100)
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", refusals)
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser a module: its driver keeps an event loop running in this thread, which other tests must not meet."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no chromium on this machine (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=100_000)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Any, served: Served) -> Iterator[Any]:
    """Opens pages of a size and a theme; afterwards: no error, and nothing asked of any other host."""
    opened: list[Page] = []
    contexts = []

    def new(width: int = 1280, height: int = 860, theme: str = "light", locale: str = "en-GB", **more: Any) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            locale=locale,
            reduced_motion="reduce",
            **more,
        )
        context.set_default_timeout(60_000)
        made = Page(context.new_page(), served.url)
        made.page.on("pageerror", lambda error: made.faults.append(str(error)))
        made.page.on("console", lambda message: made.faults.append(message.text) if is_fault(message) else None)
        made.page.on(
            "request",
            lambda request: (
                None if request.url.startswith((served.url, "blob:", "data:")) else made.outside.append(request.url)
            ),
        )
        opened.append(made)
        contexts.append(context)
        return made

    served.anew()
    yield new
    for context in contexts:
        context.close()
    for made in opened:
        assert made.faults == []
        assert made.outside == []
