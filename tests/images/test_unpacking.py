"""Pictures that a server packed although it was asked not to, or said so of."""

import gzip
import random
import zlib
from collections.abc import Callable, Iterator

import brotli
import pytest

from tests.images.test_fetching import Web, fetch, serving
from tests.test_codings import CASES, zstd
from tests.wire import PHOTO
from visage.errors import ImageError, ImageTooLarge, ImageUnreachable

PNG = b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(500)


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


def got(web: Web, body: bytes, coding: str, limit: int = 100_000) -> bytes:
    return fetch(web.says("/a", body, headers={"Content-Encoding": coding}), limit=limit)


@CASES
def test_what_was_packed_unasked_is_unpacked(web: Web, coding: str, pack: Callable[[bytes], bytes]) -> None:
    assert got(web, pack(PHOTO), coding) == PHOTO
    assert dict(web.seen[-1][1])["Accept-Encoding"] == "identity"


@CASES
def test_a_bomb_is_stopped_at_the_limit_of_a_picture(web: Web, coding: str, pack: Callable[[bytes], bytes]) -> None:
    assert got(web, pack(bytes(5000)), coding, limit=5000) == bytes(5000)
    for size in (5001, 32 * 2**20):
        with pytest.raises(ImageTooLarge, match="5000"):
            got(web, pack(bytes(size))[:4900], coding, limit=5000)


def test_several_codings_are_undone(web: Web) -> None:
    assert got(web, brotli.compress(gzip.compress(PHOTO)), "gzip, br") == PHOTO
    assert got(web, gzip.compress(gzip.compress(PHOTO)), "x-gzip,GZIP") == PHOTO
    assert got(web, zlib.compress(PHOTO), "identity, deflate") == PHOTO


@pytest.mark.parametrize(
    "coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "gzip, br", "none", "binary", "aws-chunked"]
)
@pytest.mark.parametrize("body", [PHOTO, PNG, b"GIF89a", b""], ids=["jpeg", "png", "gif", "empty"])
def test_what_is_sent_as_it_is_under_a_wrong_name_is_taken_as_it_is(web: Web, coding: str, body: bytes) -> None:
    assert got(web, body, coding) == body


def test_what_was_packed_once_and_is_named_twice_is_unpacked_once(web: Web) -> None:
    assert got(web, gzip.compress(PHOTO), "gzip, gzip") == PHOTO
    assert got(web, zstd.compress(PHOTO), "gzip, zstd") == PHOTO


@pytest.mark.parametrize(
    ("coding", "packed"), [("gzip", gzip.compress(PHOTO)), ("zstd", zstd.compress(PHOTO))], ids=["gzip", "zstd"]
)
def test_what_is_packed_and_cut_is_told_so(web: Web, coding: str, packed: bytes) -> None:
    for body in (packed[:-20], packed[:20], packed[:200] + b"junk" + packed[200:]):
        with pytest.raises(ImageUnreachable, match=f"Content-Encoding: {coding}"):
            got(web, body, coding)


def test_an_error_is_none_of_its_body(web: Web) -> None:
    with pytest.raises(ImageError, match="404"):
        fetch(web.says("/e", gzip.compress(PHOTO), status=404, headers={"Content-Encoding": "gzip"}))
