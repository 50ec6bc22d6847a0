"""Downloads from a server that behaves badly."""

import email.utils
import json
import random
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import tenacity.nap

from tests.zoo.bad_server import (
    Answer,
    BadServer,
    Exchange,
    drip,
    endless,
    gzipped,
    hang,
    page,
    partial,
    redirect,
    status,
    whole,
)
from visage.errors import DownloadFailed
from visage.zoo import download as download_module
from visage.zoo.download import Request, WebPage, download
from visage.zoo.patience import Patience

DATA = random.Random(1).randbytes(100_000)
OTHER = random.Random(2).randbytes(100_000)

# Tried again at once; but what it takes for silence is longer than any thread of a busy machine is held back.
QUICK = Patience(connect=60, silence=60, slowest=1, window=600, attempts=3, first_pause=0.001, longest_pause=0.01)


class Told:
    """A meter that keeps what it is told."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, int | None]] = []

    def __call__(self, done: int, total: int | None, /) -> None:
        self.marks.append((done, total))


def fetch(url: str, folder: Path, patience: Patience = QUICK, most: int | None = None, identity: str = "") -> bytes:
    into = folder / "file"
    download(Request(url, most, identity), into, Told(), patience)
    assert [entry.name for entry in folder.iterdir()] == ["file"]  # no leftovers
    return into.read_bytes()


def fails(url: str, folder: Path, patience: Patience = QUICK, most: int | None = None) -> str:
    """Why it does not come; nothing is taken for the file then."""
    with pytest.raises(DownloadFailed) as caught:
        fetch(url, folder, patience, most)
    assert not (folder / "file").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def part(folder: Path) -> Path:
    return folder / "file.part"


def cut(at: int, **how: Any) -> Answer:
    return whole(DATA, until=at, **how)


# -- lines that drop ----------------------------------------------------------------------------------------------


def test_a_download_that_breaks_off_goes_on_from_there(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/a", cut(50_000), whole(DATA))

    assert fetch(url, tmp_path) == DATA
    assert [(seen.range, seen.if_range) for seen in server.log] == [(None, None), ("bytes=50000-", '"v1"')]


def test_a_line_that_drops_often_but_each_time_further_gets_there(server: BadServer, tmp_path: Path) -> None:
    stops = [10_000 * n for n in range(1, 10)]  # three times as often as there are attempts
    url = server.at("/a", *map(cut, stops), whole(DATA))

    assert fetch(url, tmp_path) == DATA
    assert server.ranges() == [None, *(f"bytes={stop}-" for stop in stops)]


def test_every_byte_that_came_before_a_drop_counts(server: BadServer, tmp_path: Path) -> None:
    """However small the pieces: what waits in a buffer is lost with the line."""
    url = server.at("/a", cut(1), cut(2), cut(3), cut(4), cut(5), whole(DATA))

    assert fetch(url, tmp_path) == DATA
    assert server.ranges() == [None, *(f"bytes={n}-" for n in range(1, 6))]


def test_a_line_that_drops_at_the_same_byte_ends_after_the_attempts(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/a", cut(50_000))

    assert "50000" in fails(url, tmp_path)
    assert server.ranges() == [None, "bytes=50000-", "bytes=50000-"]


def test_drops_at_changing_places_without_a_version_end_too(server: BadServer, tmp_path: Path) -> None:
    """Without resuming, further than last time is no progress: only further than ever is."""
    up_and_down = [cut(60_000, etag=None), cut(40_000, etag=None)] * 20
    url = server.at("/a", *up_and_down)
    fails(url, tmp_path)

    assert len(server.log) == QUICK.attempts


def test_a_download_is_resumed_by_a_later_call(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/a", cut(30_000))
    fails(url, tmp_path)
    assert part(tmp_path).read_bytes() == DATA[:30_000]
    del server.log[:]
    server.at("/a", whole(DATA))

    assert fetch(url, tmp_path) == DATA
    assert server.ranges() == ["bytes=30000-"]


def test_what_is_left_of_another_address_is_not_gone_on_with(server: BadServer, tmp_path: Path) -> None:
    fails(server.at("/a", cut(30_000)), tmp_path)
    del server.log[:]

    assert fetch(server.at("/b", whole(OTHER)), tmp_path) == OTHER
    assert server.ranges() == [None]


def test_an_identity_stands_for_an_address_that_changes(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/a", cut(30_000))
    with pytest.raises(DownloadFailed):
        fetch(url + "?uuid=1", tmp_path, identity="the file")
    del server.log[:]
    server.at("/a", whole(DATA))

    assert fetch(url + "?uuid=2", tmp_path, identity="the file") == DATA
    assert server.ranges() == ["bytes=30000-"]


@pytest.mark.parametrize("note", [None, "", "[]", "{}", '{"of": 5}', '{"of": "URL"}', '{"of": "URL", "version": null}'])
def test_a_part_without_a_note_that_is_whole_is_begun_anew(server: BadServer, tmp_path: Path, note: str | None) -> None:
    url = server.at("/a", whole(DATA))
    part(tmp_path).write_bytes(OTHER[:500])
    if note is not None:
        (tmp_path / "file.part.json").write_text(note.replace("URL", url))

    assert fetch(url, tmp_path) == DATA
    assert server.ranges() == [None]


# -- versions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_a_version_a_download_begins_anew_and_is_never_glued(
    server: BadServer, tmp_path: Path, etag: str | None
) -> None:
    def other(exchange: Any) -> None:
        assert exchange.seen.range is None
        whole(OTHER, etag=etag)(exchange)

    assert fetch(server.at("/a", cut(50_000, etag=etag), other), tmp_path) == OTHER
    assert server.ranges() == [None, None]


def test_a_date_is_a_version_too(server: BadServer, tmp_path: Path) -> None:
    date = "Tue, 03 Mar 2026 10:00:00 GMT"
    rest = partial(DATA, 50_000, ETag="", Last_Modified=date)
    url = server.at("/a", cut(50_000, etag=None, Last_Modified=date), rest)

    assert fetch(url, tmp_path) == DATA
    assert (server.log[1].range, server.log[1].if_range) == ("bytes=50000-", date)


def test_a_file_that_changed_between_two_tries_comes_whole(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/a", cut(50_000), whole(OTHER[:-7], etag='"v2"'))

    assert fetch(url, tmp_path) == OTHER[:-7]


def test_a_server_that_goes_on_with_another_version_is_not_believed(server: BadServer, tmp_path: Path) -> None:
    """It heeds Range and not If-Range."""
    url = server.at("/a", cut(50_000), whole(OTHER, etag='"v2"', strict=False))

    assert fetch(url, tmp_path) == OTHER
    assert server.ranges() == [None, "bytes=50000-", None]


def test_a_refused_range_begins_anew(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/a", cut(50_000), status(416), whole(DATA))

    assert fetch(url, tmp_path) == DATA
    assert server.ranges() == [None, "bytes=50000-", None]


def test_a_416_to_a_request_without_a_range_is_a_refusal(server: BadServer, tmp_path: Path) -> None:
    assert "416" in fails(server.at("/a", status(416)), tmp_path)
    assert len(server.log) == 1


@pytest.mark.parametrize("first", [0, 49_999, 50_001])
def test_a_part_from_another_place_is_not_glued(server: BadServer, tmp_path: Path, first: int) -> None:
    url = server.at("/a", cut(50_000), partial(DATA, first), whole(DATA))

    assert fetch(url, tmp_path) == DATA
    assert server.ranges() == [None, "bytes=50000-", None]


def test_a_part_that_does_not_say_from_where_is_not_glued(server: BadServer, tmp_path: Path) -> None:
    silent = status(206, DATA[50_000:], ETag='"v1"')

    assert fetch(server.at("/a", cut(50_000), silent, whole(DATA)), tmp_path) == DATA


def test_a_server_that_hands_out_less_than_the_rest_is_asked_for_more(server: BadServer, tmp_path: Path) -> None:
    """A 206 of some of the rest is complete by its Content-Length, and is not the end of the file."""
    url = server.at("/a", cut(50_000), partial(DATA, 50_000, 69_999), partial(DATA, 70_000))

    assert fetch(url, tmp_path) == DATA
    assert server.ranges() == [None, "bytes=50000-", "bytes=70000-"]


def test_a_part_that_is_whole_already_is_not_made_longer(server: BadServer, tmp_path: Path) -> None:
    """The process died before the last rename."""
    url = server.at("/a", whole(DATA))
    part(tmp_path).write_bytes(DATA)
    (tmp_path / "file.part.json").write_text(json.dumps({"of": url, "version": '"v1"'}))

    assert fetch(url, tmp_path) == DATA


# -- lengths ------------------------------------------------------------------------------------------------------


def test_fewer_bytes_than_were_announced_are_no_file(server: BadServer, tmp_path: Path) -> None:
    fails(server.at("/a", whole(DATA, length=len(DATA) + 10)), tmp_path)


def test_what_comes_after_the_announced_length_is_not_read(server: BadServer, tmp_path: Path) -> None:
    assert fetch(server.at("/a", whole(DATA, length=1000)), tmp_path) == DATA[:1000]


def test_an_announced_length_beyond_what_is_expected_ends_it_before_a_byte(server: BadServer, tmp_path: Path) -> None:
    said = fails(server.at("/a", whole(DATA)), tmp_path, most=99_999)

    assert "100000 bytes" in said and "99999 are expected" in said
    assert not part(tmp_path).exists() and len(server.log) == 1


def test_more_bytes_than_are_expected_end_it_and_leave_nothing(server: BadServer, tmp_path: Path) -> None:
    assert "more than the 1000 bytes" in fails(server.at("/a", endless(DATA)), tmp_path, most=1000)
    assert list(tmp_path.iterdir()) == [] and len(server.log) == 1


@pytest.mark.parametrize("data", [DATA, b""])
def test_a_file_of_unknown_length_ends_with_the_connection(server: BadServer, tmp_path: Path, data: bytes) -> None:
    assert fetch(server.at("/a", endless(data)), tmp_path, most=len(DATA)) == data


def test_bytes_that_are_compressed_unasked_are_those_of_the_file(server: BadServer, tmp_path: Path) -> None:
    meter = Told()
    download(Request(server.at("/a", gzipped(b"0" * 50_000)), 50_000), tmp_path / "file", meter, QUICK)

    assert (tmp_path / "file").read_bytes() == b"0" * 50_000
    assert meter.marks[-1] == (50_000, None)


def test_compressed_bytes_that_break_off_are_not_resumed(server: BadServer, tmp_path: Path) -> None:
    import gzip

    packed = gzip.compress(DATA)
    cut_off = whole(packed, until=len(packed) // 2, Content_Encoding="gzip")
    assert fetch(server.at("/a", cut_off, whole(DATA)), tmp_path) == DATA
    assert server.ranges() == [None, None]


def test_compressed_bytes_that_are_damaged_are_a_failure(server: BadServer, tmp_path: Path) -> None:
    fails(server.at("/a", status(200, b"no gzip", Content_Encoding="gzip")), tmp_path)


def test_it_asks_for_bytes_as_they_are(server: BadServer, tmp_path: Path) -> None:
    asked: list[str | None] = []

    def noting(exchange: Any) -> None:
        asked.append(exchange.handler.headers.get("Accept-Encoding"))
        whole(DATA)(exchange)

    fetch(server.at("/a", noting), tmp_path)
    assert asked == ["identity"]


def test_the_meter_hears_of_the_whole_file_also_when_resumed(server: BadServer, tmp_path: Path) -> None:
    meter = Told()
    download(Request(server.at("/a", cut(50_000), whole(DATA))), tmp_path / "file", meter, QUICK)

    assert meter.marks[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in meter.marks] == sorted(done for done, _ in meter.marks)
    assert {total for _, total in meter.marks} == {len(DATA)}


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 204])
def test_a_refusal_is_not_asked_again(server: BadServer, tmp_path: Path, code: int) -> None:
    assert f"HTTP {code}" in fails(server.at("/a", status(code)), tmp_path)
    assert len(server.log) == 1


@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_a_server_that_is_busy_is_asked_again(server: BadServer, tmp_path: Path, code: int) -> None:
    assert fetch(server.at("/a", status(code), whole(DATA)), tmp_path) == DATA


def test_a_server_that_stays_busy_is_asked_as_often_as_is_allowed(server: BadServer, tmp_path: Path) -> None:
    assert "503" in fails(server.at("/a", status(503)), tmp_path)
    assert len(server.log) == QUICK.attempts


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What it would have slept."""
    slept: list[float] = []
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=slept.append))
    return slept


@pytest.mark.parametrize(
    ("said", "low", "high"), [("7", 7, 7), ("0", 0, 0), ("3600", 60, 60), ("soon", 1, 1), ("", 1, 1)]
)
def test_it_waits_as_long_as_the_server_asks_within_reason(
    server: BadServer, tmp_path: Path, pauses: list[float], said: str, low: float, high: float
) -> None:
    url = server.at("/a", status(429, Retry_After=said), whole(DATA))

    assert fetch(url, tmp_path, Patience()) == DATA
    assert len(pauses) == 1 and low <= pauses[0] <= high


@pytest.mark.parametrize(("ahead", "pause"), [(20, 20), (-20, 0)])
def test_it_waits_until_the_date_that_the_server_names(
    server: BadServer, tmp_path: Path, pauses: list[float], ahead: float, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr(download_module, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))
    date = email.utils.formatdate(now + ahead, usegmt=True)

    assert fetch(server.at("/a", status(503, Retry_After=date), whole(DATA)), tmp_path, Patience()) == DATA
    assert pauses == [pause]


def test_it_waits_longer_each_time(server: BadServer, tmp_path: Path, pauses: list[float]) -> None:
    fails(server.at("/a", status(500)), tmp_path, Patience())

    assert pauses == [1, 2, 4, 8]


def test_a_redirect_is_followed_and_resumed(server: BadServer, tmp_path: Path) -> None:
    there = server.at("/there", cut(50_000), whole(DATA))

    assert fetch(server.at("/a", redirect(there)), tmp_path) == DATA
    assert [(seen.target, seen.range) for seen in server.log[-2:]] == [
        ("/a", "bytes=50000-"),
        ("/there", "bytes=50000-"),
    ]


def test_a_redirect_out_of_https_is_refused() -> None:
    secure, plain = (httpx.Request("GET", f"{scheme}://example.test/a") for scheme in ("https", "http"))
    hop = httpx.Response(302, request=secure)
    with pytest.raises(DownloadFailed, match="from https to http"):
        download_module._refuse(httpx.Response(200, request=plain, history=[hop]))
    download_module._refuse(httpx.Response(200, request=secure, history=[httpx.Response(302, request=plain)]))


def test_a_circle_of_redirects_is_told(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/a", redirect("/b"))
    server.at("/b", redirect("/a"))

    assert "redirects without end" in fails(url, tmp_path)
    assert len(server.log) == 11


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/a", "file:///etc/passwd", "http://[broken/"])
def test_a_redirect_to_somewhere_else_than_the_web_is_a_failure(server: BadServer, tmp_path: Path, to: str) -> None:
    fails(server.at("/a", redirect(to)), tmp_path)


def test_a_web_page_is_no_file(server: BadServer, tmp_path: Path) -> None:
    url = server.at("/a", page("<html>Please log in</html>"))
    with pytest.raises(WebPage, match="web page") as caught:
        fetch(url, tmp_path)
    assert caught.value.text == "<html>Please log in</html>"
    assert list(tmp_path.iterdir()) == [] and len(server.log) == 1


def test_nobody_at_the_address_is_tried_again_and_told(tmp_path: Path) -> None:
    with socket.socket() as taken:  # and so nobody else's meanwhile, but nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        assert "refused" in fails(f"http://127.0.0.1:{port}/a", tmp_path)


# -- slowness -----------------------------------------------------------------------------------------------------


def test_a_server_that_falls_silent_is_told_and_gone_on_with(server: BadServer, tmp_path: Path) -> None:
    quick = Patience(silence=0.3, attempts=2, first_pause=0.001)

    assert "fell silent" in fails(server.at("/never", hang), tmp_path, quick)

    def silent_at_half(exchange: Exchange) -> None:
        """Until that much has come: a busy machine may be silent before."""
        came = part(tmp_path).exists() and part(tmp_path).stat().st_size >= 50_000
        (whole(DATA) if came else cut(50_000, then=hang))(exchange)

    patient = Patience(silence=0.5, attempts=50, first_pause=0.001, longest_pause=0.01)
    assert fetch(server.at("/a", silent_at_half), tmp_path, patient) == DATA
    assert "bytes=50000-" in server.ranges()


def test_a_drip_is_given_up_although_it_comes_further(server: BadServer, tmp_path: Path) -> None:
    quick = Patience(slowest=100_000, window=0.05, attempts=3, first_pause=0.001)
    url = server.at("/a", drip(DATA, 100, 0.05))

    assert "slower than 97.7 KiB a second" in fails(url, tmp_path, quick)
    assert len(server.log) == 3
    assert [seen.range is None for seen in server.log] == [True, False, False]


def test_a_line_that_is_slow_for_a_moment_is_not_given_up(server: BadServer, tmp_path: Path) -> None:
    quick = Patience(slowest=1000, window=0.02, attempts=1)

    assert fetch(server.at("/a", drip(DATA, 20_000, 0.01)), tmp_path, quick) == DATA


# -- the disk -----------------------------------------------------------------------------------------------------


def test_a_disk_without_room_is_told_before_it_is_full(
    server: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visage.zoo.part.shutil.disk_usage", lambda _: SimpleNamespace(free=99_999))
    with pytest.raises(OSError, match=r"No space left on device for 0\.1 MB"):
        fetch(server.at("/a", whole(DATA)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_until_the_new_file_is_whole(server: BadServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(DownloadFailed):
        fetch(server.at("/a", cut(50_000)), tmp_path)
    assert (tmp_path / "file").read_bytes() == b"old"
    part(tmp_path).unlink()
    server.at("/a", whole(DATA))

    assert fetch(f"http://127.0.0.1:{server.port}/a", tmp_path) == DATA
