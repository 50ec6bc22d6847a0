from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.search.contract.places import PATIENT, Place, of_server, server_address
from visage.search.base import Store
from visage.search.embedded import EmbeddedStore

NO_PYMILVUS = "needs pymilvus and milvus-lite: make milvus-test"
PLACES = ["embedded", "milvus", "milvus-lite", pytest.param("milvus-server", marks=pytest.mark.milvus)]


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server, for the whole run."""
    from tests.search.milvus.server import PACKAGE, Server

    if find_spec("pymilvus") is None or not PACKAGE.exists():
        pytest.skip("needs pymilvus and a Milvus server: make milvus-test")
    if (there := server_address()) is not None:
        yield there
        return
    server = Server(tmp_path_factory.mktemp("milvus"))
    server.start()
    try:
        yield server.address
    finally:
        server.kill()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a store is, empty: each test runs at every one."""
    return place_of(request.param, request, tmp_path)


def place_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    match kind:
        case "embedded":
            return Place(lambda: EmbeddedStore(folder / "galleries", compact_after=None))
        case "milvus":
            return _fake()
        case "milvus-lite":
            if find_spec("pymilvus") is None or find_spec("milvus_lite") is None:
                pytest.skip(NO_PYMILVUS)
            return Place(lambda: _lite(folder))
        case _:
            return of_server(request.getfixturevalue("milvus_server"))


def _fake() -> Place:
    from tests.search.milvus.fake import FakeMilvus
    from visage.search.milvus import MilvusStore

    server = FakeMilvus()
    return Place(lambda: MilvusStore(server.driver()))


def _lite(folder: Path) -> Store:
    from visage.search.milvus import open_store

    return open_store(str(folder / "lite.db"), seconds=PATIENT)
