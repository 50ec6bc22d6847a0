"""WebP: metadata that are broken cost no pixel; every size in the file is judged."""

import struct

import pytest

from tests.images.pictures import DECODER, RGB, UPRIGHT, pil, shows
from visage.errors import ImageTooLarge, ImageUndecodable

LOSSLESS = pil(RGB, "WEBP", lossless=True)
EXTENDED = pil(RGB, "WEBP", lossless=True, icc_profile=bytes(200), xmp=b"<x/>")
EXIF_6 = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def canvas(width: int, height: int, flags: int = 8) -> bytes:
    return chunk(
        b"VP8X", struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )


@pytest.mark.parametrize("start", [b"", b"Exif\0\0"])
def test_exif_turns_the_picture(start: bytes) -> None:
    data = riff(canvas(96, 64), LOSSLESS[12:], chunk(b"EXIF", start + EXIF_6))

    assert shows(DECODER.decode(data), UPRIGHT[6](RGB), 0)


@pytest.mark.parametrize("body", [b"", b"x", b"II*\0", EXIF_6[:12], b"\xff" * 40])
@pytest.mark.parametrize("name", [b"EXIF", b"XMP ", b"ICCP", b"zzzz"])
def test_broken_metadata_cost_no_pixel(name: bytes, body: bytes) -> None:
    assert shows(DECODER.decode(riff(canvas(96, 64), LOSSLESS[12:], chunk(name, body))), RGB, 0)


@pytest.mark.parametrize(
    "data",
    [
        riff(canvas(16_000, 16_000), LOSSLESS[12:]),
        riff(canvas(96, 64), chunk(b"VP8L", b"\x2f" + struct.pack("<I", 16_000 - 1 | (16_000 - 1) << 14) + bytes(20))),
        riff(chunk(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 16_000, 16_000) + bytes(20))),
        riff(canvas(96, 64, 2), chunk(b"ANMF", bytes(6) + b"\x7f\x3e\0" * 2 + bytes(4))),
    ],
    ids=["canvas", "lossless", "lossy", "frame"],
)
def test_every_size_in_the_file_is_judged(data: bytes) -> None:
    with pytest.raises(ImageTooLarge, match="16000×16000"):
        DECODER.decode(data)


@pytest.mark.parametrize("data", [riff(), riff(chunk(b"VP8X", b"")), EXTENDED[:30], LOSSLESS[: len(LOSSLESS) // 2]])
def test_what_has_no_picture_is_broken(data: bytes) -> None:
    with pytest.raises(ImageUndecodable, match="the WebP data is broken or cut short"):
        DECODER.decode(data)


def test_a_file_of_nothing_but_chunks_is_given_up() -> None:
    with pytest.raises(ImageUndecodable):
        DECODER.decode(riff(chunk(b"zzzz", b"") * 200_000))
