"""Files over HTTP: resumed where they broke off, tried again where that may help, never taken for whole too early.

A download grows in `<name>.part`, beside a note of the address and of the version that the server named (ETag), so that
a later call, or another process after a crash, goes on from there and never glues two versions together.
"""

import email.utils
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from visage import __version__
from visage.errors import DownloadFailed
from visage.zoo.part import Part, is_encoded
from visage.zoo.patience import Interrupted, Patience, TooSlow, Unreached, attempts
from visage.zoo.progress import Meter

_PAGE = 1 << 16  # bytes of a web page that are read, to tell what it says


@dataclass(frozen=True, slots=True)
class Request:
    """One file: its address, and how many bytes it has at most, where that is known.

    `identity` stands for the address where the same file is had under a new one each time.
    """

    url: str
    most: int | None = None
    identity: str = ""

    @property
    def known_as(self) -> str:
        return self.identity or self.url


class WebPage(DownloadFailed):
    """An HTML page came instead of a file; `text` is its beginning."""

    def __init__(self, detail: str, text: str) -> None:
        super().__init__(detail)
        self.text = text


def download(request: Request, into: Path, meter: Meter, patience: Patience) -> None:
    """Fetch `request.url` to `into`, whole or not at all. Raises DownloadFailed with one line that says why."""
    part = Part(into, request.known_as)
    with _client(patience) as client:
        for attempt in attempts(part.size, patience):
            with attempt:
                _continue(client, request, part, meter, patience)
    part.finish()


@contextmanager
def _client(patience: Patience) -> Iterator[httpx.Client]:
    timeout = httpx.Timeout(patience.silence, connect=patience.connect)
    # identity: bytes on the wire are the file's bytes, so that counting and resuming are exact
    headers = {"User-Agent": f"visage/{__version__}", "Accept-Encoding": "identity"}
    with httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=10, headers=headers) as client:
        yield client


def _continue(client: httpx.Client, request: Request, part: Part, meter: Meter, patience: Patience) -> None:
    """Make `part` whole, going on from what there is of it."""
    have, version = part.state()
    headers = {"Range": f"bytes={have}-", "If-Range": version} if have and version else {}
    try:
        with client.stream("GET", request.url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and headers:
                part.forget()
                raise Interrupted("the server refused to go on from where the last try broke off", pause=0.0)
            _refuse(response)
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT and part.goes_on_with(response)
            if response.status_code == httpx.codes.PARTIAL_CONTENT and not resumed:
                part.forget()
                raise Interrupted("the server answered with another part of the file", pause=0.0)
            have = have if resumed else 0
            total = _length(response, have)
            if request.most is not None and total is not None and total > request.most:
                raise DownloadFailed(f"the file there has {total} bytes, {request.most} are expected")
            part.make_sure_of_room(0 if total is None else total - have)
            if not resumed:
                part.remember(response)
            _store(response, part, have, total, request, meter, patience)
    except httpx.TooManyRedirects as exc:
        raise DownloadFailed("it redirects without end") from exc
    except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
        raise Unreached(_reason(exc)) from exc
    except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError) as exc:
        raise Interrupted(_reason(exc)) from exc
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise DownloadFailed(_reason(exc)) from exc


def _refuse(response: httpx.Response) -> None:
    """Raises for an answer that is no file."""
    status = response.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise Interrupted(f"HTTP {status} {response.reason_phrase}", pause=_retry_after(response))
    if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise DownloadFailed(f"HTTP {status} {response.reason_phrase}")
    if response.url.scheme == "http" and any(before.url.scheme == "https" for before in response.history):
        raise DownloadFailed("it redirects from https to http, where anybody may put another file in its place")
    if response.headers.get("content-type", "").startswith("text/html"):
        text = next(response.iter_bytes(_PAGE), b"").decode("utf-8", "replace")
        raise WebPage("a web page came instead of a file", text)


def _store(
    response: httpx.Response,
    part: Part,
    have: int,
    total: int | None,
    request: Request,
    meter: Meter,
    patience: Patience,
) -> None:
    started, at_start = time.monotonic(), have
    with part.path.open("r+b" if have else "wb") as file:
        file.seek(have)
        for chunk in response.iter_bytes():  # as they come: what waits in a buffer is lost when the line drops
            file.write(chunk)
            have += len(chunk)
            meter(have, total)
            if request.most is not None and have > request.most:
                part.forget()
                raise DownloadFailed(f"more than the {request.most} bytes came that are expected")
            now = time.monotonic()
            if now - started >= patience.window:
                if have - at_start < patience.slowest * (now - started):
                    raise TooSlow(f"slower than {patience.slowest / 1024:.3g} KiB a second")
                started, at_start = now, have
    if total is not None and have != total:
        raise Interrupted(f"it broke off after {have} of {total} bytes")


def _length(response: httpx.Response, have: int) -> int | None:
    """The whole file's. A 206 may carry less than the rest of it: what its `Content-Range` says comes first."""
    if is_encoded(response):
        return None
    whole = response.headers.get("content-range", "").rpartition("/")[2]
    if response.status_code == httpx.codes.PARTIAL_CONTENT and whole.isdecimal():
        return int(whole)
    length = response.headers.get("content-length", "")
    return have + int(length) if length.isdecimal() else None


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, from a number or a date."""
    value = response.headers.get("retry-after", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _reason(exc: Exception) -> str:
    if isinstance(exc, httpx.ConnectTimeout):
        return "no connection within the time allowed"
    if isinstance(exc, httpx.TimeoutException):
        return "the server fell silent"
    return str(exc).strip().partition("\n")[0] or type(exc).__name__
