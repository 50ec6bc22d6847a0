"""Content codings: undone whole and in pieces, within limits, and refused where they are not what they say."""

import gzip
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.codings import CODINGS, Broken, TooLarge, UnknownCoding, Unpacker, begins_as, codings_of, unpack

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip in two members": ("gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
    "gzip, filled up": ("gzip", lambda data: gzip.compress(data) + bytes(100)),
    "deflate": ("deflate", zlib.compress),
    "deflate without a frame": ("deflate", raw_deflate),
    "br": ("br", lambda data: brotli.compress(data, quality=3)),
    "zstd": ("zstd", zstd.compress),
    "zstd in two frames": ("zstd", lambda data: zstd.compress(data[:5]) + zstd.compress(data[5:])),
}
CASES = pytest.mark.parametrize(("coding", "pack"), PACKERS.values(), ids=PACKERS.keys())
DATA = random.Random(1).randbytes(40_000) + bytes(700_000) + b"the end"


def unpacked(codings: list[str], packed: bytes, step: int, most: int | None = None) -> bytes:
    unpacker, pieces = Unpacker(codings, most), []
    for start in range(0, len(packed), step):
        pieces += unpacker.feed(packed[start : start + step])
    unpacker.finish()
    return b"".join(pieces)


@CASES
@pytest.mark.parametrize("step", [1, 7, 5000, 10**7])
def test_what_was_packed_comes_out(coding: str, pack: Callable[[bytes], bytes], step: int) -> None:
    assert unpacked([coding], pack(DATA), step) == DATA
    assert unpacked([coding], pack(b""), step) == b""
    assert unpacked([coding], b"", step) == b""


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted(PACKERS)), max_size=4), st.integers(1, 3000))
def test_codings_are_undone_in_reverse(data: bytes, chosen: list[str], step: int) -> None:
    packed, names = data, []
    for one in chosen:
        coding, pack = PACKERS[one]
        packed, names = pack(packed), [*names, coding]
    assert unpacked(names, packed, step) == data


@pytest.mark.parametrize("size", [2**18 - 1, 2**18, 2**18 + 1, 2**19, 3 * 2**18])
@CASES
def test_where_a_step_ends_nothing_is_lost(coding: str, pack: Callable[[bytes], bytes], size: int) -> None:
    for data in (bytes(size), random.Random(size).randbytes(size)):
        assert unpack(pack(data), coding, size) == data
        with pytest.raises(TooLarge, match=str(size - 1)):
            unpack(pack(data), coding, size - 1)


@CASES
def test_what_is_cut_or_damaged_is_refused(coding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(DATA).rstrip(b"\0") if coding == "gzip" else pack(DATA)
    for bad in (packed[:1], packed[: len(packed) // 2], packed[:-9], packed + b"junk", b"\xff\xd8\xff\xe0" + packed):
        with pytest.raises(Broken, match=coding):
            unpack(bad, coding, 10**7)


@CASES
def test_a_bomb_costs_no_memory(coding: str, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(64 * 2**20))
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            unpack(bomb, coding, 2**20)
        assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
    finally:
        tracemalloc.stop()


def test_a_bomb_within_another_is_stopped_between_the_two() -> None:
    """The inner data is nothing but empty members, which unpack to nothing at all."""
    bomb = gzip.compress(gzip.compress(b"") * 500_000)
    with pytest.raises(TooLarge):
        unpacked(["gzip", "gzip"], bomb, 10**7, most=2**20)


def test_a_window_larger_than_senders_may_use_is_refused() -> None:
    wide = zstd.compress(bytes(2**25), options={zstd.CompressionParameter.window_log: 25})
    with pytest.raises(Broken):
        unpack(wide, "zstd", 10**8)


@pytest.mark.parametrize(
    ("header", "codings"),
    [
        ("", ()),
        ("identity", ()),
        ("UTF-8", ()),
        ("gzip", ("gzip",)),
        ("X-GZIP", ("gzip",)),
        (" GZip ,, identity, br", ("gzip", "br")),
        ("deflate,zstd,gzip", ("deflate", "zstd", "gzip")),
    ],
)
def test_a_header_names_codings(header: str, codings: tuple[str, ...]) -> None:
    assert codings_of(header) == codings


@pytest.mark.parametrize("header", ["compress", "gzip, lz4", "*", "gzip;q=1", "aws-chunked", ", ".join(["gzip"] * 6)])
def test_what_is_not_undone_is_named(header: str) -> None:
    with pytest.raises(UnknownCoding) as told:
        codings_of(header)
    assert all(name in str(told.value) for name in CODINGS) or "at most 5" in str(told.value)


def test_how_data_begins() -> None:
    assert begins_as("gzip", gzip.compress(b"")) and begins_as("zstd", zstd.compress(b"")) and begins_as("br", b"x")
    assert not begins_as("gzip", b"\xff\xd8") and not begins_as("zstd", b"\x89PNG") and not begins_as("gzip", b"\x1f")
