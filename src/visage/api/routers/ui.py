"""The page at /ui. It asks this service's own routes, and no other host."""

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from visage.api.ui.assets import Asset, assets

router = APIRouter(include_in_schema=False)

# Styles and scripts come from files alone; pictures may also be those that the page holds in memory.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PAGE_HEADERS = _HEADERS | {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}
_FOR_GOOD = "public, max-age=31536000, immutable"


@router.get("/ui")
async def page(request: Request) -> Response:
    return _sent(request, assets().page, _PAGE_HEADERS)


@router.get("/ui/")
async def page_with_slash() -> Response:
    """The page's addresses are relative to /ui, behind whatever prefix a proxy put before it."""
    return RedirectResponse("../ui", 307)


@router.get("/ui/assets/{digest}/{name:path}")
async def asset(request: Request, digest: str, name: str) -> Response:
    """A page that a browser kept from before an update asks for files that are no longer: it gets the present ones,
    which it must not keep.
    """
    found = assets().files.get(name)
    if found is None:
        raise HTTPException(404, "Not Found")
    kept = _FOR_GOOD if digest == assets().digest else "no-cache"
    return _sent(request, found, _HEADERS | {"Cache-Control": kept})


def _sent(request: Request, asset: Asset, headers: dict[str, str]) -> Response:
    headers = headers | {"ETag": asset.etag}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)
