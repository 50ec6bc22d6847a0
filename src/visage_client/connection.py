"""What both clients do with httpx in the same way."""

import time
from collections.abc import Mapping

import httpx

from visage_client.calls import Answer, Prepared
from visage_client.errors import NoAnswer, TimedOut
from visage_client.retries import Retries

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


def broken(error: httpx.HTTPError, url: httpx.URL) -> NoAnswer:
    """In our words."""
    why = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"the service at {url} does not answer in time ({type(error).__name__})")
    if isinstance(error, httpx.ConnectError):
        return NoAnswer(f"no service at {url}: {why}")
    return NoAnswer(f"the service at {url} does not answer: {why}")


class Attempts:
    """Those of one call, each of which `begin`s and then says how long to wait for the next."""

    def __init__(self, retries: Retries, url: httpx.URL) -> None:
        self._retries = retries
        self._url = url
        self._started = time.monotonic()
        self._tried = 0

    def begin(self) -> None:
        self._tried += 1

    def after_failure(self, error: httpx.TransportError) -> float:
        """Raises NoAnswer where it is the last."""
        transient = isinstance(error, _TRANSIENT)
        pause = self._retries.after_failure(self._tried, self._elapsed()) if transient else None
        if pause is None:
            raise broken(error, self._url) from error
        return pause

    def after_answer(self, answer: Answer) -> float | None:
        """None: the answer stands."""
        return self._retries.after_answer(answer.status, answer.headers, self._tried, self._elapsed())

    def _elapsed(self) -> float:
        return time.monotonic() - self._started
