"""AVIF and HEIC: shown as the file's own properties say, under whatever brand; and no video."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.heifs import box, branded, clap, imir, irot, with_properties
from tests.images.pictures import DECODER, HEIGHT, RGB, UPRIGHT, WIDTH, pil, shows
from visage.errors import ImageError, ImageTooLarge, ImageUndecodable, UnsupportedFormat
from visage.faces import Pixels
from visage.images.decoding import Decoder, Limits
from visage.images.turning import orientation_of

AVIF = pil(RGB, "AVIF", quality=98, subsampling="4:4:4")
STORED = DECODER.decode(AVIF).pixels[..., ::-1]
NOT_CUT = ("the picture's clean aperture is not inside it; the whole was used",)


@pytest.fixture(scope="module")
def heic(testdata: Path) -> bytes:
    return (testdata / "images" / "nasty" / "photo.heic").read_bytes()


def exactly(data: bytes, rgb: Pixels) -> bool:
    return shows(DECODER.decode(data), np.ascontiguousarray(rgb), 0)


def test_the_properties_of_these_files_are_put_where_libavif_finds_them() -> None:
    assert exactly(with_properties(AVIF), STORED)
    with pytest.raises(ImageUndecodable):  # an essential property that nobody knows
        DECODER.decode(with_properties(AVIF, box(b"abcd", b"123")))


# -- clean aperture, rotation, mirror -----------------------------------------------------------------------------

_CUT: dict[str, tuple[bytes, Callable[[Pixels], Pixels]]] = {
    "in the middle": (clap(60, 40), lambda a: a[12:52, 18:78]),
    "the whole": (clap(WIDTH, HEIGHT), lambda a: a),
    "one pixel": (clap(1, 1, Fraction(1, 2), Fraction(1, 2)), lambda a: a[32:33, 48:49]),
    "to the right": (clap(60, 40, 18), lambda a: a[12:52, 36:96]),
    "to the left and up": (clap(60, 40, -18, -12), lambda a: a[:40, :60]),
    "by half a pixel": (clap(61, 41, Fraction(1, 2), Fraction(-1, 2)), lambda a: a[11:52, 18:79]),
    "in larger fractions": (clap(Fraction(120, 2), Fraction(80, 2), Fraction(-6, 3)), lambda a: a[12:52, 16:76]),
}


@pytest.mark.parametrize("name", _CUT)
def test_the_clean_aperture_is_cut_out(name: str) -> None:
    aperture, cut = _CUT[name]
    image = DECODER.decode(with_properties(AVIF, aperture))

    assert shows(image, cut(STORED), 0) and image.warnings == ()


@pytest.mark.parametrize(
    "aperture",
    [
        clap(WIDTH + 1, HEIGHT),
        clap(60, 40, 19),
        clap(60, 40, 0, -13),
        clap(0, 10),
        box(b"clap", bytes(32)),
        box(b"clap", struct.pack(">IIIIiIiI", *[2**32 - 1] * 4, -(2**31), 1, 2**31 - 1, 1)),
    ],
)
def test_an_aperture_that_is_not_inside_the_picture_is_told_and_cuts_nothing(aperture: bytes) -> None:
    image = DECODER.decode(with_properties(AVIF, aperture))

    assert shows(image, STORED, 0) and image.warnings == NOT_CUT


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("aperture", [False, True])
def test_it_is_cut_turned_and_mirrored_in_the_order_of_the_file(
    quarters: int, axis: int | None, aperture: bool
) -> None:
    properties = [irot(quarters), *([] if axis is None else [imir(axis)])]
    upright = STORED[12:52, 36:96] if aperture else STORED
    if aperture:
        properties.insert(0, clap(60, 40, 18))
    upright = np.rot90(upright, quarters)
    if axis is not None:
        upright = upright[:, ::-1] if axis else upright[::-1]

    assert exactly(with_properties(AVIF, *properties), upright)


def test_a_mirror_before_a_turn_is_done_before_it() -> None:
    assert exactly(with_properties(AVIF, imir(1), irot(1)), np.rot90(STORED[:, ::-1], 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pillow_s_own_properties_stand_for_the_orientations_of_exif(orientation: int) -> None:
    """What Pillow writes for an EXIF orientation is irot and imir."""
    data = pil(RGB, "AVIF", quality=98, subsampling="4:4:4", exif=_exif(orientation))

    assert exactly(data, UPRIGHT[orientation](STORED))


def _exif(orientation: int) -> bytes:
    value = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0II*\0\x08\0\0\0\1\0" + value + bytes(4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_of_exif_turns_nothing_whatever_the_properties_say(orientation: int) -> None:
    """MIAF, 7.3.10: as in browsers, libheif and libavif. Never turned twice."""
    exif = PIL.Image.Exif()
    exif[0x0113] = orientation  # Pillow would make properties of the right tag
    own = pil(RGB, "AVIF", quality=98, subsampling="4:4:4", exif=exif)
    told = own.replace(struct.pack(">HHIH", 0x0113, 3, 1, orientation), struct.pack(">HHIH", 0x0112, 3, 1, orientation))
    assert orientation_of(told[told.index(b"MM\0*") :]) == orientation

    assert exactly(told, STORED)
    assert exactly(with_properties(told, irot(3)), np.rot90(STORED, 3))


def test_heic_is_cut_and_turned_by_its_properties(heic: bytes) -> None:
    whole = DECODER.decode(heic)
    height, width = whole.height, whole.width
    for properties, upright in (
        ((clap(width - 40, height - 60),), whole.pixels[30:-30, 20:-20]),
        ((irot(1),), np.rot90(whole.pixels, 1)),
        ((imir(1),), whole.pixels[:, ::-1]),
        ((imir(0),), whole.pixels[::-1]),
        ((clap(width - 40, height - 60, 20), irot(3), imir(1)), np.rot90(whole.pixels[30:-30, 40:], 3)[:, ::-1]),
    ):
        image = DECODER.decode(with_properties(heic, *properties))
        # libheif converts colours after it has cut and turned: an edge may differ by a little.
        assert image.pixels.shape == upright.shape
        assert np.abs(image.pixels.astype(int) - upright).mean() < 1


# -- brands -------------------------------------------------------------------------------------------------------

BRANDS = [
    b"avif",
    b"avis",
    b"mif1",
    b"mif2",
    b"mif3",
    b"msf1",
    b"miaf",
    b"MA1A",
    b"MA1B",
    b"heic",
    b"hevc",
    b"isom",
    b"zzzz",
]


@pytest.mark.parametrize("major", BRANDS)
@pytest.mark.parametrize("others", [(), (b"mif1", b"miaf"), (b"isom", b"mp42")], ids=["its own", "mif1", "a video's"])
def test_a_still_avif_is_read_under_any_brand(major: bytes, others: tuple[bytes, ...]) -> None:
    assert exactly(branded(AVIF, major, *others), STORED)


@pytest.mark.parametrize(
    "major", [b"heic", b"heix", b"hevc", b"mif1", b"mif2", b"msf1", b"miaf", b"MiHB", b"avif", b"zzzz"]
)
def test_a_still_heic_is_read_under_any_brand(heic: bytes, major: bytes) -> None:
    assert np.array_equal(DECODER.decode(branded(heic, major)).pixels, DECODER.decode(heic).pixels)


@pytest.mark.parametrize("major", [b"avif", b"avis", b"heic", b"mif1", b"miaf", b"mif2", b"msf1"])
@pytest.mark.parametrize("kept", [24, 40, 100, 0.5, 0.9, 0.99])
def test_what_is_cut_short_is_broken_and_no_video(major: bytes, kept: float) -> None:
    data = branded(AVIF, major)
    with pytest.raises(ImageUndecodable, match="data is broken or cut short") as caught:
        DECODER.decode(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    assert "video" not in str(caught.value)


@pytest.mark.parametrize(
    "major", [b"isom", b"mp41", b"mp42", b"qt  ", b"M4V ", b"3gp4", b"avc1", b"iso5", b"dash", b"M4A "]
)
def test_a_video_is_told_to_be_one(major: bytes) -> None:
    video = (
        box(b"ftyp", major + bytes(4) + b"isomavc1mp42")
        + box(b"moov", box(b"mvhd", bytes(100)))
        + box(b"mdat", bytes(99))
    )
    with pytest.raises(ImageUndecodable, match="it is a video"):
        DECODER.decode(video)


def test_a_video_with_the_tags_of_a_song_is_no_picture() -> None:
    tags = box(b"meta", bytes(4) + box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9)) + box(b"ilst", b""))
    with pytest.raises(ImageUndecodable, match="it is a video"):
        DECODER.decode(box(b"ftyp", b"mp42" + bytes(4) + b"isom") + tags + box(b"mdat", bytes(99)))


def test_kinds_of_heif_that_are_not_read_are_named() -> None:
    for coded in (b"vvc1", b"j2k1", b"unci"):
        with pytest.raises(UnsupportedFormat, match=f"HEIF whose picture is coded as '{coded.decode()}'"):
            DECODER.decode(AVIF.replace(b"av01Color", coded + b"Color"))
    with pytest.raises(UnsupportedFormat, match="CR3"):
        DECODER.decode(box(b"ftyp", b"crx " + bytes(4) + b"crx isom") + bytes(99))


def test_an_animated_one_shows_its_primary_picture() -> None:
    data = pil(
        RGB, "AVIF", quality=98, subsampling="4:4:4", save_all=True, append_images=[PIL.Image.fromarray(255 - RGB)]
    )

    assert shows(DECODER.decode(data), RGB)


def test_the_size_is_judged_before_anything_is_decoded() -> None:
    for data in (AVIF, branded(AVIF, b"avis"), with_properties(AVIF, clap(8, 8))):
        with pytest.raises(ImageTooLarge):
            Decoder(Limits(pixels=WIDTH * HEIGHT - 1)).decode(data)


@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4)
)
@settings(max_examples=150, deadline=None)
def test_any_damage_to_the_boxes_leaves_a_picture_or_an_image_error(damage: list[tuple[float, bytes]]) -> None:
    whole = with_properties(AVIF, clap(60, 40, 18), irot(1), imir(0))
    data, header = bytearray(whole), whole.index(b"mdat")
    for where, what in damage:
        at = int(where * header)
        data[at : at + len(what)] = what
    try:
        image = DECODER.decode(bytes(data))
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert 0 < image.width * image.height <= DECODER.limits.pixels


def test_the_shared_cases_are_read(cases: Path) -> None:
    expected: dict[str, Any] = {"ab_avis.avif": (512, 600), "hb_miaf.heic": (512, 600), "clap.avif": (512, 600)}
    # Its EXIF block would turn it, its properties do not.
    expected["exif6_noirot.heic"] = (600, 512)
    for name, size in expected.items():
        image = DECODER.decode((cases / name).read_bytes())
        assert (image.width, image.height) == size and image.warnings == (), name
