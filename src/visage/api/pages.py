"""The API's document and the two pages that show it, without any outside asset."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from visage.api import refusals
from visage.api.access import declare_keys
from visage.api.documents import without_null
from visage.api.prefix import prefix_of
from visage.api.routers import draw, extract
from visage.api.schemas import DrawBody, DrawFields, ExtractBody, ExtractFields, Problem, defaults
from visage.api.v1 import bodies_of_v1
from visage.settings import Settings

# fastapi-offline brings the assets; its own application factory is not used, since ReDoc's script, as it comes,
# fetches a logo from its maker.
_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_STATIC = "/static"
_REDOC_SCRIPT = "redoc.standalone.js"
_OUTSIDE_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_NO_LOGO = b"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"


def add_pages(app: FastAPI, guarded: Callable[[str, str], bool]) -> None:
    """Routes /docs and /redoc, their assets, and the document behind /openapi.json. `guarded`: whether a method and
    path need a place inside.
    """
    app.openapi = lambda: _document(app, guarded)  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = prefix_of(request.scope)
        return get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title=f"{app.title} API",
            oauth2_redirect_url=f"{root}/docs/oauth2-redirect",
            swagger_js_url=f"{root}{_STATIC}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{_STATIC}/swagger-ui.css",
            swagger_favicon_url=f"{root}{_STATIC}/favicon.png",
        )

    @app.get("/docs/oauth2-redirect", include_in_schema=False)
    async def oauth2_redirect() -> HTMLResponse:
        return get_swagger_ui_oauth2_redirect_html()

    @app.get("/redoc", include_in_schema=False)
    async def redoc(request: Request) -> HTMLResponse:
        root = prefix_of(request.scope)
        return get_redoc_html(
            openapi_url=f"{root}/openapi.json",
            title=f"{app.title} API",
            redoc_js_url=f"{root}{_STATIC}/{_REDOC_SCRIPT}",
            redoc_favicon_url=f"{root}{_STATIC}/favicon.png",
            with_google_fonts=False,
        )

    @app.get(f"{_STATIC}/{_REDOC_SCRIPT}", include_in_schema=False)
    async def redoc_script() -> Response:
        return Response(_redoc_script(), media_type="text/javascript")

    app.mount(_STATIC, StaticFiles(directory=_ASSETS), name="static")


@cache
def _redoc_script() -> bytes:
    return (_ASSETS / _REDOC_SCRIPT).read_bytes().replace(_OUTSIDE_LOGO, _NO_LOGO)


def _document(app: FastAPI, guarded: Callable[[str, str], bool]) -> dict[str, Any]:
    """The OpenAPI document, with the bodies that the routes read themselves."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        ours: tuple[type[BaseModel], ...] = (
            ExtractBody,
            ExtractFields,
            DrawBody,
            DrawFields,
            Problem,
            *bodies_of_v1(),
        )
        for model in ours:
            made = model.model_json_schema(ref_template="#/components/schemas/{model}")
            inner = made.pop("$defs", {})
            schemas.update({name: without_null(schema) for name, schema in inner.items()})
            schemas[model.__name__] = without_null(made)
        settings: Settings = app.state.visage.settings
        for form in (extract.FORM, draw.FORM):
            schemas[form.name] = form.schema(defaults(settings))
        refusals.declare(document, settings, guarded)
        if settings.asks_for_keys:
            declare_keys(document, metrics_public=settings.metrics_public)
        app.openapi_schema = document
    return app.openapi_schema
