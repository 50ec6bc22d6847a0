from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.client.fake import Fake
from visage_client import Client, Retries


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def connect(fake: Fake) -> Iterator[Callable[..., Client]]:
    """Makes clients of the fake service."""
    made: list[Client] = []

    def connected(**how: Any) -> Client:
        how.setdefault("retries", Retries(first=0.001, most=0.002))
        made.append(Client("http://fake", transport=httpx.MockTransport(fake), **how))
        return made[-1]

    yield connected
    for client in made:
        client.close()


@pytest.fixture(params=["msgpack", "json"])
def client(connect: Callable[..., Client], request: pytest.FixtureRequest) -> Client:
    """A client of the fake service, in either form."""
    return connect(form=request.param)
