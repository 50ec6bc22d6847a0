"""Everything that a client raises.

VisageError
 ├─ NoAnswer               the service could not be reached, or the connection broke
 │   └─ TimedOut           it did not answer in time
 ├─ BadAnswer              what answered does not speak as visage does
 │   └─ BrokenOff          a bulk enrolment came to no end; `rows` says what became of those before
 └─ Refused                the service said no
     ├─ Unauthorised       401: no key, or none that is valid
     ├─ Forbidden          403: the key does not reach so far; an address or path that may not be read
     ├─ NotFound           404
     ├─ Conflict           409: there already, vectors of another recogniser, an idempotency key used twice
     ├─ TooLarge           413: send fewer or smaller pictures at a time
     ├─ Invalid            other 4xx: the request, or a picture of it, is not what it should be
     │   ├─ NoFace         a picture that must show a face shows none
     │   └─ NothingEnrolled   every picture was refused; `images` says why
     ├─ RateLimited        429, and patience came to its end
     ├─ Unavailable        503, and patience came to its end
     └─ Failed             other 5xx
"""

from collections.abc import Mapping
from typing import Any


class VisageError(Exception):
    """`str(error)` is one line for people. `request_id` finds the request in the service's log."""

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        type: str = "",  # noqa: A002 — RFC 9457's word
        title: str = "",
        request_id: str | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status}: {detail}" if status else detail)
        self.detail = detail
        self.status = status
        self.type = type
        self.title = title
        self.request_id = request_id
        self.problem: Mapping[str, Any] = problem or {}

    @property
    def kind(self) -> str:
        """The last part of `type`: no-face of urn:visage:no-face."""
        return self.type.rpartition(":")[2]


class NoAnswer(VisageError):
    pass


class TimedOut(NoAnswer):
    pass


class BadAnswer(VisageError):
    pass


class BrokenOff(BadAnswer):
    """`kind` says why, where the service did (service-stopping, row-invalid, …). A row with an id may be sent again."""

    rows: tuple[Any, ...] = ()


class Refused(VisageError):
    pass


class Unauthorised(Refused):
    pass


class Forbidden(Refused):
    pass


class NotFound(Refused):
    pass


class Conflict(Refused):
    pass


class TooLarge(Refused):
    pass


class Invalid(Refused):
    pass


class NoFace(Invalid):
    @property
    def side(self) -> str | None:
        """Which of two compared pictures: a or b."""
        side = self.problem.get("side")
        return None if side is None else str(side)


class NothingEnrolled(Invalid):
    pass


class RateLimited(Refused):
    pass


class Unavailable(Refused):
    pass


class Failed(Refused):
    pass


_BY_KIND: dict[str, type[Refused]] = {"no-face": NoFace, "nothing-enrolled": NothingEnrolled}
_BY_STATUS: dict[int, type[Refused]] = {
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: RateLimited,
    503: Unavailable,
}


_LONGEST_SHOWN = 100  # characters of what was given: it may be a picture, or a secret's file


def shown(value: object) -> str:
    """As messages repeat what was given: never all of something long."""
    text = repr(value[: _LONGEST_SHOWN + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def refusal(status: int, body: object, reason: str, request_id: str | None) -> Refused:
    """The error of an answer whose status says that it is none. `body`: what it holds, a problem document or not."""
    problem = body if isinstance(body, dict) else {}
    type_ = str(problem.get("type", ""))
    general = Failed if status >= 500 else Invalid
    kind = _BY_KIND.get(type_.rpartition(":")[2]) or _BY_STATUS.get(status, general)
    return kind(
        _text(problem.get("detail")) or reason or "refused",
        status=status,
        type=type_,
        title=str(problem.get("title", "")),
        request_id=request_id,
        problem=problem,
    )


def _text(detail: object) -> str:
    """One line of a text, or of a list of what is wrong where."""
    if isinstance(detail, list):
        return "; ".join(_fault(fault) for fault in detail)
    return " ".join(str(detail).split()) if detail else ""


def _fault(fault: object) -> str:
    if not isinstance(fault, dict):
        return str(fault)
    place = ".".join(str(part) for part in fault.get("loc", ()))
    return f"{place}: {fault.get('msg')}" if place else str(fault.get("msg"))
