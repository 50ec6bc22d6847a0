"""The /v1 routes: faces, comparison, galleries, search."""

import re

from fastapi import FastAPI
from pydantic import BaseModel

from visage.api.v1 import bulk, collections, faces, persons, search
from visage.api.v1.bodies import BODIES

PREFIX = "/v1/"
_STREAMS = {"POST": re.compile(r"/v1/collections/[^/]+/bulk"), "GET": re.compile(r"/v1/collections/[^/]+/export")}


def add_v1(app: FastAPI) -> None:
    for module in (faces, collections, persons, search, bulk):
        app.include_router(module.router)


def is_streamed(method: str, path: str) -> bool:
    """Whether the body or the answer may be longer than memory there."""
    return method in _STREAMS and _STREAMS[method].fullmatch(path) is not None


def bodies_of_v1() -> tuple[type[BaseModel], ...]:
    """The bodies that the routes read themselves."""
    return BODIES
