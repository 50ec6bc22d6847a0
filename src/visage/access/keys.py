"""What a key is: a secret that its holder shows, and what it lets them do."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from visage.errors import ConfigurationError

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_PREFIX = "vk_"  # so that people and secret scanners know one when they see it
_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Key:
    """`digest`: sha256 of the secret; `collections` empty: all; `rate`: requests a minute, 0 for any number.

    Times are seconds since 1970. The secret itself is nowhere.
    """

    id: str
    name: str
    digest: bytes
    scopes: frozenset[Scope]
    collections: frozenset[str]
    rate: int
    created: float
    used: float | None = None
    revoked: float | None = None

    def may(self, scope: Scope) -> bool:
        """Whoever administers may everything. Who may write may not read: an enrolment desk need not search."""
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, collection: str) -> bool:
        return not self.collections or collection in self.collections


def new_secret() -> str:
    """`vk_` and 32 random bytes in base64url: 46 characters."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def new_id() -> str:
    """The name of a key for lists and logs; it is no part of the secret."""
    return f"k{secrets.token_hex(4)}"


def digest_of(secret: str) -> bytes:
    """sha256. A slow hash with a salt protects what people think up; 256 random bits cannot be guessed from a fast one,
    and this is computed for every request.
    """
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def scopes_of(words: Iterable[str]) -> frozenset[Scope]:
    """Raises ConfigurationError."""
    asked = frozenset(words)
    known: frozenset[Scope] = frozenset(scope for scope in SCOPES if scope in asked)
    if not asked or len(known) != len(asked):
        unknown = ", ".join(sorted(asked - known)) or "none"
        raise ConfigurationError(f"scopes are {', '.join(SCOPES)}, one or several of them; not {unknown}")
    return known


def rate_of(text: str) -> int:
    """60 or 60/min; 0 or an empty text for any number. Raises ConfigurationError."""
    number = text.strip().removesuffix("/min")
    if number and not (number.isdecimal() and int(number) < 10**9):
        raise ConfigurationError(f"a rate is a number of requests a minute, as 60/min; not {text!r}")
    return int(number or 0)
