from collections.abc import Iterator

import pytest

from tests.zoo.bad_server import BadServer, bad_server


@pytest.fixture
def server() -> Iterator[BadServer]:
    with bad_server() as found:
        yield found
