"""What both clients do with httpx in the same way."""

from collections.abc import Mapping

import httpx

from visage_client.calls import Answer, Prepared
from visage_client.errors import NoAnswer, TimedOut

DEFAULT_URL = "http://127.0.0.1:18080"

# The request may not have arrived, or its answer was lost. Not: an answer that takes too long, since asking again would
# double the work of a service that has too much.
_TRANSIENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


def address(url: str) -> httpx.URL:
    """Raises ValueError for what is no http address."""
    try:
        found = httpx.URL(url if "://" in url else f"http://{url}")
    except httpx.InvalidURL as exc:
        raise ValueError(f"{url!r} is no address: {exc}") from exc
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError(f"{url!r} is no http address; as {DEFAULT_URL}")
    return found


def headers_of(key: str | None, more: Mapping[str, str] | None) -> dict[str, str]:
    return {
        "User-Agent": "visage-client",
        **({"Authorization": f"Bearer {key}"} if key else {}),
        **(more or {}),
    }


def request_of(http: httpx.Client | httpx.AsyncClient, prepared: Prepared) -> httpx.Request:
    return http.build_request(
        prepared.method,
        prepared.path,
        params=dict(prepared.query) or None,
        headers=dict(prepared.headers),
        content=prepared.content or None,
    )


def answer_of(response: httpx.Response) -> Answer:
    """Of a response that has been read."""
    return Answer(response.status_code, response.headers, response.content, response.reason_phrase)


def is_transient(error: httpx.TransportError) -> bool:
    return isinstance(error, _TRANSIENT)


def broken(error: httpx.HTTPError, url: httpx.URL) -> NoAnswer:
    """In our words."""
    why = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"the service at {url} does not answer in time ({type(error).__name__})")
    if isinstance(error, httpx.ConnectError):
        return NoAnswer(f"no service at {url}: {why}")
    return NoAnswer(f"the service at {url} does not answer: {why}")
