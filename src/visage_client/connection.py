"""What both clients do with httpx in the same way."""

import base64
import re
import time
from collections.abc import Mapping

import httpx

from visage_client.calls import Answer, Prepared
from visage_client.errors import NoAnswer, TimedOut, shown
from visage_client.retries import Retries

DEFAULT_URL = "http://127.0.0.1:18080"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110's token
_VALUE = re.compile(r"[\t -~]*")

# The request may not have arrived, or its answer was lost. Not: an answer that takes too long, since asking again would
# double the work of a service that has too much.
_TRANSIENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


def address(url: str) -> tuple[httpx.URL, str | None]:
    """The address, and apart from it, since messages tell it, the Authorization of the account that it names.

    Raises ValueError for what is no http address.
    """
    text = str(url).strip()
    told = shown(re.sub(r"//.*@", "//…@", text))
    try:
        found = httpx.URL(text if "://" in text else f"http://{text}")
    except httpx.InvalidURL as exc:
        raise ValueError(f"{told} is no address: {exc}") from None
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError(f"{told} is no http address; as {DEFAULT_URL}")
    if not found.userinfo:
        return found, None
    account = base64.b64encode(f"{found.username}:{found.password}".encode()).decode()
    return found.copy_with(username=None, password=None), f"Basic {account}"


def key_of(key: str | None) -> str | None:
    """Without the line break that files of secrets end in; None where nothing is left.

    Raises TypeError, and ValueError for characters that no key has. Neither tells the key.
    """
    if key is None:
        return None
    if not isinstance(key, str):
        raise TypeError(f"a key is text, and not {type(key).__name__}")
    found = key.strip().strip("\ufeff").strip()  # some editors begin a file with a mark of its encoding
    if place := next((i for i, sign in enumerate(found, 1) if not "!" <= sign <= "~"), None):
        raise ValueError(
            f"the key is none of `visage keys add`: of its {len(found)} characters number {place} is a space, a line "
            "break, or not of ASCII. Is there more than the key in its file or variable?"
        )
    return found or None


def headers_of(key: str | None, more: Mapping[str, str] | None, account: str | None = None) -> dict[str, str]:
    """Raises TypeError, ValueError, neither of which tells what a header holds: it may be a secret."""
    token = key_of(key)
    if token and account:
        raise ValueError("a key and an account in the address: the service takes one of them")
    headers = {"User-Agent": "visage-client"}
    if token or account:
        headers["Authorization"] = f"Bearer {token}" if token else str(account)
    for name, value in (more or {}).items():
        if not isinstance(value, str):
            raise TypeError(f"headers are texts: {shown(name)} is {type(value).__name__}")
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value.strip()):
            raise ValueError(f"header {shown(name)} holds a line break, or what is not of ASCII")
        headers[name] = value.strip()
    return headers


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
    if isinstance(error, httpx.LocalProtocolError):  # its text repeats what could not be sent, be it a secret
        return NoAnswer(f"the service at {url} was not asked: the request is none that HTTP can carry")
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
        self._told_to_wait = False

    def begin(self) -> None:
        self._tried += 1

    def after_failure(self, error: httpx.TransportError) -> float:
        """Raises NoAnswer where it is the last."""
        pause = None
        if self._told_to_wait and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            pause = self._retries.after_answer(503, {}, self._tried, self._elapsed())  # it ended, and may start again
        elif isinstance(error, _TRANSIENT):
            pause = self._retries.after_failure(self._tried, self._elapsed())
        if pause is None:
            raise broken(error, self._url) from (None if isinstance(error, httpx.LocalProtocolError) else error)
        return pause

    def after_answer(self, answer: Answer, *, unfinished: bool = False) -> float | None:
        """None: the answer stands."""
        status = 503 if unfinished else answer.status
        pause = self._retries.after_answer(status, answer.headers, self._tried, self._elapsed())
        self._told_to_wait = pause is not None
        return pause

    def _elapsed(self) -> float:
        return time.monotonic() - self._started
