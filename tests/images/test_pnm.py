"""Netpbm's formats: `maxval` is white, whatever it is."""

import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.damage import by_opencv
from tests.images.pictures import ALPHA, DECODER, GREY, HEIGHT, RGB, WIDTH, shows
from tests.images.tiffs import Array
from visage.errors import ImageError, ImageTooLarge, ImageUndecodable, UnsupportedFormat

BILEVEL = (GREY > 120).astype(np.uint8)
MAXVALS = [1, 2, 3, 7, 15, 100, 127, 128, 200, 254, 255, 256, 257, 1000, 1023, 4095, 16383, 32767, 65534, 65535]


def scaled(samples: Array, most: int) -> Array:
    return np.rint(samples / 255 * most).astype(np.uint16)


def raw(samples: Array, most: int) -> bytes:
    return samples.astype(np.uint8 if most < 256 else ">u2").tobytes()


def text(samples: Array, join: bytes = b" ") -> bytes:
    return join.join(b"%d" % value for value in samples.ravel())


def shown(samples: Array, most: int) -> Array:
    eight = np.rint(samples * (255 / most)).astype(np.uint8)
    return np.repeat(eight[..., None], 3, axis=-1) if eight.ndim == 2 else eight


@pytest.mark.parametrize("most", MAXVALS)
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_any_maxval_is_white_in_bytes_and_in_text(most: int, colour: bool) -> None:
    samples = scaled(RGB if colour else GREY, most)
    size = b"%d %d\n%d\n" % (WIDTH, HEIGHT, most)
    for kind, body in ((b"P6" if colour else b"P5", raw(samples, most)), (b"P3" if colour else b"P2", text(samples))):
        image = DECODER.decode(kind + b"\n" + size + body)

        assert shows(image, shown(samples, most), 1) and image.warnings == ()
        assert image.format == ("PPM" if colour else "PGM")


@pytest.mark.parametrize("most", [1, 127, 255, 4095, 65535])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_any_maxval_is_white_in_a_pam(most: int, depth: int) -> None:
    base = RGB if depth > 2 else GREY
    samples = scaled(np.dstack([base, ALPHA]) if depth in (2, 4) else base, most)
    kinds = {1: "GRAYSCALE", 2: "GRAYSCALE_ALPHA", 3: "RGB", 4: "RGB_ALPHA"}
    head = f"P7\n# a comment\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH {depth}\nMAXVAL {most}\nTUPLTYPE {kinds[depth]}\nENDHDR\n"
    colours = samples[..., : base.shape[2]] if base.ndim == 3 else samples.reshape(HEIGHT, WIDTH, -1)[..., 0]

    assert shows(DECODER.decode(head.encode() + raw(samples, most)), shown(colours, most), 1)


def test_one_bit_is_black_in_bytes_and_in_text() -> None:
    black = 1 - BILEVEL
    size = b"%d %d\n" % (WIDTH, HEIGHT)
    for data in (
        b"P4\n" + size + np.packbits(black, axis=1).tobytes(),
        b"P1\n" + size + text(black),
        b"P1\n" + size + text(black, b""),
        b"P1\n" + size + text(black, b"\n# between\n"),
    ):
        assert shows(DECODER.decode(data), np.repeat(BILEVEL[..., None] * 255, 3, axis=-1), 0)


def test_rows_of_bits_end_with_a_byte() -> None:
    bits = np.array([[1, 0, 1] * 3, [0, 1, 0] * 3], np.uint8)  # nine a row
    data = b"P4 9 2\n" + np.packbits(bits, axis=1).tobytes()

    assert (DECODER.decode(data).pixels[..., 0] == (1 - bits) * 255).all()


@pytest.mark.parametrize(
    "head",
    [
        b"P5\n96 64\n255\n",
        b"P5 96 64 255 ",
        b"P5\r\n96 64\r\n255\r",
        b"P5\n# one\n96 # two\n# three 5\n64\n255\n",
        b"P5#c\n96\t64\v255\f",
    ],
)
def test_comments_and_spaces_stand_where_they_like(head: bytes) -> None:
    assert shows(DECODER.decode(head + GREY.tobytes()), shown(GREY, 255), 0)


def test_comments_among_the_samples_of_a_text_are_none() -> None:
    data = b"P2\n96 64\n255\n" + text(GREY, b" # 7\n")

    assert shows(DECODER.decode(data), shown(GREY, 255), 0)


def test_samples_above_the_maxval_are_white() -> None:
    assert shows(DECODER.decode(b"P2 2 1 100 100 250"), np.full((1, 2, 3), 255, np.uint8), 0)


def test_the_first_of_several_pictures_is_shown() -> None:
    assert shows(DECODER.decode((b"P5 96 64 255\n" + GREY.tobytes()) * 2), shown(GREY, 255), 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("colour", [False, True])
def test_fractions_are_shown_from_0_to_1_and_their_last_row_first(order: str, colour: bool) -> None:
    base = RGB if colour else GREY
    values = (base / 255).astype(order + "f4")[::-1]
    head = b"%s\n%d %d\n%s\n" % (b"PF" if colour else b"Pf", WIDTH, HEIGHT, b"-1.0" if order == "<" else b"1.0")

    assert shows(DECODER.decode(head + values.tobytes()), shown(base, 255), 0)


def test_fractions_that_are_none_are_refused() -> None:
    with pytest.raises(UnsupportedFormat, match="floating-point samples outside"):
        DECODER.decode(b"Pf\n96 64\n-1.0\n" + GREY.astype("<f4").tobytes())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"P5\n96 64\n255\n" + bytes(96 * 64 - 1), "it is cut short"),
        (b"P5\n96 64\n256\n" + bytes(96 * 64), "it is cut short"),
        (b"P4\n96 64\n" + bytes(96 * 8 - 1), "it is cut short"),
        (b"P2\n96 64\n255\n1 2 3", "it is cut short"),
        (b"P2 2 2 9 11 22 33      ", "it is cut short"),
        (b"P1\n3 1\n10", "it is cut short"),
        (b"P1 3 1 1 2 0", "its samples are not 0 and 1"),
        (b"P2 2 1 255 1 x", "its samples are no numbers"),
        (b"P2 2 1 255 -1 0", "its samples are no numbers"),
        (b"P5 1 1 0 \0", "its largest sample is 0"),
        (b"P5 1 1 70000 \0", "its largest sample is 70000"),
        (b"P5 96", "its header ends early"),
        (b"P5 9.6 64 255\n", "its header is no header"),
        (b"P7\nWIDTH 9\nHEIGHT 9\nDEPTH 3\nENDHDR\n", "does not tell MAXVAL"),
        (b"P7\nWIDTH 9\nHEIGHT 9\nDEPTH 9\nMAXVAL 255\nENDHDR\n" + bytes(999), "it has 9 samples a pixel"),
    ],
)
def test_what_is_wrong_with_a_broken_one_is_told(data: bytes, why: str) -> None:
    with pytest.raises(ImageUndecodable, match="the PNM data is broken or cut short") as caught:
        DECODER.decode(data)
    assert why in str(caught.value)


@pytest.mark.parametrize("kind", [b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf", b"PF"])
def test_the_size_is_judged_before_it_gets_memory(kind: bytes) -> None:
    with pytest.raises(ImageTooLarge, match="100000×100000"):
        DECODER.decode(kind + b" 100000 100000 255 0")


def test_a_number_of_many_digits_is_no_size() -> None:
    with pytest.raises(ImageError):
        DECODER.decode(b"P5 " + b"9" * 5000 + b" 1 255 \0")


def test_a_large_picture_of_an_odd_maxval_takes_no_longer_than_others() -> None:
    """Pillow takes a second for each million of samples."""
    samples = np.zeros((1000, 900, 3), np.uint8)
    data = b"P6 900 1000 254\n" + samples.tobytes()
    started = time.process_time()
    DECODER.decode(data)

    assert time.process_time() - started < 0.5


@given(st.sampled_from([b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7\n", b"Pf", b"PF"]), st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_behind_its_name_are_a_picture_or_an_image_error(kind: bytes, rest: bytes) -> None:
    for data in (kind + rest, kind + b" 2 3 9 " + rest):
        try:
            image = DECODER.decode(data)
        except ImageError as error:
            assert "\n" not in str(error)
        else:
            assert image.pixels.shape[2] == 3


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 65535), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_a_maxval_of_255_is_read_as_opencv_reads_it_and_others_in_proportion(
    width: int, height: int, most: int, seed: int
) -> None:
    samples = np.random.default_rng(seed).integers(0, most + 1, (height, width, 3))
    head = struct.pack("2s", b"P6") + b" %d %d %d\n" % (width, height, most)
    image = DECODER.decode(head + raw(samples, most))

    assert np.abs(image.pixels[..., ::-1].astype(int) - samples * 255 / most).max() <= 0.51
    if most == 255:
        assert np.array_equal(image.pixels, by_opencv(head + raw(samples, most)))  # type: ignore[arg-type]


def test_the_shared_cases_are_as_bright_as_the_original(cases: Path) -> None:
    for name in ("pm_127.ppm", "pm_4095.pgm"):
        image = DECODER.decode((cases / name).read_bytes())
        assert (image.width, image.height) == (512, 600) and 70 < image.pixels.mean() < 90, name
