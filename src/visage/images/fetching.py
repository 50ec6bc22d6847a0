"""Where a picture's bytes come from: the request itself, a URL, a file of the operator's folder. All with limits."""

import asyncio
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Self
from urllib.parse import urljoin

import httpx

from visage.errors import ImageError, ImageTooLarge, ImageUnreachable, PathForbidden, UrlForbidden
from visage.images.addresses import AddressPolicy
from visage.images.encoded import Encoded, decode_base64
from visage.images.unpacking import unpacked

__all__ = ["Downloader", "Encoded", "Folder", "ImageSource", "Local", "Raw", "Remote", "decode_base64", "source_of"]

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
# Headers that belong to the connection; a caller who set them could speak for another host or frame another request.
_NOT_THE_CALLERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "upgrade"}
)
_MOST_PORT = 65_535  # the event loop stumbles over larger ones
_MOST_NAME = 200  # characters of a caller's URL or path that an error repeats


@dataclass(frozen=True, slots=True)
class Raw:
    """The file's bytes as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Remote:
    """An http or https URL."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Local:
    """A path below the operator's picture folder."""

    path: str


ImageSource = Encoded | Raw | Remote | Local


def source_of(url: str, headers: Mapping[str, str]) -> ImageSource:
    """`http…` is fetched, everything else is a local path (wire contract, part 2)."""
    if url.lower().startswith(("http://", "https://")):
        return Remote(url, headers)
    return Local(url)


class Folder:
    """The only folder that local paths may name files of; links are followed before the check."""

    def __init__(self, root: Path, limit: int) -> None:
        self._root = root
        self._limit = limit

    def read(self, source: Local) -> bytes:
        """The file's bytes. Raises PathForbidden, ImageUnreachable or ImageTooLarge; no error tells a server path."""
        name = _shown(source.path)
        try:
            root = self._root.resolve()
            found = (root / source.path).resolve()
        except (OSError, ValueError, RuntimeError):
            raise ImageUnreachable(f"File: '{name}' not found") from None
        if not found.is_relative_to(root):
            raise PathForbidden(f"File: '{name}' is outside the folder for pictures (ROOT_IMAGES_DIR)")
        try:
            # Not blocking: a named pipe would wait for a writer. No link: what was checked is what is opened.
            handle = os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (OSError, ValueError):
            raise ImageUnreachable(f"File: '{name}' not found") from None
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)  # a file object of a directory cannot even be made to close it
            raise ImageUnreachable(f"File: '{name}' is no regular file")
        with os.fdopen(handle, "rb") as file:
            if status.st_size > self._limit:
                raise ImageTooLarge(f"The image has {status.st_size} bytes; at most {self._limit} are read")
            return file.read(self._limit + 1)


class Downloader:
    """Fetches URLs: only from allowed addresses, checked at every redirect and used for the connection itself.

    TLS certificates are verified against the host's name. No proxy of the environment is used: it would
    connect where we cannot look. `seconds` bounds the whole of one download.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        limit: int,
        seconds: float,
        headers: Mapping[str, str],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._policy = policy
        self._limit = limit
        self._seconds = seconds
        self._headers = _merged(headers)
        # No connection is kept: a pooled one could be used again for another name at the same address.
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=0)
        self._transport = transport or httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
        # A cookie of one caller's server is no business of the next caller's.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        self._client = httpx.AsyncClient(
            transport=self._transport, cookies=no_cookies, follow_redirects=False, trust_env=False
        )

    async def fetch(self, source: Remote) -> bytes:
        """The body of a 2xx answer. Raises UrlForbidden, ImageUnreachable or ImageTooLarge."""
        name = _shown(source.url)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(source, name)
        except TimeoutError:
            raise ImageUnreachable(f"{name} did not answer within {self._seconds:g} s") from None
        except ImageError:
            raise
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as exc:
            raise ImageUnreachable(f"{name} cannot be fetched: {_reason(exc)}") from exc

    async def _follow(self, source: Remote, name: str) -> bytes:
        url = source.url
        headers = _merged(self._headers, source.headers)
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._get(url, headers, name)
            if isinstance(answer, bytes):
                return answer
            following = urljoin(url, answer)
            if not _same_server(httpx.URL(url), httpx.URL(following)):
                headers = self._headers  # a caller's credentials stay with the server that they are for
            url = following
        raise ImageUnreachable(f"{name} redirects more than {_MOST_REDIRECTS} times")

    async def _get(self, url: str, headers: Mapping[str, str], name: str) -> bytes | str:
        """The body, or where the answer redirects to."""
        target = httpx.URL(url)
        if target.scheme not in ("http", "https") or not target.host:
            raise UrlForbidden(f"{name} leads to something else than http or https")
        if (target.port or 0) > _MOST_PORT:
            raise ImageUnreachable(f"{name} cannot be fetched: there is no port {target.port}")
        response = await self._connected(target, headers, await self._addresses(target, name))
        try:
            if response.status_code in _REDIRECTS and "location" in response.headers:
                return str(response.headers["location"])
            if not response.is_success:
                raise ImageUnreachable(f"{name} answered with status {response.status_code}")
            return await self._body(response, name)
        finally:
            await response.aclose()

    async def _connected(self, target: httpx.URL, headers: Mapping[str, str], addresses: list[str]) -> httpx.Response:
        """The answer from the first address that takes the connection.

        Host and the name that TLS verifies are the URL's; the connection goes to the address that was checked.
        """
        sent = httpx.Headers({name: value for name, value in headers.items() if name.lower() not in _NOT_THE_CALLERS})
        sent.update({"Host": target.netloc.decode("ascii"), "Accept-Encoding": "identity"})
        for i, address in enumerate(addresses):
            request = self._client.build_request(
                "GET",
                target.copy_with(host=address),
                headers=sent,
                extensions={"sni_hostname": target.raw_host.decode("ascii")},
                timeout=self._seconds,
            )
            try:
                return await self._client.send(request, stream=True)
            except httpx.ConnectError:
                if i == len(addresses) - 1:
                    raise
        raise ImageUnreachable("the host has no address")

    async def _addresses(self, target: httpx.URL, name: str) -> list[str]:
        """The host's addresses. All are refused together: an attacker's name may list both kinds."""
        host, port = target.raw_host.decode("ascii"), target.port or (443 if target.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise ImageUnreachable(f"{name}: the host's name cannot be resolved") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not all(self._policy.allows(host, address) for address in addresses):
            raise UrlForbidden(f"{name} leads to an address that is not public; the operator can list it in URL_ALLOW")
        return addresses

    async def _body(self, response: httpx.Response, name: str) -> bytes:
        too_large = f"{name} has more than the {self._limit} bytes that are read"
        declared = response.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limit:
            raise ImageTooLarge(too_large)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._limit:
                raise ImageTooLarge(too_large)
        if coding := response.headers.get("content-encoding"):
            return await asyncio.to_thread(unpacked, bytes(body), coding, self._limit, name)
        return bytes(body)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _merged(*given: Mapping[str, str]) -> Mapping[str, str]:
    """Headers by name, whose case means nothing (RFC 9110, 5.1); the last of a name counts."""
    return dict({name.lower(): (name, value) for headers in given for name, value in headers.items()}.values())


def _same_server(one: httpx.URL, other: httpx.URL) -> bool:
    """Same host, scheme and port, or the same host's step from plain http to https on the usual ports."""
    if one.host != other.host:
        return False
    upgraded = (one.scheme, one.port, other.scheme, other.port) == ("http", None, "https", None)
    return upgraded or (one.scheme, one.port) == (other.scheme, other.port)


def _shown(name: str) -> str:
    """A caller's own URL or path, short, printable and without the secrets it may hold."""
    try:
        url = httpx.URL(name)
        if url.scheme in ("http", "https"):
            name = str(url.copy_with(userinfo=b"", query=None, fragment=None))
    except (httpx.InvalidURL, ValueError, TypeError):
        pass
    printable = "".join(c if c.isprintable() else "?" for c in name)
    return printable if len(printable) <= _MOST_NAME else printable[: _MOST_NAME - 1] + "…"


def _reason(exc: Exception) -> str:
    """One line about a failed connection, without addresses that the caller did not give."""
    text = str(exc).lower()
    if "certificate" in text or "ssl" in text or "tls" in text:
        return "its TLS certificate was not accepted"
    if isinstance(exc, httpx.ConnectError | OSError):
        return "no connection"
    if isinstance(exc, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(exc, httpx.InvalidURL | httpx.UnsupportedProtocol | ValueError):
        return "the URL or a header is not valid"
    return "the connection broke off"
