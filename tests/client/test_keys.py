"""A key goes to the service and nowhere else: into no message, no repr, no line of a log."""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.client.fake import Fake
from visage_client import AsyncClient, Client, NoAnswer, Retries, VisageError

Connect = Callable[..., Client]
SECRET = "vk_7QxSecretOfTheHouse"


@pytest.mark.parametrize(
    "written", ["{}\n", "{}\r\n", " {}\t\n\n", "\ufeff{}\r\n", "{}", "{}\u2028", "\u00a0{} ", "{}\x0b\x0c"]
)
def test_what_files_and_editors_put_around_a_key_is_no_part_of_it(connect: Connect, fake: Fake, written: str) -> None:
    connect(key=written.format(SECRET)).info()
    assert fake.seen[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("key", [None, "", "\n", " \r\n"])
def test_an_empty_key_is_none(connect: Connect, fake: Fake, key: str | None) -> None:
    connect(key=key).info()
    assert "authorization" not in fake.seen[0].headers


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(
    "how",
    [
        {"key": f"{SECRET}\nvk_second"},
        {"key": f"{SECRET} # of the door"},
        {"key": f"{SECRET}\x00"},
        {"key": f"{SECRET}\r\nX-Admin: yes"},
        {"key": f"{SECRET}ß"},
        {"key": f"Ключ{SECRET}"},
        {"key": f"{SECRET}\u200b"},
        {"key": SECRET.encode()},
        {"key": Path(SECRET)},
        {"headers": {"Authorization": f"Bearer {SECRET}\nX: y"}},
        {"headers": {"X-API-Key": f"{SECRET}é"}},
        {"headers": {"X-API-Key": SECRET.encode()}},
        {"headers": {"X Key": SECRET}},
        {"url": f"http://door:{SECRET}@[::", "key": None},
        {"url": f"ftp://door:{SECRET}@example.org"},
        {"url": f"http://door:{SECRET}@example.org", "key": f"{SECRET}2"},
    ],
    ids=repr,
)
def test_what_is_no_key_is_refused_at_once_by_an_error_that_does_not_tell_it(client: Any, how: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)) as raised:
        client(**how)
    error: BaseException | None = raised.value
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    while error is not None:  # tools that report errors follow what tracebacks hide
        assert SECRET not in f"{error!r} {error.args!r} {getattr(error, 'object', '')!r}"
        error = error.__cause__ or error.__context__


def test_a_line_break_at_the_end_of_another_header_is_none_of_it(connect: Connect, fake: Fake) -> None:
    connect(headers={"X-Team": "doors\n"}).info()
    assert fake.seen[0].headers["x-team"] == "doors"


def test_nothing_that_is_said_of_a_client_tells_its_key(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    def failing(request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError(f"Illegal header value b'{request.headers['authorization']}'")

    caplog.set_level(logging.DEBUG)
    with Client(f"http://door:{SECRET}@fake", transport=httpx.MockTransport(fake)) as client:
        client.info()
        assert fake.seen[0].headers["authorization"].startswith("Basic ")
        assert SECRET not in f"{client!r} {client} {client.url} {vars(client)!r}"
    with Client("http://fake", key=SECRET, transport=httpx.MockTransport(failing)) as client:
        assert SECRET not in f"{client!r} {client} {vars(client)!r}"
        with pytest.raises(NoAnswer) as raised:
            client.info()
    told = "".join(traceback.format_exception(raised.value))
    assert SECRET not in told and "was not asked" in str(raised.value)
    with Client("http://127.0.0.1:9", key=SECRET, retries=Retries(patience=0)) as client:
        with pytest.raises(VisageError) as refused:
            client.info()
        assert SECRET not in "".join(traceback.format_exception(refused.value))
    assert SECRET not in caplog.text
    assert repr(AsyncClient("http://fake", key=SECRET)) == "AsyncClient('http://fake')"
