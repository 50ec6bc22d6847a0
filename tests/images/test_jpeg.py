"""JPEG: what libjpeg-turbo reads is read to the pixel, whatever stands in its header; and said where it is flawed."""

import io
import struct
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.damage import by_opencv, portrait, quiet
from tests.images.jpegs import Sampling, encoded, segment
from tests.images.pictures import DECODER, HEIGHT, RGB, UPRIGHT, WIDTH, pil, shows
from visage.errors import ImageError, ImageTooLarge, ImageUndecodable, UnsupportedFormat
from visage.images import jpeg, jpeg_header
from visage.images.decoding import Decoder, Limits

FLAWED = ("the JPEG's header is flawed; its picture was read",)
DAMAGED = ("the picture is damaged or cut short; what could be read was used",)
PLAIN = pil(RGB, "JPEG", quality=95)
SEEN = by_opencv(PLAIN)
JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"
ADOBE = b"Adobe\0\x64\0\0\0\0"


def with_segments(*segments: bytes, data: bytes = PLAIN) -> bytes:
    """The file with these instead of its JFIF segment."""
    end = 4 + int.from_bytes(data[4:6], "big")
    assert data[2:4] == b"\xff\xe0"
    return data[:2] + b"".join(segments) + data[end:]


def exif(orientation: int, order: str = "<", kind: str = "H") -> bytes:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    code = {"B": 1, "H": 3, "I": 4}[kind]
    value = struct.pack(order + kind, orientation).ljust(4, b"\0")
    return b"Exif\0\0" + head + struct.pack(order + "HHHI", 1, 0x0112, code, 1) + value + bytes(4)


# -- headers that libjpeg warns about -----------------------------------------------------------------------------

FLAWS: dict[str, bytes] = {
    "bytes between segments": with_segments(segment(0xE0, JFIF), b"\x12\x34\x56"),
    "zeros between segments": with_segments(segment(0xE0, JFIF), bytes(40)),
    "escaped bytes between segments": with_segments(segment(0xE0, JFIF), b"\xff\x00\xff\x00"),
    "a segment that says too little": with_segments(segment(0xE0, JFIF), b"\xff\xe1\x00\x0a" + exif(1)),
    "JFIF 2.01": with_segments(segment(0xE0, b"JFIF\0\2\1" + JFIF[7:])),
    "JFIF 0.00": with_segments(segment(0xE0, b"JFIF\0\0\0" + JFIF[7:])),
    "a part of the profile missing": with_segments(segment(0xE0, JFIF), segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(99))),
    "a part of the profile twice": with_segments(*[segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(99))] * 2),
    "a part 0 of 0 of the profile": with_segments(segment(0xE2, b"ICC_PROFILE\0\0\0" + bytes(99))),
    "Adobe's transform 3": with_segments(segment(0xEE, ADOBE + b"\3")),
}  # fmt: skip


@pytest.mark.parametrize("name", FLAWS)
def test_what_a_decoder_warns_about_in_a_header_costs_a_word_and_no_pixel(name: str) -> None:
    data = FLAWS[name]
    with quiet():
        seen = by_opencv(data)
    image = DECODER.decode(data)

    assert seen is not None and np.array_equal(image.pixels, seen)
    assert image.warnings in (FLAWED, ()) and (image.warnings or "profile" in name)


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF, 0xFE])
@pytest.mark.parametrize(
    "start", [b"", b"\0", b"JFIF", b"JFIF\0\1", b"Exif\0", b"Exif\0\0MM", b"ICC_PROFILE", b"Adobe", b"Adobe\0"]
)
def test_a_short_segment_costs_nothing(marker: int, start: bytes) -> None:
    image = DECODER.decode(with_segments(segment(0xE0, JFIF), segment(marker, start)))

    assert SEEN is not None and np.array_equal(image.pixels, SEEN)


@pytest.mark.parametrize("quality", [30, 95])
@pytest.mark.parametrize("how", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"optimize": True}])
def test_other_kinds_of_scans_are_read_behind_a_flawed_header_as_behind_a_sound_one(
    how: dict[str, Any], quality: int
) -> None:
    sound = pil(RGB, "JPEG", quality=quality, **how)
    flawed = with_segments(segment(0xE0, b"JFIF\0\2\1" + JFIF[7:]), b"\0\0", data=sound)
    image = DECODER.decode(flawed)

    assert np.array_equal(image.pixels, DECODER.decode(sound).pixels) and image.warnings == FLAWED


def test_components_that_nobody_names_are_still_read_as_their_numbers_say() -> None:
    """Without JFIF and Adobe, components called R, G and B are no luminance and chroma."""
    planes = [np.ascontiguousarray(RGB[..., i]) for i in range(3)]
    data = encoded(planes, [(1, 1)] * 3)
    for marker, count in ((b"\xff\xc0", 3), (b"\xff\xda", 3)):
        at = data.index(marker)
        step, first = (3, at + 10) if marker == b"\xff\xc0" else (2, at + 5)
        for i in range(count):
            data = data[: first + step * i] + b"RGB"[i : i + 1] + data[first + step * i + 1 :]
    flawed = data[:2] + bytes(9) + data[2:]

    assert shows(DECODER.decode(data), RGB, 12)
    assert np.array_equal(DECODER.decode(flawed).pixels, DECODER.decode(data).pixels)


def test_a_flaw_before_damaged_scans_is_told_as_damage() -> None:
    data = FLAWS["bytes between segments"]
    image = DECODER.decode(data[: len(data) * 2 // 3])

    assert (image.width, image.height) == (WIDTH, HEIGHT) and image.warnings == DAMAGED


# -- sampling -----------------------------------------------------------------------------------------------------

_FACTORS = list(product((1, 2, 3, 4), repeat=2))
SAMPLINGS: list[tuple[Sampling, Sampling, Sampling]] = [
    *((luminance, (1, 1), (1, 1)) for luminance in _FACTORS),
    *(((2, 2), blue, red) for blue in _FACTORS for red in ((1, 1), (2, 1), (1, 2))),
    ((1, 1), (2, 2), (1, 1)),
    ((1, 1), (1, 1), (2, 2)),
    ((1, 2), (2, 1), (1, 1)),
    ((4, 1), (2, 1), (1, 1)),
    ((1, 4), (1, 2), (1, 1)),
    ((3, 1), (1, 1), (3, 1)),
    ((3, 1), (2, 1), (1, 1)),
]
_PORTRAIT = np.asarray(portrait().crop((10, 5, 85, 65)))
_PLANES = [np.ascontiguousarray(plane) for plane in cv2.split(cv2.cvtColor(_PORTRAIT, cv2.COLOR_RGB2YCrCb))]
PLANES = [_PLANES[0], _PLANES[2], _PLANES[1]]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_every_sampling_that_libjpeg_reads_is_read_to_the_pixel(sampling: tuple[Sampling, ...]) -> None:
    data = encoded(PLANES, sampling)
    with quiet():
        seen = by_opencv(data)
    if seen is None:
        with pytest.raises(UnsupportedFormat, match="a JPEG whose colours are sampled"):
            DECODER.decode(data)
        return
    image = DECODER.decode(data)

    assert np.array_equal(image.pixels, seen) and image.warnings == ()
    assert np.abs(image.pixels[..., ::-1].astype(int) - _PORTRAIT).mean() < 20  # the portrait it is


@pytest.mark.parametrize("restart", [0, 3])
@pytest.mark.parametrize("sampling", [((4, 2), (1, 1), (1, 1)), ((3, 1), (1, 1), (1, 1))])
def test_an_unusual_sampling_that_is_cut_short_or_lacks_a_part_is_used_and_said_to_be_damaged(
    sampling: tuple[Sampling, ...], restart: int
) -> None:
    data = encoded(PLANES, sampling, restart=restart)
    assert DECODER.decode(data).warnings == ()
    wrong = [data[: len(data) * 3 // 4], data[:-2]]
    if restart:
        second = data.index(b"\xff\xd1")
        wrong.append(data[: data.index(b"\xff\xd0")] + data[second:])
    for file in wrong:
        image = DECODER.decode(file)

        assert image.pixels.shape == _PORTRAIT.shape and image.warnings == DAMAGED
        assert np.abs(image.pixels[:8, :8, ::-1].astype(int) - _PORTRAIT[:8, :8]).mean() < 20 or restart


def test_an_unusual_sampling_behind_a_flawed_header_is_told_to_be_flawed() -> None:
    data = encoded(PLANES, ((4, 2), (1, 1), (1, 1)), before=bytes(7))

    assert DECODER.decode(data).warnings == FLAWED


# -- four inks ----------------------------------------------------------------------------------------------------


def _inks(transform: int | None, progressive: bool = False) -> bytes:
    data = pil(RGB, "JPEG", mode="CMYK", quality=95, progressive=progressive)
    at = data.index(b"\xff\xee")
    if transform is None:
        return data[:at] + data[at + 16 :]
    return data[: at + 15] + bytes([transform]) + data[at + 16 :]


@pytest.mark.parametrize("transform", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("progressive", [False, True])
def test_four_inks_are_read_as_pillow_and_opencv_read_them(transform: int | None, progressive: bool) -> None:
    data = _inks(transform, progressive)
    image = DECODER.decode(data)
    pillow = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
    with quiet():
        opencv = by_opencv(data)

    assert np.array_equal(image.pixels[..., ::-1], pillow)
    assert opencv is not None and np.abs(image.pixels.astype(int) - opencv).max() <= 1
    assert image.warnings == (FLAWED if transform in (1, 3) else ())


@pytest.mark.parametrize("transform", [None, 0, 2])
@pytest.mark.parametrize("kept", [0.35, 0.6, 0.9, 0.99])
def test_four_inks_that_are_cut_short_are_used_and_said_to_be_damaged(transform: int | None, kept: float) -> None:
    data = _inks(transform)
    scans = data.index(b"\xff\xda")
    image = DECODER.decode(data[: scans + 20 + int((len(data) - scans - 20) * kept)])
    whole = DECODER.decode(data)

    assert image.warnings == DAMAGED
    rows = int(HEIGHT * kept) - 20
    if rows > 0:
        assert np.array_equal(image.pixels[:rows], whole.pixels[:rows])


# -- kinds that are not read --------------------------------------------------------------------------------------


def _frame(marker: int = 0xC0, bits: int = 8, components: int = 3) -> bytes:
    at = PLAIN.index(b"\xff\xc0")
    body = struct.pack(">BHHB", bits, HEIGHT, WIDTH, components) + b"".join(
        bytes([i + 1, 0x11, 0]) for i in range(components)
    )
    return PLAIN[:at] + segment(marker, body) + PLAIN[at + 19 :]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (_frame(bits=12), "a JPEG of 12 bits a sample"),
        (_frame(0xC1, bits=12), "a JPEG of 12 bits a sample"),
        (_frame(0xC2, bits=12), "a JPEG of 12 bits a sample"),
        (_frame(0xC3, bits=16), "a lossless JPEG"),
        (_frame(0xC3, bits=14, components=1), "a lossless JPEG"),
        (_frame(0xCB), "a lossless, arithmetically coded JPEG"),
        (_frame(0xC5), "a hierarchical JPEG"),
        (_frame(0xCF), "a hierarchical JPEG"),
        (_frame(0xF7), "JPEG-LS"),
        (_frame(components=2), "a JPEG of 2 components"),
        (_frame(components=5), "a JPEG of 5 components"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_kind_of_jpeg_that_nobody_here_reads_is_named(data: bytes, named: str) -> None:
    with pytest.raises(UnsupportedFormat, match=named) as caught:
        DECODER.decode(data)
    assert caught.value.__notes__  # the decoders' own words


def test_what_has_no_frame_or_no_scan_is_broken() -> None:
    for data in (
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        PLAIN[: PLAIN.index(b"\xff\xc0")],
        PLAIN[: PLAIN.index(b"\xff\xda")],
    ):
        with pytest.raises(ImageUndecodable, match="the JPEG data is broken or cut short"):
            DECODER.decode(data)


def test_a_header_of_nothing_but_segments_is_given_up() -> None:
    with pytest.raises(ImageUndecodable):
        DECODER.decode(b"\xff\xd8" + segment(0xFE, b"") * 100_000 + PLAIN[2:])


# -- orientation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["H", "I"])
def test_exif_turns_the_picture_in_either_byte_order(orientation: int, order: str, kind: str) -> None:
    data = with_segments(segment(0xE1, exif(orientation, order, kind)))

    assert shows(DECODER.decode(data), UPRIGHT[orientation](RGB))


@pytest.mark.parametrize(
    "segments",
    [
        (segment(0xE1, exif(6)), segment(0xE1, exif(3))),
        (segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"), segment(0xE1, exif(6))),
        (segment(0xE1, b"Exif\0\0II*\0"), segment(0xE1, exif(6))),
        (segment(0xE0, JFIF), bytes(11), segment(0xE1, exif(6))),
        (segment(0xE1, b"Exif\0\0" + exif(6)),),
    ],
    ids=["the first of two", "behind XMP", "behind a broken one", "behind bytes that belong to nothing", "named twice"],
)
def test_the_first_orientation_that_can_be_read_counts(segments: tuple[bytes, ...]) -> None:
    assert shows(DECODER.decode(with_segments(*segments)), UPRIGHT[6](RGB))


def test_a_segment_of_exif_behind_the_frame_counts_as_well() -> None:
    at = PLAIN.index(b"\xff\xda")

    assert shows(DECODER.decode(PLAIN[:at] + segment(0xE1, exif(8)) + PLAIN[at:]), UPRIGHT[8](RGB))


# -- the header's reader ------------------------------------------------------------------------------------------


def test_the_decoder_gets_no_more_memory_than_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose header this reader and the decoder's read differently is not decoded."""
    header = jpeg_header.header_of(PLAIN)
    smaller = jpeg_header.Header(header.frame, 8, 8, 8, header.sampling, 1, header.kept, header.scans, flawed=False)
    monkeypatch.setattr(jpeg, "header_of", lambda _: smaller)
    with pytest.raises(ImageUndecodable) as caught:
        DECODER.decode(PLAIN)
    assert "buffer is too small" in "".join(caught.value.__notes__)


def test_pixels_are_judged_in_every_kind_of_file() -> None:
    for data in (PLAIN, FLAWS["JFIF 2.01"], _inks(0), encoded(PLANES, ((4, 2), (1, 1), (1, 1)))):
        with pytest.raises(ImageTooLarge):
            Decoder(Limits(pixels=40 * 40)).decode(data)


@given(
    st.lists(
        st.one_of(
            st.builds(segment, st.sampled_from([*range(0xE0, 0xF0), 0xFE]), st.binary(max_size=40)),
            st.binary(max_size=6),
            st.just(b"\xff" * 3),
            st.builds(lambda o: segment(0xE1, exif(o)), st.integers(0, 10)),
        ),
        max_size=6,
    )
)
@settings(max_examples=200, deadline=None)
def test_the_size_is_what_libjpeg_says_whatever_stands_in_the_header(segments: list[bytes]) -> None:
    data = with_segments(*segments)
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):
        height = width = 0
    try:
        header = jpeg_header.header_of(data)
    except ImageError:
        return
    if height:
        assert (header.width, header.height) == (width, height)


def test_the_shared_cases_are_read_to_the_pixel(cases: Path) -> None:
    for name, said in {
        "j_exif_len_short.jpg": FLAWED,
        "jj_icc_missing_part.jpg": FLAWED,
        "jj_jfif2.jpg": FLAWED,
        "s_2x4.jpg": (),
        "sub_410.jpg": (),
        "jpeg_xmp_o6_only_upright.jpg": (),
    }.items():
        data = (cases / name).read_bytes()
        with quiet():
            seen = by_opencv(data)
        image = DECODER.decode(data)
        assert seen is not None and np.array_equal(image.pixels, seen) and image.warnings == said, name
    assert DECODER.decode((cases / "trunc60_cmyk_adobe.jpg").read_bytes()).warnings == DAMAGED
