"""Where the next page begins: opaque to callers, an id to us."""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import pybase64
from fastapi.exceptions import RequestValidationError

T = TypeVar("T")

_OURS = re.compile(r"[A-Za-z0-9_-]+")
_MARK = b"a:"


def read_cursor(cursor: str | None) -> str:
    """The id after which the page begins; "" for the first. Raises RequestValidationError."""
    if not cursor:
        return ""
    try:
        if not _OURS.fullmatch(cursor):
            raise ValueError
        found = pybase64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        if not found.startswith(_MARK):
            raise ValueError
        return found[len(_MARK) :].decode()
    except ValueError:
        fault = {"type": "cursor", "loc": ("query", "cursor"), "msg": "Not a cursor of ours: take `next` as it is"}
        raise RequestValidationError([fault | {"input": cursor[:100]}]) from None


def page(found: Sequence[T], limit: int, id_of: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """Of up to `limit` + 1 items the page, and the cursor of the next where there is one."""
    if len(found) <= limit:
        return found, None
    last = _MARK + id_of(found[limit - 1]).encode()
    return found[:limit], pybase64.urlsafe_b64encode(last).decode().rstrip("=")
