"""TIFF: every kind of sample in every layout, turned every way, is shown as it is or refused; never otherwise."""

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.pictures import DECODER, DEEP, GREY, HEIGHT, RGB, UPRIGHT, WIDTH, pil, shows
from tests.images.tiffs import Array, Layout, Picture, Tags, written
from visage.errors import ImageError, ImageTooLarge, ImageUndecodable, UnsupportedFormat
from visage.images.decoding import Decoder, Limits

WHITE_0, BLACK_0, COLOURS, PALETTE, INKS, YCC = 0, 1, 2, 3, 5, 6
UNSPECIFIED, MULTIPLIED, STRAIGHT = 0, 1, 2


def deep(array: Array) -> Array:
    return array.astype(np.uint16) * 257


def grey(array: Array) -> Array:
    return np.repeat(array.astype(np.uint8)[..., None], 3, axis=-1)


def times_alpha(array: Array, alpha: Array) -> Array:
    return np.rint(array * (alpha.reshape(*alpha.shape, *[1] * (array.ndim - 2)) / 255)).astype(np.uint8)


HALF = np.full_like(GREY, 128)
NONE = np.zeros_like(GREY)
RAMP = np.linspace(60, 255, GREY.size).astype(np.uint8).reshape(GREY.shape)
_COLOURS = (np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) * 7 % 256]) * 257).astype(int)

# name → the picture, and what it must show.
PICTURES: dict[str, tuple[Picture, Array]] = {
    "grey": (Picture(GREY, BLACK_0), grey(GREY)),
    "grey, white is 0": (Picture(255 - GREY, WHITE_0), grey(GREY)),
    "grey of 16 bits": (Picture(DEEP, BLACK_0), grey(DEEP / 257)),
    "grey of 16 bits, white is 0": (Picture(65535 - DEEP, WHITE_0), grey(DEEP / 257)),
    "grey of 12 bits": (Picture(DEEP >> 4, BLACK_0, bits=12), grey(DEEP / 257)),
    "RGB": (Picture(RGB, COLOURS), RGB),
    "RGB of 16 bits": (Picture(deep(RGB), COLOURS), RGB),
    "RGB and two more": (Picture(np.dstack([RGB, HALF, NONE]), COLOURS, (0, 0)), RGB),
    "inks": (Picture(np.dstack([255 - RGB, NONE]), INKS), RGB),
    "inks of 16 bits": (Picture(deep(np.dstack([255 - RGB, NONE])), INKS), RGB),
    "a palette": (Picture(GREY, PALETTE, more={320: ("H", _COLOURS.ravel().tolist())}), (_COLOURS >> 8)[:, GREY].transpose(1, 2, 0)),
    "grey of fractions": (Picture((GREY / 255).astype(np.float32), BLACK_0), grey(GREY)),
    "grey of fractions, white is 0": (Picture((1 - GREY / 255).astype(np.float32), WHITE_0), grey(GREY)),
    "grey of long fractions": (Picture(GREY / 255, BLACK_0), grey(GREY)),
    "RGB of fractions": (Picture((RGB / 255).astype(np.float32), COLOURS), RGB),
    "RGB of long fractions": (Picture(RGB / 255, COLOURS), RGB),
    "RGB of half fractions": (Picture((RGB / 255).astype(np.float16), COLOURS), RGB),
    "signed grey": (Picture((GREY // 2).astype(np.int8), BLACK_0), grey(GREY)),
    "signed grey of 16 bits": (Picture((DEEP >> 1).astype(np.int16), BLACK_0), grey(DEEP / 257)),
    "signed grey of 32 bits": (Picture(GREY.astype(np.int32) << 23, BLACK_0), grey(GREY)),
    "grey of 32 bits": (Picture(GREY.astype(np.uint32) * 0x1010101, BLACK_0), grey(GREY)),
    **{
        f"grey of {bits} bits{', white is 0' * inverted}": (
            Picture((GREY >> 8 - bits) ^ (2**bits - 1) * inverted, BLACK_0 - inverted, bits=bits),
            grey((GREY >> 8 - bits) * (255 // (2**bits - 1))),
        )
        for bits in (1, 2, 4)
        for inverted in (0, 1)
    },
    **{
        f"{name} and {of} alpha {alpha[0, 0]}{' of 16 bits' * wide}": (
            Picture(deep(np.dstack([base, alpha])) if wide else np.dstack([base, alpha]), photometric, (extra,)),
            RGB if photometric == COLOURS else grey(GREY),
        )
        for name, base, photometric in (("RGB", RGB, COLOURS), ("grey", GREY, BLACK_0))
        for of, extra in (("unspecified", UNSPECIFIED), ("associated", MULTIPLIED), ("unassociated", STRAIGHT))
        for alpha in (HALF, NONE)
        for wide in (0, 1)
    },
    "RGB times its alpha": (Picture(np.dstack([times_alpha(RGB, HALF), HALF]), COLOURS, (MULTIPLIED,)), RGB),
    "RGB times its alpha of 16 bits": (Picture(deep(np.dstack([times_alpha(RGB, RAMP), RAMP])), COLOURS, (MULTIPLIED,)), RGB),
    "grey times its alpha": (Picture(np.dstack([times_alpha(GREY, RAMP), RAMP]), BLACK_0, (MULTIPLIED,)), grey(GREY)),
    "luminance and chroma": (
        Picture(cv2.cvtColor(RGB, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]], YCC, more={530: ("H", [1, 1])}),
        RGB,
    ),
}  # fmt: skip
LAYOUTS = {
    "one strip": Layout(),
    "one strip, the other byte order": Layout(">"),
    "strips": Layout(rows=7),
    "deflated strips": Layout(rows=9, deflated=True),
    "tiles": Layout(tile=(16, 16)),
    "wide tiles, the other byte order": Layout(">", tile=(16, 64)),
    "deflated tiles": Layout(tile=(32, 16), deflated=True),
    "planes": Layout(apart=True),
    "planes, the other byte order": Layout(">", apart=True),
    "tiled planes": Layout(apart=True, tile=(16, 32)),
    "BigTIFF": Layout(big=True),
    "BigTIFF, the other byte order": Layout(">", big=True),
    "differences": Layout(deflated=True, predicted=True),
}
# What nothing here reads in any layout.
UNREAD = {
    "RGB of half fractions",
    "signed grey",
    "signed grey of 16 bits",
    "signed grey of 32 bits",
    "grey of 32 bits",
    "grey and associated alpha 0 of 16 bits",
    "grey and associated alpha 128 of 16 bits",
}


def _possible(picture: Picture, layout: Layout) -> bool:
    one = picture.samples.ndim == 2
    return not ((layout.apart and one) or (layout.predicted and (picture.samples.dtype.kind == "f" or picture.bits)))


@pytest.mark.parametrize("name", PICTURES)
def test_it_is_shown_upright_as_it_is_or_refused_as_a_kind_that_is_not_read(name: str) -> None:
    picture, rgb = PICTURES[name]
    for layout in (layout for layout, how in LAYOUTS.items() if _possible(picture, how)):
        data = {n: written((picture, {274: ("H", [n])}), layout=LAYOUTS[layout]) for n in range(1, 9)}
        for orientation, file in data.items():
            try:
                image = DECODER.decode(file)
            except UnsupportedFormat as error:
                assert "save it as" in str(error)
                assert name in UNREAD or layout not in ("one strip", "strips", "deflated strips")
            else:
                assert name not in UNREAD
                assert shows(image, UPRIGHT[orientation](rgb), most=3), (layout, orientation, image.pixels.shape)
                assert image.warnings == ()


def test_all_that_can_be_is_read_in_strips_and_most_in_other_layouts() -> None:
    read = dict.fromkeys(LAYOUTS, 0)
    for picture, _ in PICTURES.values():
        for layout, how in LAYOUTS.items():
            if _possible(picture, how):
                try:
                    DECODER.decode(written((picture, {}), layout=how))
                except UnsupportedFormat:
                    continue
                read[layout] += 1
    assert {layout: read[layout] for layout in ("one strip", "strips")} == dict.fromkeys(
        ("one strip", "strips"), len(PICTURES.keys() - UNREAD)
    )
    assert min(read[layout] for layout in ("tiles", "BigTIFF", "one strip, the other byte order")) >= 30


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (np.clip(RGB / 255, 0, 1), RGB),
        (np.where(np.arange(WIDTH)[None, :, None] < 1, np.nan, RGB / 255), None),
        (RGB.astype(float), None),
        (RGB * 257.0, None),
        (RGB / 255 - 0.5, None),
    ],
    ids=["0 to 1", "a column of no number", "0 to 255", "0 to 65535", "around 0"],
)
def test_fractions_are_shown_from_0_to_1_or_refused_and_never_black_in_silence(
    values: Array, shown: Array | None
) -> None:
    data = written((Picture(values.astype(np.float32), COLOURS), {}))
    if shown is not None:
        assert shows(DECODER.decode(data), shown, 0)
        return
    with pytest.raises(UnsupportedFormat, match=r"floating-point samples outside 0 \(black\) to 1 \(white\)"):
        DECODER.decode(data)


def test_a_few_fractions_beyond_white_are_white() -> None:
    values = (RGB / 255).astype(np.float32)
    values[0, 0] = 1.5
    shown = RGB.copy()
    shown[0, 0] = 255

    assert shows(DECODER.decode(written((Picture(values, COLOURS), {}))), shown, 0)


@pytest.mark.parametrize(
    "orientation",
    [("H", [6, 6]), ("H", [0]), ("H", [9]), ("B", [6, 1, 1, 1, 1, 1])],
    ids=["two of them", "0", "9", "elsewhere"],
)
def test_an_orientation_that_is_none_turns_nothing_and_spoils_nothing(orientation: tuple[str, list[int]]) -> None:
    assert shows(DECODER.decode(written((Picture(RGB, COLOURS), {274: orientation}))), RGB, 0)


def test_an_orientation_of_another_whole_type_counts() -> None:
    assert shows(DECODER.decode(written((Picture(RGB, COLOURS), {274: ("I", [6])}))), UPRIGHT[6](RGB), 0)


def test_what_a_broken_entry_points_to_is_left_as_it_is() -> None:
    """An orientation whose values would lie in the pixels, and a directory whose end would."""
    data = written((Picture(RGB, COLOURS), {274: ("H", [1])}))
    entry = struct.pack("<HHI", 274, 3, 1)
    at = data.index(entry)
    broken = data[:at] + struct.pack("<HHII", 274, 3, 5000, 8) + data[at + 12 :]

    assert shows(DECODER.decode(broken), RGB, 0)


# -- several pictures in one file ---------------------------------------------------------------------------------

SMALL = np.ascontiguousarray(RGB[::4, ::4])
REDUCED: Tags = {254: ("I", [1])}
FULL: Tags = {254: ("I", [0])}
MASK: Tags = {254: ("I", [4])}
_RAW = 32803


def _both(first: tuple[Picture, Tags], *others: tuple[Picture, Tags], below: bool) -> bytes:
    return written(first, parts=others) if below else written(first, *others)


@pytest.mark.parametrize("layout", [Layout(), Layout(">"), Layout(big=True)], ids=["little", "big-endian", "BigTIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_behind_a_thumbnail_the_full_picture_is_shown(layout: Layout, orientation: int) -> None:
    turn: Tags = {274: ("H", [orientation])}
    small, full = (Picture(SMALL, COLOURS), {**REDUCED, **turn}), (Picture(RGB, COLOURS), {**FULL, **turn})
    for data in (written(small, full, layout=layout), written(small, parts=[full], layout=layout)):
        image = DECODER.decode(data)

        assert shows(image, UPRIGHT[orientation](RGB), 0) and image.warnings == ()


@pytest.mark.parametrize("below", [True, False])
def test_a_mask_is_no_picture(below: bool) -> None:
    large = np.zeros((HEIGHT * 2, WIDTH * 2), np.uint8)
    data = _both(
        (Picture(SMALL, COLOURS), REDUCED), (Picture(large, BLACK_0), MASK), (Picture(RGB, COLOURS), FULL), below=below
    )

    assert shows(DECODER.decode(data), RGB, 0)


@pytest.mark.parametrize("below", [True, False])
def test_where_the_full_picture_is_a_sensor_s_its_largest_copy_is_used_and_said_to_be_one(below: bool) -> None:
    sensor = Picture(np.zeros((HEIGHT * 4, WIDTH * 4), np.uint16), _RAW)
    data = _both((Picture(SMALL, COLOURS), REDUCED), (sensor, FULL), (Picture(RGB, COLOURS), REDUCED), below=below)
    image = DECODER.decode(data)

    assert shows(image, RGB, 0)
    assert image.warnings == (
        "the file's full picture is not read; a smaller copy of it, which the file holds too, was used",
    )


def test_a_sensor_s_picture_alone_is_a_kind_that_is_not_read() -> None:
    with pytest.raises(UnsupportedFormat, match="a camera's raw picture"):
        DECODER.decode(written((Picture(np.zeros((HEIGHT, WIDTH), np.uint16), _RAW), {})))


def test_a_larger_full_picture_below_the_first_page_is_shown_even_if_that_is_not_called_a_thumbnail() -> None:
    assert shows(DECODER.decode(written((Picture(SMALL, COLOURS), {}), parts=[(Picture(RGB, COLOURS), FULL)])), RGB, 0)


def test_smaller_copies_below_the_first_page_change_nothing() -> None:
    data = written((Picture(RGB, COLOURS), {}), parts=[(Picture(SMALL, COLOURS), REDUCED)] * 2)
    image = DECODER.decode(data)

    assert shows(image, RGB, 0) and image.warnings == ()


def test_of_several_pages_the_first_is_shown_however_large_the_others_are() -> None:
    large = Picture(np.zeros((HEIGHT * 2, WIDTH * 2, 3), np.uint8), COLOURS)

    assert shows(DECODER.decode(written((Picture(RGB, COLOURS), {}), (large, {}))), RGB, 0)


def test_a_preview_of_the_old_kind_of_jpeg_is_read() -> None:
    """As cameras write it (CR2, NEF): the strip of a page is a whole JPEG."""
    preview = np.frombuffer(pil(RGB, "JPEG", quality=95, subsampling=0), np.uint8)[None]
    size: Tags = {256: ("I", [WIDTH]), 257: ("I", [HEIGHT]), 259: ("H", [6]), 274: ("H", [6])}
    data = written((Picture(preview, YCC), {**size, **REDUCED}))
    image = DECODER.decode(data)

    assert shows(image, UPRIGHT[6](RGB)) and len(image.warnings) == 1


def test_a_preview_that_leaves_its_size_to_its_jpeg_is_preferred_to_a_smaller_thumbnail() -> None:
    """As Nikon writes it: a small first page, the sensor's picture and a JPEG of no told size below it."""
    preview = np.frombuffer(pil(RGB, "JPEG", quality=95, subsampling=0), np.uint8)[None]
    none: Tags = {256: ("I", [0]), 257: ("I", [0]), 259: ("H", [6])}
    sensor = Picture(np.zeros((HEIGHT * 4, WIDTH * 4), np.uint16), _RAW)
    parts = [(Picture(preview, YCC), {**none, **REDUCED}), (sensor, FULL)]
    image = DECODER.decode(written((Picture(SMALL, COLOURS), REDUCED), parts=parts))

    assert shows(image, RGB) and len(image.warnings) == 1


def test_directories_that_lead_in_a_circle_end() -> None:
    data = bytearray(written((Picture(SMALL, COLOURS), REDUCED), (Picture(RGB, COLOURS), REDUCED)))
    first = struct.unpack_from("<I", data, 4)[0]
    (count,) = struct.unpack_from("<H", data, first)
    (following,) = struct.unpack_from("<I", data, first + 2 + 12 * count)
    (more,) = struct.unpack_from("<H", data, following)
    struct.pack_into("<I", data, following + 2 + 12 * more, first)

    assert shows(DECODER.decode(bytes(data)), RGB, 0)


# -- limits and damage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tags",
    [{256: ("I", [2_000_000])}, {257: ("I", [60_000])}, {322: ("I", [60_000]), 323: ("I", [60_000])}],
    ids=["width", "height", "tile"],
)
def test_what_the_tags_say_is_judged_before_it_gets_memory(tags: Tags) -> None:
    with pytest.raises(ImageTooLarge):
        DECODER.decode(written((Picture(RGB, COLOURS), tags)))


def test_a_full_picture_that_is_too_large_is_refused_and_its_thumbnail_not_taken_instead() -> None:
    data = written((Picture(SMALL, COLOURS), REDUCED), parts=[(Picture(RGB, COLOURS), FULL)])
    with pytest.raises(ImageTooLarge):
        Decoder(Limits(pixels=WIDTH * HEIGHT - 1)).decode(data)


def test_a_file_that_is_cut_short_is_broken_and_no_kind_that_is_not_read() -> None:
    data = pil(RGB, "TIFF", compression="tiff_lzw")
    with pytest.raises(ImageUndecodable, match="broken or cut short"):
        DECODER.decode(data[: len(data) // 2])


@given(
    st.sampled_from(sorted(PICTURES)),
    st.sampled_from(sorted(LAYOUTS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_any_damage_leaves_a_picture_or_an_image_error(
    name: str, layout: str, damage: list[tuple[float, bytes]]
) -> None:
    picture, _ = PICTURES[name]
    how = LAYOUTS[layout]
    if not _possible(picture, how):
        return
    data = bytearray(written((picture, {274: ("H", [6])}), layout=how))
    start = len(data) - 600  # the directory stands last
    for where, what in damage:
        at = max(0, start) + int(where * (len(data) - max(0, start)))
        data[at : at + len(what)] = what
    try:
        image = DECODER.decode(bytes(data))
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert image.pixels.shape[2] == 3 and 0 < image.width * image.height <= DECODER.limits.pixels


def _stored(data: bytes) -> Any:
    return np.asarray(PIL.Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("name", ["RGB", "grey", "grey of 16 bits", "inks"])
def test_the_writer_of_these_files_writes_what_pillow_reads(name: str) -> None:
    picture = PICTURES[name][0]
    for layout in LAYOUTS.values():
        if _possible(picture, layout) and not (layout.big and layout.order == ">"):
            assert np.array_equal(_stored(written((picture, {}), layout=layout)), picture.samples), layout


def test_the_shared_cases_are_read(cases: Path) -> None:
    for name in ("t_tiled_o3.tif", "t_tiled_o6.tif", "t_pil_rgba_alpha0.tif", "gray32f.tif", "thumb_first_subifd.tif"):
        image = DECODER.decode((cases / name).read_bytes())
        assert (image.width, image.height) == (512, 600) and image.pixels.mean() > 70, name
