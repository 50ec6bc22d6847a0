"""Fields that a route does not know: refused by name, since what is misspelt would mean nothing and look done."""

from collections.abc import Callable, Collection, Coroutine
from difflib import get_close_matches
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

_MOST_TOLD = 5  # of one object: a hostile one has millions
_MOST_NAME = 100  # characters of one that are told
_LIKENESS = 0.6


class Strict(BaseModel):
    """A body of /v1, or an object in it: unknown fields are faults; null means the default.

    `unread`: fields that may stand there and mean nothing, as in what the service has written itself.
    """

    model_config = ConfigDict(extra="forbid")
    unread: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _knows_all(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.keys() <= cls.model_fields.keys():
            return value
        known = cls.model_fields.keys()
        strange = [name for name in value if name not in known and name not in cls.unread]
        if not strange:
            return {name: one for name, one in value.items() if name in known}
        faults = [
            InitErrorDetails(
                type=PydanticCustomError("unknown_field", "{said}", {"said": unknown(str(name), known)}),
                loc=(str(name)[:_MOST_NAME],),
                input=value[name],
            )
            for name in strange[:_MOST_TOLD]
        ]
        raise ValidationError.from_exception_data(cls.__name__, faults)


def unknown(name: str, known: Collection[str], what: str = "field") -> str:
    """What is said of a name that is not among the `known`."""
    near = get_close_matches(name.lower(), known, n=2, cutoff=_LIKENESS) if len(name) <= _MOST_NAME else []
    if near:
        return f"unknown {what}; did you mean {' or '.join(near)}?"
    return f"unknown {what}; " + (f"known are {', '.join(known)}" if known else "none is known here")


class StrictRoute(APIRoute):
    """Parameters of the query that the route does not know are faults, and so is text that is no UTF-8."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            if request.scope["query_string"]:
                _check(request.scope["query_string"], self._known)
            return await inner(request)

        return handler

    @cached_property
    def _known(self) -> tuple[str, ...]:
        """Those of the route's signature, and those that it reads itself where the body is a picture."""
        said = (self.openapi_extra or {}).get("parameters", ())
        return (
            *(one.alias for one in self.dependant.query_params),
            *(one["name"] for one in said if one["in"] == "query"),
        )


def refuse_query(request: Request) -> None:
    """Of a body that is no picture: its fields stand in it. Raises RequestValidationError."""
    for name, value in parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True):
        said = "the query is read where the body is a picture's file: here the body takes this field"
        raise _fault("query_unread", name, said, value)


def _check(query: bytes, known: Collection[str]) -> None:
    """Raises RequestValidationError."""
    try:
        given = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        fault = {"type": "query_encoding", "loc": ("query",), "msg": "the query is no UTF-8", "input": None}
        raise RequestValidationError([fault]) from None
    for name, value in given:
        if name not in known:
            raise _fault("unknown_parameter", name, unknown(name, known, "parameter"), value)


def _fault(kind: str, name: str, said: str, given: str) -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": ("query", name[:_MOST_NAME]), "msg": said, "input": given}])
