import time
from collections.abc import Callable

import httpx
import pytest

from tests.client.fake import Fake
from visage_client import Client, NoAnswer, RateLimited, Retries, TimedOut, Unavailable

Connect = Callable[..., Client]


def busy(status: int = 503, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"detail": "come again", "type": "urn:visage:overloaded"})


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


@pytest.mark.parametrize("status", [503, 429])
def test_the_pause_is_what_the_service_says(connect: Connect, fake: Fake, pauses: list[float], status: int) -> None:
    fake.before = [busy(status, **{"Retry-After": "7"}), busy(status, **{"Retry-After": "0"})]
    assert connect().info().version == "0.1.0"
    assert pauses == [7, 0]


def test_where_nothing_is_said_the_pause_grows_and_is_never_the_same(
    connect: Connect, fake: Fake, pauses: list[float]
) -> None:
    fake.before = [busy() for _ in range(5)] + [busy(**{"Retry-After": "soon"})]
    connect(retries=Retries(first=1, most=8)).info()
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, [1, 2, 4, 8, 8, 8], strict=True))
    assert len(set(pauses)) == 6


@pytest.mark.parametrize(("status", "kind"), [(503, Unavailable), (429, RateLimited)])
def test_patience_ends(connect: Connect, fake: Fake, pauses: list[float], status: int, kind: type[Exception]) -> None:
    fake.before = [busy(status, **{"Retry-After": "3600"})] * 2
    with pytest.raises(kind, match="come again"):
        connect().info()
    with pytest.raises(kind):
        connect(retries=Retries(patience=0)).info()
    assert (pauses, len(fake.seen)) == ([], 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 502])
def test_what_stands_is_not_asked_again(connect: Connect, fake: Fake, pauses: list[float], status: int) -> None:
    fake.before = [httpx.Response(status)]
    with pytest.raises(Exception, match=str(status)):
        connect().info()
    assert (pauses, len(fake.seen)) == ([], 1)


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadError("reset"), httpx.RemoteProtocolError("closed")]
)
def test_a_broken_connection_is_tried_again_with_the_same_request(
    connect: Connect, fake: Fake, pauses: list[float], error: Exception
) -> None:
    fake.before = [error, error]
    connect().create_collection("staff")
    assert len({seen.headers["idempotency-key"] for seen in fake.seen}) == 1
    assert fake.seen[0].body == fake.seen[2].body == {"name": "staff"}
    assert len(pauses) == 2


def test_a_write_whose_answer_was_lost_is_done_once(connect: Connect, fake: Fake, pauses: list[float]) -> None:
    lost: list[Exception] = [httpx.ReadError("reset")]

    def answer(request: httpx.Request) -> httpx.Response:
        response = fake(request)
        if lost:
            raise lost.pop()
        return response

    with Client("http://fake", transport=httpx.MockTransport(answer)) as client:
        assert client.create_collection("staff").name == "staff"
    assert (len(fake.seen), len(pauses)) == (2, 1)


def test_a_connection_that_stays_broken_is_given_up(connect: Connect, fake: Fake, pauses: list[float]) -> None:
    fake.before = [httpx.ConnectError("refused")] * 10
    with pytest.raises(NoAnswer, match="no service at http://fake: refused"):
        connect(retries=Retries(connections=3)).info()
    assert (len(fake.seen), len(pauses)) == (3, 2)


def test_an_answer_that_takes_too_long_is_not_asked_for_again(
    connect: Connect, fake: Fake, pauses: list[float]
) -> None:
    fake.before = [httpx.ReadTimeout("")]
    with pytest.raises(TimedOut, match="in time"):
        connect().info()
    assert (len(fake.seen), pauses) == (1, [])


def test_an_export_is_tried_again_only_before_its_first_line(connect: Connect, fake: Fake, pauses: list[float]) -> None:
    client = connect()
    client.create_collection("staff")
    client.enrol("staff", images=b"one")
    fake.before = [busy(**{"Retry-After": "1"}), httpx.ReadError("reset")]
    assert len(list(client.export("staff"))) == 1
    assert len(pauses) == 2

    class Cut(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield b"\n"
            raise httpx.ReadError("reset")

    fake.before = [httpx.Response(200, stream=Cut())]
    with pytest.raises(NoAnswer, match="reset"):
        list(client.export("staff"))
    assert len(pauses) == 2
