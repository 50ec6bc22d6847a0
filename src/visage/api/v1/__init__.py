"""The /v1 routes: faces, comparison, galleries, search."""

from fastapi import FastAPI
from pydantic import BaseModel

from visage.api.v1 import bulk, collections, faces, persons, search
from visage.api.v1.bodies import BODIES

PREFIX = "/v1/"
_STREAMS = ("/bulk", "/export")


def add_v1(app: FastAPI) -> None:
    for module in (faces, collections, persons, search, bulk):
        app.include_router(module.router)


def is_streamed(path: str) -> bool:
    """Whether the body or the answer of this path may be longer than memory."""
    return path.startswith(PREFIX + "collections/") and path.endswith(_STREAMS)


def bodies_of_v1() -> tuple[type[BaseModel], ...]:
    """The bodies that the routes read themselves."""
    return BODIES
