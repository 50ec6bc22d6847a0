"""Files over HTTP: resumed where they broke off, tried again where that may help, never taken for whole too early.

A download grows in `<name>.part`, beside a note of the address and of the version that the server named (ETag), so that
a later call, or another process after a crash, goes on from there and never glues two versions together.
"""

import email.utils
import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from tenacity import AttemptManager, RetryCallState, Retrying, retry_if_exception_type

from visage import __version__
from visage.errors import DownloadFailed
from visage.zoo.progress import Meter

log = logging.getLogger(__name__)

_PAGE = 1 << 16  # bytes of a web page that are read, to tell what it says


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download is given. Seconds; `slowest` in bytes a second over `window` seconds."""

    connect: float = 10.0
    silence: float = 30.0
    slowest: float = 2048.0
    window: float = 60.0
    attempts: int = 5
    unreached: int = 3  # attempts at a server that no connection comes about with
    first_pause: float = 1.0
    longest_pause: float = 60.0


class Interrupted(DownloadFailed):
    """A failure that may not last: worth another try, from where it broke off. `pause`: what the server asked for."""

    def __init__(self, detail: str, *, pause: float | None = None) -> None:
        super().__init__(detail)
        self.pause = pause


class Unreached(Interrupted):
    """No connection came about: no such name, nobody listening, no network."""


class _TooSlow(Interrupted):
    """It came further, but so slowly that this does not count."""


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


def download(request: Request, into: Path, meter: Meter, patience: Patience = Patience()) -> None:
    """Fetch `request.url` to `into`, whole or not at all. Raises DownloadFailed with one line that says why."""
    part = into.with_name(into.name + ".part")
    with _client(patience) as client:
        for attempt in _attempts(part, patience):
            with attempt:
                _continue(client, request, part, meter, patience)
    part.replace(into)
    _note(part).unlink(missing_ok=True)


class _Stuck:
    """Counts the tries since the download was last further than ever: a line that drops often still gets there."""

    def __init__(self, part: Path) -> None:
        self._part = part
        self._furthest = _size(part)
        self.tries = 0

    def count(self, state: RetryCallState) -> None:
        size = _size(self._part)
        further = size > self._furthest and not isinstance(_error(state), _TooSlow)
        self.tries = 1 if further else self.tries + 1
        self._furthest = max(size, self._furthest)


def _attempts(part: Path, patience: Patience) -> Iterator[AttemptManager]:
    stuck = _Stuck(part)
    return iter(
        Retrying(
            retry=retry_if_exception_type(Interrupted),
            after=stuck.count,  # comes before `stop` and `wait`
            stop=lambda state: stuck.tries >= _most(state, patience),
            wait=lambda state: _pause(state, stuck.tries, patience),
            before_sleep=_say,
            reraise=True,
        )
    )


def _pause(state: RetryCallState, tries: int, patience: Patience) -> float:
    """As the server asked; else twice as long each time."""
    error = _error(state)
    asked = error.pause if isinstance(error, Interrupted) else None
    doubled = patience.first_pause * 2.0 ** (tries - 1)
    return min(patience.longest_pause, doubled if asked is None else asked)


def _most(state: RetryCallState, patience: Patience) -> int:
    return patience.unreached if isinstance(_error(state), Unreached) else patience.attempts


def _say(state: RetryCallState) -> None:
    pause = state.next_action.sleep if state.next_action else 0.0
    log.warning("download interrupted (%s); trying again in %.1f s", _error(state), pause)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


@contextmanager
def _client(patience: Patience) -> Iterator[httpx.Client]:
    timeout = httpx.Timeout(patience.silence, connect=patience.connect)
    # identity: bytes on the wire are the file's bytes, so that counting and resuming are exact
    headers = {"User-Agent": f"visage/{__version__}", "Accept-Encoding": "identity"}
    with httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=10, headers=headers) as client:
        yield client


def _continue(client: httpx.Client, request: Request, part: Path, meter: Meter, patience: Patience) -> None:
    """Make `part` whole, going on from what there is of it."""
    have, version = _state(part, request)
    headers = {"Range": f"bytes={have}-", "If-Range": version} if have and version else {}
    try:
        with client.stream("GET", request.url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and headers:
                _forget(part)
                raise Interrupted("the server refused to go on from where the last try broke off", pause=0.0)
            _refuse(response)
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT and _goes_on(response, have, version)
            if response.status_code == httpx.codes.PARTIAL_CONTENT and not resumed:
                _forget(part)
                raise Interrupted("the server answered with another part of the file", pause=0.0)
            have = have if resumed else 0
            total = _length(response, have)
            if request.most is not None and total is not None and total > request.most:
                raise DownloadFailed(f"the file there has {total} bytes, {request.most} are expected")
            _make_sure_of_room(part, 0 if total is None else total - have)
            if not resumed:
                _remember(part, request, response)
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
    part: Path,
    have: int,
    total: int | None,
    request: Request,
    meter: Meter,
    patience: Patience,
) -> None:
    started, at_start = time.monotonic(), have
    with part.open("r+b" if have else "wb") as file:
        file.seek(have)
        for chunk in response.iter_bytes():  # as they come: what waits in a buffer is lost when the line drops
            file.write(chunk)
            have += len(chunk)
            meter(have, total)
            if request.most is not None and have > request.most:
                _forget(part)
                raise DownloadFailed(f"more than the {request.most} bytes came that are expected")
            now = time.monotonic()
            if now - started >= patience.window:
                if have - at_start < patience.slowest * (now - started):
                    raise _TooSlow(f"slower than {patience.slowest / 1024:.3g} KiB a second")
                started, at_start = now, have
    if total is not None and have != total:
        raise Interrupted(f"it broke off after {have} of {total} bytes")


def _make_sure_of_room(part: Path, needed: int) -> None:
    """Raises OSError before the disk is full rather than then."""
    if needed > shutil.disk_usage(part.parent).free:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for {needed / 1e6:.1f} MB")


def _state(part: Path, request: Request) -> tuple[int, str | None]:
    """How many bytes there are of this file, and of which version; none of anything else."""
    try:
        note = json.loads(_note(part).read_text("utf-8"))
        if note["of"] == request.known_as and note["version"]:
            return part.stat().st_size, str(note["version"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, None


def _remember(part: Path, request: Request, response: httpx.Response) -> None:
    """Without a version nothing can be resumed, and the next try begins anew."""
    version = None if _is_encoded(response) else _version(response)
    _note(part).write_text(json.dumps({"of": request.known_as, "version": version}), "utf-8")


def _version(response: httpx.Response) -> str | None:
    """A weak ETag names no bytes."""
    tag: str = response.headers.get("etag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("last-modified")


def _is_encoded(response: httpx.Response) -> bool:
    """Whether the server compressed it although it was asked not to: its counts are then not the file's."""
    return bool(response.headers.get("content-encoding", "identity") != "identity")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _goes_on(response: httpx.Response, have: int, version: str | None) -> bool:
    """Whether a 206 is the rest of what there is: from its `Content-Range: bytes 100-199/200` and its version."""
    rest: str = response.headers.get("content-range", "").partition(" ")[2]
    other = _is_encoded(response) or _version(response) not in (None, version)
    return not other and rest.partition("-")[0] == str(have)


def _length(response: httpx.Response, have: int) -> int | None:
    """The whole file's. A 206 may carry less than the rest of it: what its `Content-Range` says comes first."""
    if _is_encoded(response):
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
