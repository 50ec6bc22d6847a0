"""EXIF blocks as Pillow reads them, and as nobody can."""

import struct

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.images.pictures import RGB, UPRIGHT
from visage.images.directories import directory_at, layout_of
from visage.images.turning import orientation_of, turned

_WHOLE = {"B": 1, "H": 3, "I": 4}


def block(*entries: tuple[int, str, int], order: str = "<", mark: bytes = b"") -> bytes:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    lines = b"".join(
        struct.pack(order + "HHI", tag, _WHOLE[kind], 1) + struct.pack(order + kind, value).ljust(4, b"\0")
        for tag, kind, value in entries
    )
    return mark + head + lines + bytes(4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_makes_the_picture_upright(orientation: int) -> None:
    assert np.array_equal(turned(RGB, orientation), UPRIGHT[orientation](RGB))


@pytest.mark.parametrize("orientation", [0, 9, -1, 65535])
def test_what_is_no_orientation_turns_nothing(orientation: int) -> None:
    assert turned(RGB, orientation) is RGB
    assert orientation_of(block((274, "H", orientation % 65536))) is None


@given(
    st.lists(st.tuples(st.integers(1, 65535), st.sampled_from("BHI"), st.integers(0, 255)), max_size=6),
    st.integers(1, 8),
    st.sampled_from("<>"),
    st.sampled_from([b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"]),
)
def test_what_pillow_finds_in_a_block_is_found(
    others: list[tuple[int, str, int]], orientation: int, order: str, mark: bytes
) -> None:
    entries = sorted([entry for entry in others if entry[0] != 274] + [(274, "H", orientation)])
    data = block(*entries, order=order, mark=mark)
    pillow = PIL.Image.Exif()
    pillow.load(data)

    assert orientation_of(data) == orientation == pillow.get(274)


@given(
    st.binary(max_size=120), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"Exif\0\0II*\0\x08\0\0\0"])
)
def test_any_bytes_are_an_orientation_or_none(rest: bytes, start: bytes) -> None:
    assert orientation_of(start + rest) in {None, *range(1, 9)}


@given(st.binary(max_size=200))
def test_nothing_outside_the_data_is_read(rest: bytes) -> None:
    data = b"II*\0\x08\0\0\0" + rest
    layout = layout_of(data)
    try:
        found = directory_at(data, layout, layout.first)
    except ValueError:
        return
    for entry in found.entries:
        assert entry.at + 12 <= len(data)
        numbers = found.numbers(entry.tag, 4)
        assert len(numbers) <= 4


def test_a_directory_says_where_the_next_one_is() -> None:
    data = block((256, "I", 7), (274, "H", 3))[:-4] + struct.pack("<I", 77)
    found = directory_at(data, layout_of(data), 8)

    assert found.following == 77 and found.number(256, 0) == 7 and found.number(257, 5) == 5
    assert found.numbers(999) == ()


def test_a_directory_of_too_many_entries_is_none() -> None:
    with pytest.raises(ValueError, match="no directory"):
        directory_at(b"II*\0\x08\0\0\0\xff\xff" + bytes(800_000), layout_of(b"II*\0\x08\0\0\0"), 8)


@pytest.mark.parametrize("data", [b"", b"II", b"II*", b"XX*\0\x08\0\0\0", b"II\0*\x08\0\0\0", b"MM+\0\x08\0\0\0\0\0"])
def test_what_is_no_tiff_has_no_layout(data: bytes) -> None:
    with pytest.raises(ValueError, match="no TIFF"):
        layout_of(data)
