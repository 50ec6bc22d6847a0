"""Requests with a Content-Encoding, on every kind of route."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import brotli
import ormsgpack
import pytest

from tests.api.v1.test_bulk import Threefold
from tests.galleries import gallery_client
from tests.support import Client, b64, constant_client
from tests.test_codings import CASES, raw_deflate, zstd
from tests.wire import PHOTO, PROBLEM, Message, called, constant_app, opened
from visage.codings import CODINGS

MOST = 100_000
PATHS = ["/extract", "/draw_detections", "/v1/detect", "/v1/embeddings"]
FORM = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with constant_client(MAX_BODY_BYTES=str(MOST)) as client:
        yield client


def packed(coding: str) -> dict[str, str]:
    return {"content-encoding": coding}


def form() -> bytes:
    part = b'Content-Disposition: form-data; name="files"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return b"--b\r\n" + part + PHOTO + b"\r\n--b--\r\n"


BODIES = {
    "json": ("/extract", "application/json", json.dumps({"images": {"data": [b64(PHOTO)]}}).encode()),
    "msgpack": ("/extract", "application/msgpack", ormsgpack.packb({"images": {"data": [PHOTO]}})),
    "picture": ("/extract", "image/jpeg", PHOTO),
    "octets": ("/extract", "application/octet-stream", PHOTO),
    "form": ("/multipart/extract", FORM, form()),
}


@CASES
@pytest.mark.parametrize("kind", BODIES)
def test_a_packed_body_is_read_as_what_it_was(
    client: Client, coding: str, pack: Callable[[bytes], bytes], kind: str
) -> None:
    path, media, body = BODIES[kind]
    answer = client.post(path, content=pack(body), headers={"content-type": media, **packed(coding)})
    assert answer.status_code == 200
    assert len(answer.json()["data"][0]["faces"]) == 2


@pytest.mark.parametrize("path", ["/v1/detect", "/draw_detections"])
def test_so_it_is_on_other_routes(client: Client, path: str) -> None:
    said = {"content-type": "image/jpeg", "accept": "image/png"}
    right = client.post(path, content=PHOTO, headers=said)
    for coding, pack in (("gzip", gzip.compress), ("br", brotli.compress)):
        found = client.post(path, content=pack(PHOTO), headers=said | packed(coding))
        assert found.status_code == right.status_code == 200 and len(found.content) >= len(right.content) - 20


def test_several_codings_and_none(client: Client) -> None:
    said = {"content-type": "image/jpeg"}
    twice = client.post(
        "/extract", content=zlib.compress(gzip.compress(PHOTO)), headers=said | packed("x-gzip, Deflate")
    )
    lines = [("content-type", "image/jpeg"), ("content-encoding", "gzip"), ("content-encoding", "identity, zstd")]
    apart = client.post("/extract", content=zstd.compress(gzip.compress(PHOTO)), headers=lines)
    plain = [client.post("/extract", content=PHOTO, headers=said | packed(name)) for name in ("identity", "", "utf-8")]
    assert [len(one.json()["data"][0]["faces"]) for one in (twice, apart, *plain)] == [2] * 5


@pytest.mark.parametrize("coding", ["compress", "lz4", "gzip, snappy", ",".join(["gzip"] * 6)])
@pytest.mark.parametrize("path", [*PATHS, "/multipart/extract"])
def test_an_unknown_coding_is_refused_unread(path: str, coding: str) -> None:
    async def scenario() -> None:
        async def receive() -> Message:
            raise AssertionError("the body was read")

        async with opened(constant_app()) as app:
            sent = await called(app, path, receive, [("content-encoding", coding), ("content-type", "image/jpeg")])
        headers = dict(sent[0]["headers"])
        assert sent[0]["status"] == 415 and headers[b"content-type"] == PROBLEM.encode()
        assert headers[b"accept-encoding"] == b"gzip, deflate, br, zstd" == ", ".join(CODINGS).encode()
        told = json.loads(sent[1]["body"])
        assert told["type"] == "urn:visage:unknown-content-coding" and "Content-Encoding" in told["detail"]

    asyncio.run(scenario())


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    "body",
    [PHOTO, b"{", gzip.compress(PHOTO)[:-4], brotli.compress(PHOTO)[:-4], b"\x1f\x8b\x08junk"],
    ids=["picture", "json", "gzip cut", "br cut", "gzip broken"],
)
def test_what_is_not_packed_as_it_says_is_a_bad_request(client: Client, coding: str, body: bytes) -> None:
    ways = [("/extract", "image/jpeg"), ("/extract", "application/json"), ("/multipart/extract", FORM)]
    for path, media in ways if len(body) < 20 else ways[:2]:  # of a form that is none the first bytes are enough
        answer = client.post(path, content=body, headers={"content-type": media, **packed(coding)})
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:visage:body-broken")
        assert coding in answer.json()["detail"]
    assert client.post("/extract", content=PHOTO, headers={"content-type": "image/jpeg"}).status_code == 200


def test_an_empty_body_is_empty_whatever_it_is_called(client: Client) -> None:
    answer = client.post("/extract", content=b"", headers=packed("gzip"))
    assert answer.status_code == 422 and answer.json() == client.post("/extract", content=b"").json()


@CASES
@pytest.mark.parametrize("path", ["/extract", "/multipart/extract", "/v1/detect"])
def test_a_bomb_is_stopped_at_the_limit(client: Client, coding: str, pack: Callable[[bytes], bytes], path: str) -> None:
    bomb = pack(form()[:200] + bytes(64 * 2**20))
    for content in (bomb[:MOST], iter([bomb[:700], bomb[700:MOST]])):
        media = FORM if path.startswith("/multipart") else "image/jpeg"
        answer = client.post(path, content=content, headers={"content-type": media, **packed(coding)})
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:visage:request-too-large")
        assert str(MOST) in answer.json()["detail"]


@pytest.mark.parametrize(
    ("coding", "piece"),
    [("gzip", gzip.compress(b"")), ("zstd", zstd.compress(b"")), ("deflate", b"\0\0\0\xff\xff")],
    ids=["gzip", "zstd", "deflate"],
)
def test_what_unpacks_to_nothing_is_counted_as_it_comes(coding: str, piece: bytes) -> None:
    came = 0

    async def receive() -> Message:
        nonlocal came
        came += 1
        return {"type": "http.request", "body": piece * 100, "more_body": True}

    async def scenario() -> Sequence[Message]:
        async with opened(constant_app(MAX_BODY_BYTES=str(MOST))) as app:
            said = [("content-encoding", coding), ("content-type", "image/jpeg")]
            return await called(app, "/extract", receive, said)

    sent = asyncio.run(scenario())
    assert sent[0]["status"] == 413 and came * len(piece) * 100 < MOST + 10_000


def test_others_are_answered_while_a_bomb_is_unpacked() -> None:
    """One message that unpacks to very much, on a route without a limit to its body."""

    async def scenario() -> None:
        async with opened(constant_app(MAX_BODY_BYTES=str(2**28))) as app:
            bomb = iter([{"type": "http.request", "body": gzip.compress(bytes(2**27)), "more_body": False}])

            async def receive() -> Message:
                return next(bomb, {"type": "http.disconnect"})

            said = [("content-encoding", "gzip"), ("content-type", "image/jpeg")]
            turns, working = 0, asyncio.create_task(called(app, "/extract", receive, said))
            while not working.done():
                await asyncio.sleep(0)
                turns += 1
            assert turns > 2**27 // 2**19

    asyncio.run(scenario())


def test_a_caller_who_leaves_while_it_is_unpacked_is_let_go() -> None:
    async def scenario() -> None:
        messages = iter([{"type": "http.request", "body": gzip.compress(PHOTO)[:100], "more_body": True}])

        async def receive() -> Message:
            return next(messages, {"type": "http.disconnect"})

        async with opened(constant_app()) as app:
            assert await called(app, "/extract", receive, [("content-encoding", "gzip")]) == []
            assert app.state.visage.runtime.service.door.inside == 0

    asyncio.run(scenario())


# ---------------------------------------------------------------- streams


def rows(count: int) -> bytes:
    return b"".join(b'{"id": "p%d", "vectors": [[1, %d, 0]]}\n' % (i, i) for i in range(count))


def bulk(client: Client, content: Any, coding: str) -> list[dict[str, Any]]:
    headers = {"content-type": "application/x-ndjson", **packed(coding)}
    answer = client.post("/v1/collections/staff/bulk", content=content, headers=headers)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Client]:
    more = {"embedder": Threefold()}
    with gallery_client(tmp_path / "d", runtime=more, MAX_BODY_BYTES="2048", MAX_INFLIGHT_BYTES="4096") as client:
        client.post("/v1/collections", json={"name": "staff"})
        yield client


@CASES
def test_a_packed_stream_may_be_longer_than_a_body(
    gallery: Client, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    body = pack(rows(300))
    for content in (body, (body[i : i + 500] for i in range(0, len(body), 500))):
        last = bulk(gallery, content, coding)[-1]
        assert (last["done"], last["persons"]) == (True, 300)


def test_a_packed_stream_that_breaks_says_so_and_keeps_what_came(gallery: Client) -> None:
    body = raw_deflate(rows(1200)) + b"junk"
    last = bulk(gallery, (body[i : i + 500] for i in range(0, len(body), 500)), "deflate")[-1]
    assert last["done"] is False and last["error"]["type"] == "urn:visage:body-broken"
    assert last["persons"] > 0


def test_the_same_write_packed_otherwise_is_the_same_write(gallery: Client) -> None:
    body = json.dumps({"name": "others", "description": "x" * 100}).encode()
    key = {"idempotency-key": "k", "content-type": "application/json"}
    first = gallery.post("/v1/collections", content=gzip.compress(body), headers=key | packed("gzip"))
    again = gallery.post("/v1/collections", content=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201) and again.headers["idempotent-replay"] == "true"
