"""Which pages may call: what browsers tell of the page that sends a request, where nobody shows a key.

A browser sends what any page asks it to send, to this machine's own ports too. It cannot be made to lie about two
things: `Origin`, the page that asks, and `Host`, the name in the address that was asked for.
"""

import re
from ipaddress import ip_address

from starlette.datastructures import Headers

from visage.errors import Forbidden
from visage.settings import Settings

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # they change nothing, and other pages cannot read the answers
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?")
_WITHOUT_PORT = (80, 443)  # what an address means that names none
_MOST_SHOWN = 200


class Callers:
    """As the settings have it; with AUTH=keys a page would have to know a key, and only ALLOWED_HOSTS is heeded."""

    def __init__(self, settings: Settings) -> None:
        self._open = not settings.asks_for_keys
        self._loopback = settings.on_loopback
        self._hosts = frozenset(name.lower() for name in settings.allowed_hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.cors_origins)

    def admit(self, method: str, headers: Headers, port: int | None) -> None:
        """`port`: the one that the connection came in by. Raises Forbidden."""
        self._hold_host(headers.get("host", ""), port)
        if self._open and method not in _SAFE:
            self._hold_origin(headers)

    def _hold_host(self, host: str, port: int | None) -> None:
        """A page of evil.example may have had that name lead to this machine (DNS rebinding): all that the service
        answers would then be its own to read. The name it was asked by gives it away.

        Where none are allowed by name, only what such a page cannot but send is refused, a name with the very port that
        is listened on, at loopback: proxies that pass the name they were asked by have a port of their own.
        """
        found = _HOST.fullmatch(host)
        name, named = (found[1], found[2]) if found else (host, None)
        if _leads_here(name) or "*" in self._hosts or name.lower() in self._hosts:
            return
        if not self._hosts:
            if not (self._open and self._loopback):
                return
            if port not in ((int(named),) if named else _WITHOUT_PORT):
                return
        raise Forbidden(
            f"The service was asked by the name {name[:_MOST_SHOWN]!r}, which may be a stranger's: if it is yours, set "
            f"ALLOWED_HOSTS={name[:_MOST_SHOWN]}"
        )

    def _hold_origin(self, headers: Headers) -> None:
        origin = headers.get("origin", "")
        if not origin or headers.get("sec-fetch-site") in ("same-origin", "none"):
            return
        if "*" in self._origins or origin.lower() in self._origins or _is_own(origin, headers):
            return
        raise Forbidden(
            f"A page of {origin[:_MOST_SHOWN]} may not call the service: if it is yours, set "
            f"CORS_ORIGINS={origin[:_MOST_SHOWN]}; if a proxy serves it and this under one name, have it pass Host"
        )


def _is_own(origin: str, headers: Headers) -> bool:
    """Whether the page's address is the one that was asked.

    Only the places are compared: behind a proxy that speaks TLS the service need not know that it does. A proxy may
    have passed Host without its port. Who sent X-Forwarded-Host does not matter: a page of another origin cannot send
    that header unless it was allowed to before (CORS).
    """
    place = origin.lower().partition("://")[2]
    forwarded = (value.strip() for text in headers.getlist("x-forwarded-host") for value in text.split(","))
    asked = {name.lower() for name in (headers.get("host", ""), *forwarded) if name}
    found = _HOST.fullmatch(place)
    return place in asked or (found is not None and found[1] in asked)


def _leads_here(name: str) -> bool:
    """Names that nobody can have lead elsewhere, and addresses, which are none (RFC 6761, 6.3). No name at all: no
    browser.
    """
    lower = name.lower().rstrip(".")
    if not lower or lower == "localhost" or lower.endswith(".localhost"):
        return True
    try:
        ip_address(lower.strip("[]"))
    except ValueError:
        return False
    return True
