"""PNG: a flaw in a chunk that pixels do not need costs no pixel."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.damage import by_opencv, quiet
from tests.images.pictures import DECODER, HEIGHT, RGB, UPRIGHT, WIDTH, pil, shows
from visage.errors import ImageTooLarge, ImageUndecodable, UnsupportedFormat

START = b"\x89PNG\r\n\x1a\n"
PLAIN = pil(RGB, "PNG")
PALETTE = pil(RGB[..., 0], "PNG", mode="P")
EXIF_6 = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
CUT = ("the PNG is cut short behind its last pixel",)


def chunk(name: bytes, body: bytes, *, crc: int = 0, length: int = 0) -> bytes:
    """`crc` is added to the right checksum, `length` to the right length."""
    check = (zlib.crc32(name + body) + crc) & 0xFFFFFFFF
    return struct.pack(">I", len(body) + length) + name + body + struct.pack(">I", check)


def with_chunks(*chunks: bytes, data: bytes = PLAIN, last: bool = False) -> bytes:
    """The file with these behind its header, or before its end."""
    at = len(data) - 12 if last else len(START) + 25
    return data[:at] + b"".join(chunks) + data[at:]


# Every kind of chunk that may be missing, with a body that the standard allows.
ANCILLARY: dict[bytes, bytes] = {
    b"bKGD": struct.pack(">HHH", 1, 2, 3),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    b"cICP": b"\1\x0d\0\1",
    b"eXIf": EXIF_6[:8] + bytes(6),
    b"gAMA": struct.pack(">I", 45455),
    b"hIST": bytes(6),
    b"iCCP": b"a profile\0\0" + zlib.compress(bytes(400)),
    b"iTXt": b"Comment\0\0\0en\0Comment\0a text",
    b"mDCV": bytes(24),
    b"oFFs": bytes(9),
    b"pCAL": b"x\0" + bytes(10),
    b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
    b"sBIT": b"\x08\x08\x08",
    b"sCAL": b"\x01" + b"1\x002",
    b"sPLT": b"x\0\x08" + bytes(6),
    b"sRGB": b"\0",
    b"tEXt": b"Comment\0a text",
    b"tIME": struct.pack(">HBBBBB", 2020, 1, 1, 0, 0, 0),
    b"tRNS": struct.pack(">HHH", 1, 2, 3),
    b"zTXt": b"Comment\0\0" + zlib.compress(b"a text"),
    b"prVt": b"someone's own",
    b"acTL": struct.pack(">II", 1, 0),
}
HARMS = {
    "wrong checksum": lambda name, body: chunk(name, body, crc=1),
    "empty": lambda name, body: chunk(name, b""),
    "short": lambda name, body: chunk(name, body[: len(body) // 2]),
    "long": lambda name, body: chunk(name, body + bytes(7)),
    "nonsense": lambda name, body: chunk(name, bytes(range(1, len(body) + 1))),
    "twice": lambda name, body: chunk(name, body) * 2,
    "sound": chunk,
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ANCILLARY, ids=bytes.decode)
def test_a_flaw_in_a_chunk_that_may_be_missing_costs_no_pixel(name: bytes, harm: str) -> None:
    harmed = HARMS[harm](name, ANCILLARY[name])
    for last in (False, True):
        assert shows(DECODER.decode(with_chunks(harmed, last=last)), RGB, 0)


@pytest.mark.parametrize("size", [2, 20])
@pytest.mark.parametrize("name", [b"iCCP", b"zTXt", b"iTXt"])
def test_megabytes_of_text_or_profile_are_not_unpacked(name: bytes, size: int) -> None:
    packed = zlib.compress(bytes(size * 2**20), 9)
    body = {b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0", b"zTXt": b"Comment\0\0", b"iCCP": b"a profile\0\0"}[name] + packed

    image = DECODER.decode(with_chunks(chunk(name, body)))
    assert shows(image, RGB, 0) and image.warnings == ()


def test_a_long_text_is_read_past() -> None:
    assert shows(DECODER.decode(with_chunks(chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000))), RGB, 0)


@pytest.mark.parametrize("missing", [1, 4, 11, 12, 13, 16, 20])
@pytest.mark.parametrize("data", [PLAIN, PALETTE], ids=["colours", "palette"])
def test_a_file_whose_end_is_missing_but_no_pixel_is_read_with_a_word(data: bytes, missing: int) -> None:
    image = DECODER.decode(data[:-missing])

    assert np.array_equal(image.pixels, DECODER.decode(data).pixels) and image.warnings == CUT


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_file_that_lacks_pixels_is_broken(kept: float) -> None:
    with pytest.raises(ImageUndecodable, match="the PNG data is broken or cut short") as caught:
        DECODER.decode(PLAIN[: int(len(PLAIN) * kept)])
    assert caught.value.__notes__


def test_a_critical_chunk_that_nobody_knows_costs_a_word() -> None:
    """Pillow shows such a picture, OpenCV does not (ISO/IEC 15948, 5.4: it may be meant otherwise)."""
    image = DECODER.decode(with_chunks(chunk(b"FOOO", b"")))

    assert shows(image, RGB, 0)
    assert image.warnings == ("the PNG has a part that is not known here; it may be meant to look otherwise",)


def test_a_png_of_xcode_is_a_kind_that_is_not_read() -> None:
    with pytest.raises(UnsupportedFormat, match="CgBI"):
        DECODER.decode(START + chunk(b"CgBI", bytes(4)) + PLAIN[len(START) :])


def test_a_file_of_nothing_but_chunks_is_given_up() -> None:
    with pytest.raises(ImageUndecodable):
        DECODER.decode(START + chunk(b"tEXt", b"") * 250_000)


# -- orientation --------------------------------------------------------------------------------------------------


def _profile(name: bytes, keyword: bytes) -> bytes:
    text = b"\nexif\n%8d\n" % (len(EXIF_6) + 6) + (b"Exif\0\0" + EXIF_6).hex().encode() + b"\n"
    match name:
        case b"zTXt":
            return chunk(name, keyword + b"\0\0" + zlib.compress(text))
        case b"iTXt":
            return chunk(name, keyword + b"\0\1\0\0\0" + zlib.compress(text))
        case _:
            return chunk(name, keyword + b"\0" + text)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "block",
    [
        chunk(b"eXIf", EXIF_6),
        chunk(b"eXIf", b"Exif\0\0" + EXIF_6),
        *(_profile(name, b"Raw profile type exif") for name in (b"tEXt", b"zTXt", b"iTXt")),
        _profile(b"zTXt", b"Raw profile type APP1"),
    ],
    ids=["eXIf", "eXIf, named twice", "tEXt", "zTXt", "iTXt", "APP1"],
)
def test_exif_turns_the_picture_wherever_it_stands(block: bytes, last: bool) -> None:
    image = DECODER.decode(with_chunks(block, last=last))

    assert shows(image, UPRIGHT[6](RGB), 0) and image.warnings == ()


def test_a_damaged_exif_chunk_turns_nothing_and_is_told() -> None:
    image = DECODER.decode(with_chunks(chunk(b"eXIf", EXIF_6, crc=1)))

    assert shows(image, RGB, 0)
    assert image.warnings == ("the PNG's EXIF block is damaged and was not used; the picture may not be upright",)


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"\nexif\n", b"\nexif\n 8\nnot digits", b"\nexif\n 8\n4", b"\0\1\0", b"\xff\xfe"]
)
@pytest.mark.parametrize("name", [b"tEXt", b"zTXt", b"iTXt"])
def test_a_profile_that_cannot_be_read_costs_the_turn_and_not_the_picture(name: bytes, body: bytes) -> None:
    assert shows(DECODER.decode(with_chunks(chunk(name, b"Raw profile type exif\0" + body))), RGB, 0)


# -- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1])
def test_whatever_any_header_in_the_file_says_is_judged(place: int) -> None:
    sizes = [(WIDTH, HEIGHT), (WIDTH, HEIGHT)]
    sizes[place] = (20_000, 20_000)
    headers = b"".join(chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)) for size in sizes)
    with pytest.raises(ImageTooLarge, match="20000×20000"):
        DECODER.decode(START + headers + PLAIN[len(START) + 25 :])


@given(st.binary(max_size=80), st.sampled_from(sorted(ANCILLARY)), st.integers(-20, 20), st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_opencv_reads_in_spite_of_a_chunk_is_read(body: bytes, name: bytes, length: int, last: bool) -> None:
    data = with_chunks(chunk(name, body, length=max(length, -len(body))), last=last)
    with quiet():
        seen = by_opencv(data)
    if seen is None or not np.array_equal(seen[..., ::-1], RGB):
        return
    image = DECODER.decode(data)

    assert shows(image, RGB, 0) or image.warnings


def test_the_shared_cases_are_read_to_the_pixel(cases: Path) -> None:
    for name in ("png_badcrc_text.png", "png_itxt_2mb_z.png", "png_phys_short.png"):
        data = (cases / name).read_bytes()
        with quiet():
            seen = by_opencv(data)
        image = DECODER.decode(data)
        assert seen is not None and np.array_equal(image.pixels, seen) and image.warnings == (), name
