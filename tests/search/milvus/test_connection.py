import threading

import pytest

from tests.search.milvus.fake import FakeMilvus, Refused
from tests.support import Clock
from visage.errors import SearchError, StoreUnavailable
from visage.search.milvus import schema
from visage.search.milvus.connection import Connection
from visage.search.milvus.failures import Gone


class Status:
    """As a grpc.RpcError tells its code."""

    def __init__(self, name: str) -> None:
        self.name = name


class Broken(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(0, "")
        self.code = lambda: Status(name)  # type: ignore[assignment,return-value]  # grpc's is a function


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The connection's time."""
    made = Clock(100.0)
    monkeypatch.setattr("visage.search.milvus.connection.time", made)
    return made


def test_what_fails_is_tried_again_while_there_is_time(clock: Clock) -> None:
    server = FakeMilvus()
    connection = Connection(server.driver(), 5)
    failures = iter([True, True, False])

    def trouble(name: str) -> None:
        if name == "moment" and next(failures):
            raise Refused(101, "collection not loaded")

    server.trouble = trouble
    assert connection.moment() == 1
    assert server.calls == ["moment"] * 3


def test_a_collection_that_is_not_in_memory_is_loaded(clock: Clock) -> None:
    server = FakeMilvus()
    connection = Connection(server.driver(), 5)
    connection.make("visage_a_persons", schema.PERSONS)

    def trouble(name: str) -> None:
        if name == "query" and "load_collection" not in server.calls:
            raise Refused(101, "collection not loaded")

    server.trouble = trouble
    assert connection.query("visage_a_persons", "", ["id"], 1) == []
    assert server.calls[-3:] == ["query", "load_collection", "query"]


@pytest.mark.parametrize(
    ("failure", "told", "said"),
    [
        (Refused(100, "can't find collection x"), Gone, "x"),
        (Refused(4, "collection not found"), Gone, "not found"),
        (Refused(1100, "the length (600) exceeds max length"), SearchError, "exceeds max length"),
        (Refused(65535, "invalid index type: X"), SearchError, "invalid index type"),
        (Refused(65535, "node offline at 10.0.0.7:21123"), StoreUnavailable, "does not answer, or not yet"),
        (Refused(1, "Retry timeout"), StoreUnavailable, "does not answer"),
        (Broken("UNAVAILABLE"), StoreUnavailable, "does not answer"),
        (Broken("DEADLINE_EXCEEDED"), StoreUnavailable, "does not answer"),
        (Broken("UNAUTHENTICATED"), StoreUnavailable, "MILVUS_TOKEN"),
    ],
)
def test_failures_are_told_as_what_they_are_and_without_addresses(
    failure: Exception, told: type[Exception], said: str, clock: Clock
) -> None:
    server = FakeMilvus()

    def trouble(name: str) -> None:
        raise failure

    connection = Connection(server.driver(), 0.2)
    connection.tables()
    server.trouble = trouble
    began = clock.now
    with pytest.raises(told, match=said) as found:
        connection.tables()
    assert (0 < clock.now - began <= 0.2) if told is StoreUnavailable else clock.now == began
    assert "10.0.0.7" not in str(found.value)
    assert isinstance(found.value, StoreUnavailable) is (told is StoreUnavailable)


def test_many_callers_of_a_server_that_cannot_be_reached_do_not_wait_for_each_other(clock: Clock) -> None:
    server = FakeMilvus()
    connecting, give_up = threading.Event(), threading.Event()
    attempts: list[str] = []

    def trouble(name: str) -> None:
        if name == "connect":
            attempts.append(name)
            connecting.set()
            give_up.wait(100)
            raise Refused(1, "Fail connecting to server")

    server.trouble = trouble
    connection = Connection(server.driver(), 0.2)
    told: list[str] = []

    def ask() -> None:
        with pytest.raises(StoreUnavailable) as found:
            connection.tables()
        told.append(str(found.value))

    first, *others = [threading.Thread(target=ask) for _ in range(12)]
    first.start()
    try:
        assert connecting.wait(30)
        for thread in others:
            thread.start()
        for thread in others:
            thread.join(30)
        assert len(told) == 11 and first.is_alive()  # their time is over, though the first one is still at it
    finally:
        give_up.set()
        first.join(30)
    ask()
    assert len(told) == 13 and attempts == ["connect"]  # nor does the next one try for itself
    server.trouble = lambda name: None
    clock.sleep(0.6)
    assert connection.tables() == []
    connection.close()
    assert server.clients == 0
    with pytest.raises(StoreUnavailable, match="closed"):
        connection.tables()


def test_calls_that_belong_together_have_the_time_of_one_unless_all_is_well(clock: Clock) -> None:
    server = FakeMilvus()
    connection = Connection(server.driver(), 1.2)
    connection.tables()
    pauses = iter([0.8] * 3 + [1.1, 0.0])

    def trouble(name: str) -> None:
        clock.sleep(next(pauses, 0.0))
        if name == "has_collection":
            raise Refused(101, "collection not loaded")

    server.trouble = trouble
    with connection.within():
        for _ in range(3):
            connection.tables()  # longer than the time of one, but each readily
        connection.tables()  # not readily: what is left of the time is all there is
        began = clock.now
        with pytest.raises(StoreUnavailable):
            connection.has("x")
        assert clock.now - began <= 0.1 + 1e-9


def test_a_mistake_in_the_program_is_not_taken_for_a_failure_of_the_server() -> None:
    server = FakeMilvus()

    def trouble(name: str) -> None:
        raise TypeError("wrong")

    connection = Connection(server.driver(), 5)
    server.trouble = trouble
    with pytest.raises(TypeError):
        connection.tables()


def test_large_writes_and_deletions_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeMilvus()
    connection = Connection(server.driver(), 5)
    connection.make("visage_a_persons", schema.PERSONS)
    rows = [{"id": str(i), "key": i, "metadata": {}, "told": {}, "nothing": [1, 0]} for i in range(10)]
    monkeypatch.setattr("visage.search.milvus.connection._MOST_BYTES", 3 * (1024 + 4 * 8))
    server.calls.clear()
    connection.write("visage_a_persons", rows, 8)
    assert server.calls == ["upsert persons"] * 4
    assert [len(connection.query("visage_a_persons", "", ["id"], 1, limit)) for limit in (3, 100)] == [3, 10]
    pages = connection.pages("visage_a_persons", "key != 4", ["key"], 1, after="1", size=3)
    assert [[row["key"] for row in page] for page in pages] == [[2, 3, 5], [6, 7, 8], [9]]
    server.calls.clear()
    connection.delete("visage_a_persons", [str(i) for i in range(8)], size=3)
    assert server.calls == ["delete"] * 3
    assert connection.count("visage_a_persons", "", 1) == 2
