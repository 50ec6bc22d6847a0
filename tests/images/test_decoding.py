"""Pictures are made here with Pillow and OpenCV, so that what they must show is known to the pixel."""

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.images.pictures import ALPHA, DECODER, DEEP, GREY, HEIGHT, RGB, UPRIGHT, WIDTH, pil, shows
from tests.support import REPO
from visage.errors import ImageError, ImageTooLarge, ImageUndecodable, UnsupportedFormat
from visage.faces import Pixels
from visage.images.decoding import Decoder, Limits


def opencv(array: NDArray[Any], suffix: str) -> bytes:
    done, data = cv2.imencode(suffix, array)
    assert done
    return data.tobytes()


def frames(kind: str, **how: Any) -> bytes:
    """The gradient, then two frames that are something else."""
    others = [PIL.Image.fromarray(255 - RGB), PIL.Image.fromarray(RGB[::-1].copy())]
    return pil(RGB, kind, save_all=True, append_images=others, **how)


def palette(kind: str, **how: Any) -> tuple[bytes, Pixels]:
    quantised = PIL.Image.fromarray(RGB).quantize(64)
    out = io.BytesIO()
    quantised.save(out, kind, **how)
    return out.getvalue(), np.asarray(quantised.convert("RGB"))


def grey_of(array: NDArray[Any]) -> Pixels:
    return np.repeat(array.astype(np.uint8)[..., None], 3, axis=-1)


RGBA = np.dstack([RGB, ALPHA])
BILEVEL = (GREY > 120).astype(np.uint8) * 255
COLOUR16 = RGB.astype(np.uint16) * 257

# name → the file, the RGB picture it must show, and how far a pixel may be off.
FORMATS: dict[str, tuple[bytes, Pixels, int]] = {
    "JPEG baseline": (pil(RGB, "JPEG", quality=95), RGB, 8),
    "JPEG progressive": (pil(RGB, "JPEG", quality=95, progressive=True), RGB, 8),
    "JPEG 4:4:4": (pil(RGB, "JPEG", quality=95, subsampling=0), RGB, 6),
    "JPEG grey": (pil(GREY, "JPEG", quality=95), grey_of(GREY), 6),
    "JPEG CMYK": (pil(RGB, "JPEG", mode="CMYK", quality=95), RGB, 8),
    "PNG": (pil(RGB, "PNG"), RGB, 0),
    "PNG 1 bit": (pil(BILEVEL, "PNG", mode="1"), grey_of(BILEVEL), 0),
    "PNG grey": (pil(GREY, "PNG"), grey_of(GREY), 0),
    "PNG grey 16 bit": (opencv(DEEP, ".png"), grey_of(DEEP / 257), 1),
    "PNG colour 16 bit": (opencv(COLOUR16[..., ::-1], ".png"), RGB, 0),
    "PNG palette": (*palette("PNG"), 0),
    "PNG palette, transparent": (*palette("PNG", transparency=3), 0),
    "PNG alpha": (pil(RGBA, "PNG"), RGB, 0),
    "PNG grey and alpha": (pil(np.dstack([GREY, ALPHA]), "PNG"), grey_of(GREY), 0),
    "WebP lossy": (pil(RGB, "WEBP", quality=95), RGB, 10),
    "WebP lossless": (pil(RGB, "WEBP", lossless=True), RGB, 0),
    "WebP alpha": (pil(RGBA, "WEBP", lossless=True, exact=True), RGB, 0),
    "WebP animated": (frames("WEBP", lossless=True), RGB, 0),
    "GIF": (*palette("GIF"), 0),
    "GIF animated": (frames("GIF"), RGB, 24),
    "BMP": (pil(RGB, "BMP"), RGB, 0),
    "BMP palette": (*palette("BMP"), 0),
    "BMP 1 bit": (pil(BILEVEL, "BMP", mode="1"), grey_of(BILEVEL), 0),
    "TIFF": (pil(RGB, "TIFF"), RGB, 0),
    "TIFF LZW": (pil(RGB, "TIFF", compression="tiff_lzw"), RGB, 0),
    "TIFF deflate": (pil(RGB, "TIFF", compression="tiff_adobe_deflate"), RGB, 0),
    "TIFF of several pages": (frames("TIFF"), RGB, 0),
    "TIFF grey 16 bit": (pil(DEEP, "TIFF"), grey_of(DEEP / 257), 1),
    "TIFF colour 16 bit": (opencv(COLOUR16[..., ::-1], ".tiff"), RGB, 1),
    "JPEG 2000": (pil(RGB, "JPEG2000"), RGB, 0),
    "JPEG 2000 codestream": (pil(RGB, "JPEG2000", no_jp2=True), RGB, 0),
    "AVIF": (pil(RGB, "AVIF", quality=95), RGB, 8),
    "AVIF animated": (frames("AVIF", quality=95), RGB, 8),
    "ICO": (pil(RGB, "ICO", sizes=[(WIDTH, HEIGHT)]), RGB, 0),
    "PPM": (pil(RGB, "PPM"), RGB, 0),
    "PGM": (pil(GREY, "PPM"), grey_of(GREY), 0),
    "PBM": (pil(BILEVEL, "PPM", mode="1"), grey_of(BILEVEL), 0),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_shows_the_picture_it_was_made_from(name: str) -> None:
    data, rgb, most = FORMATS[name]
    image = DECODER.decode(data)

    assert (image.width, image.height) == (WIDTH, HEIGHT)
    assert image.pixels.dtype == np.uint8 and image.pixels.flags.c_contiguous
    off = np.abs(image.pixels[..., ::-1].astype(int) - rgb)
    assert off.max() <= most
    assert image.warnings == ()


def test_a_picture_of_one_pixel_is_a_picture() -> None:
    image = DECODER.decode(pil(np.array([[[10, 20, 30]]], np.uint8), "PNG"))

    assert image.pixels.tolist() == [[[30, 20, 10]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped_to_white(kind: str) -> None:
    image = DECODER.decode(pil(DEEP, kind))

    assert len(np.unique(image.pixels)) >= 255  # a clipped one is white but for its first rows
    assert abs(float(image.pixels.mean()) - 127.5) < 1


def test_a_heic_file_is_decoded(testdata: Path) -> None:
    files = sorted((testdata / "images" / "nasty").glob("*.hei*"))
    if not files:
        pytest.skip("no HEIC picture is at hand, and none can be made: the encoder is not installed")
    known = {Path(e["file"]).name: e for e in json.loads((testdata / "nasty_expected.json").read_text())}
    for file in files:
        image = DECODER.decode(file.read_bytes())
        assert (image.width, image.height) == (known[file.name]["width"], known[file.name]["height"])


# -- orientation --------------------------------------------------------------------------------------------------

HOW: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "AVIF": {"quality": 95},
}


def _oriented(kind: str, value: Any) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = value
    return pil(RGB, kind, exif=exif, **HOW[kind])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_picture_is_turned_as_its_exif_says_fault_22(kind: str, orientation: int) -> None:
    assert shows(DECODER.decode(_oriented(kind, orientation)), UPRIGHT[orientation](RGB))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", [0, 9, 99, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(kind: str, value: int) -> None:
    assert shows(DECODER.decode(_oriented(kind, value)), RGB)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage that is no TIFF header at all",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40,
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04six\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\xf0\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_broken_exif_block_costs_the_turn_and_not_the_picture(kind: str, block: bytes) -> None:
    assert shows(DECODER.decode(pil(RGB, kind, exif=block, **HOW[kind])), RGB)


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_orientation_behind_the_pixels_of_a_png_counts(orientation: int) -> None:
    data = _oriented("PNG", orientation)
    start = data.index(b"eXIf") - 4
    end = start + 12 + struct.unpack(">I", data[start : start + 4])[0]
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]  # before IEND
    assert moved.index(b"IDAT") < moved.index(b"eXIf")

    assert shows(DECODER.decode(moved), UPRIGHT[orientation](RGB))


_XMP = '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def _with_xmp(kind: str, **how: Any) -> bytes:
    if kind == "PNG":
        info = PIL.PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", _XMP, zip=True)
        return pil(RGB, kind, pnginfo=info, **how)
    if kind == "TIFF":
        return pil(RGB, kind, tiffinfo={700: _XMP.encode()}, **how)
    return pil(RGB, kind, xmp=_XMP.encode(), **HOW[kind], **how)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_orientation_that_stands_in_xmp_alone_turns_nothing(kind: str) -> None:
    data = _with_xmp(kind)
    assert b"tiff:Orientation" in data or kind == "PNG"

    assert shows(DECODER.decode(data), RGB)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_beside_xmp_the_orientation_of_exif_counts(kind: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 3

    assert shows(DECODER.decode(_with_xmp(kind, exif=exif)), UPRIGHT[3](RGB))


def test_a_png_without_exif_is_decoded_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(_: Any) -> None:
        raise AssertionError("Pillow decodes what OpenCV decodes as well")

    monkeypatch.setattr(PIL.PngImagePlugin.PngImageFile, "load", loaded)
    assert shows(DECODER.decode(FORMATS["PNG"][0]), RGB, 0)


# -- damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_used_and_said_to_be_damaged_fault_27(progressive: bool) -> None:
    whole = pil(RGB, "JPEG", quality=95, progressive=progressive)
    image = DECODER.decode(whole[: len(whole) * 6 // 10])

    assert (image.width, image.height) == (WIDTH, HEIGHT)
    assert len(image.warnings) == 1 and "damaged or cut short" in image.warnings[0]
    if not progressive:
        assert np.abs(image.pixels[:8, :, ::-1].astype(int) - RGB[:8]).max() <= 16  # what was there is kept


def test_a_jpeg_that_ends_before_its_pixels_is_an_image_error_fault_20() -> None:
    with pytest.raises(ImageUndecodable):
        DECODER.decode(pil(RGB, "JPEG")[:100])


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "it is empty"),
        (b"\0", "not an image"),
        (b"a note of no pictures", "not an image"),
        (b"<!DOCTYPE html><html><body>", "an HTML page"),
        (b"\n  <HTML>", "an HTML page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b'<?xml version="1.0"?><svg/>', "SVG"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image"),
        (b"\x1aE\xdf\xa3" + bytes(60), "a video"),
        (b"\0\0\0\x20ftypisom" + bytes(60), "a video"),
        (bytes(range(256)) * 8, "not an image"),
        (b"PK\x03\x04" + bytes(60), "not an image"),
    ],
)
def test_what_is_no_picture_is_said_to_be_none(data: bytes, named: str) -> None:
    with pytest.raises(ImageUndecodable, match="Can't decode file, possibly not an image") as caught:
        DECODER.decode(data)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"8BPS\0\1" + bytes(40), "Photoshop"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
        (b"\x76\x2f\x31\x01" + bytes(40), "OpenEXR"),
        (b"#?RADIANCE\n", "Radiance"),
    ],
)
def test_a_picture_of_a_format_that_is_not_read_names_it(data: bytes, named: str) -> None:
    with pytest.raises(UnsupportedFormat, match=named):
        DECODER.decode(data)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_file_cut_to_its_header_is_an_image_error_or_a_picture_of_its_size(name: str) -> None:
    data = FORMATS[name][0]
    for part in (8, 16, 30, len(data) // 2):
        try:
            image = DECODER.decode(data[:part])
        except ImageError:
            continue
        assert (image.width, image.height) == (WIDTH, HEIGHT)


# -- limits -------------------------------------------------------------------------------------------------------


def test_more_bytes_than_allowed_are_refused_with_both_numbers() -> None:
    data = FORMATS["PNG"][0]
    with pytest.raises(ImageTooLarge, match=f"{len(data)} bytes; at most {len(data) - 1}"):
        Decoder(Limits(bytes=len(data) - 1)).decode(data)
    assert Decoder(Limits(bytes=len(data))).decode(data).width == WIDTH


@pytest.mark.parametrize("name", ["JPEG baseline", "PNG", "WebP lossless", "GIF", "BMP", "TIFF", "AVIF", "JPEG 2000"])
def test_one_pixel_too_many_is_refused_in_every_format(name: str) -> None:
    data = FORMATS[name][0]
    assert Decoder(Limits(pixels=WIDTH * HEIGHT)).decode(data).width == WIDTH
    with pytest.raises(ImageTooLarge, match=f"{WIDTH}×{HEIGHT}"):
        Decoder(Limits(pixels=WIDTH * HEIGHT - 1)).decode(data)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _ihdr(width: int, height: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))


def _png_bomb(*headers: tuple[int, int], side: int = 20_000) -> bytes:
    """A 1-bit PNG whose pixels are `side` × `side`, with these IHDR chunks."""
    pixels = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", *(_ihdr(*size) for size in headers), _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    )


def _patched(data: bytes, after: bytes, offset: int, value: bytes) -> bytes:
    at = data.index(after) + len(after) + offset
    return data[:at] + value + data[at + len(value) :]


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _bombs() -> dict[str, bytes]:
    """Files of a few kilobytes that say, or hide, that they have hundreds of megapixels."""
    png, jpeg, side = _png_bomb((20_000, 20_000)), FORMATS["JPEG baseline"][0], struct.pack(">I", 20_000)
    jp2 = _patched(FORMATS["JPEG 2000"][0], b"ihdr", 0, side * 2)
    tiff, width, height = FORMATS["TIFF LZW"][0], struct.pack("<HHI", 256, 3, 1), struct.pack("<HHI", 257, 3, 1)
    return {
        "PNG": png,
        "PNG with a second, small header": _png_bomb((20_000, 20_000), (10, 10)),
        "PNG with a chunk of 4 GB": _patched(FORMATS["PNG"][0], b"IDAT", -8, b"\xf0\0\0\0"),
        "PNG with a last chunk of 2 GB": FORMATS["PNG"][0] + b"\x7f\0\0\0tEXt" + bytes(100),
        "PNG with a small header first": _png_bomb((10, 10), (20_000, 20_000)),
        "ICO around a PNG": struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 1, len(png), 22) + png,
        "ICO around a bitmap": struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 1, 90_000, 22)
        + struct.pack("<IiiHHIIIIII", 40, 20_000, 40_000, 1, 1, 0, 0, 0, 0, 0, 0)
        + bytes(90_000),
        "JPEG": _patched(jpeg, b"\xff\xc0", 3, struct.pack(">HH", 20_000, 20_000)),
        "GIF": _patched(FORMATS["GIF"][0], b"GIF87a", 0, struct.pack("<HH", 60_000, 60_000)),
        "BMP": _patched(FORMATS["BMP"][0], struct.pack("<I", 40), 0, struct.pack("<ii", 20_000, 20_000)),
        "BMP upside down": _patched(FORMATS["BMP"][0], struct.pack("<I", 40), 0, struct.pack("<ii", 20_000, -20_000)),
        "PPM": b"P6\n20000 20000\n255\n" + bytes(1000),
        "TIFF": _patched(_patched(tiff, width, 0, struct.pack("<I", 20_000)), height, 0, struct.pack("<I", 20_000)),
        "JPEG 2000": jp2,
        "JPEG 2000 whose box says less": _patched(jp2, b"\xff\x4f\xff\x51", 4, side * 2).replace(
            b"ihdr" + side * 2, b"ihdr" + struct.pack(">II", 10, 10)
        ),
        "WebP whose canvas has another size": _riff(
            b"VP8X" + struct.pack("<II", 10, 0) + (16_000).to_bytes(3, "little") * 2 + FORMATS["WebP lossy"][0][12:]
        ),
    }


_MEASURE = """
import json, sys
from pathlib import Path
from visage.errors import ImageError
from visage.images.decoding import Decoder, Limits

def peak():
    status = Path("/proc/self/status").read_text().split("\\n")
    return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) // 1024

decoder = Decoder(Limits())
decoder.decode(Path(sys.argv[1]).read_bytes())
told = {}
for path in map(Path, sys.argv[2:]):
    before = peak()
    try:
        shape = decoder.decode(path.read_bytes()).pixels.shape
        told[path.name] = ["decoded", str(shape), peak() - before]
    except ImageError as error:
        told[path.name] = [type(error).__name__, str(error), peak() - before]
print(json.dumps(told))
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists() or "VmHWM" not in Path("/proc/self/status").read_text(),
    reason="this system does not tell the peak memory of a process",
)
def test_bombs_are_refused_by_their_header_without_the_memory_for_their_pixels_fault_21(tmp_path: Path) -> None:
    bombs = _bombs()
    small = tmp_path / "small"
    small.write_bytes(FORMATS["PNG"][0])
    for name, data in bombs.items():
        assert len(data) < 200_000, name
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", _MEASURE, str(small), *(str(tmp_path / name) for name in bombs)]
    done = subprocess.run(command, check=False, cwd=REPO / "src", capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["PNG"][0] == "ImageTooLarge" and "20000×20000" in told["PNG"][1]
    for name, (outcome, said, megabytes) in told.items():
        assert outcome != "decoded" or "20000" not in said, (name, said)
        assert megabytes < 40, (name, outcome, megabytes)  # the smallest of them has 1200 MB of pixels
    lying = {
        "PNG with a chunk of 4 GB",
        "PNG with a last chunk of 2 GB",
        "JPEG 2000 whose box says less",
    }
    refused = {name for name, (outcome, _, _) in told.items() if outcome == "ImageTooLarge"}
    assert refused == bombs.keys() - lying


# -- anything at all ----------------------------------------------------------------------------------------------


def _answers(data: bytes) -> None:
    try:
        image = DECODER.decode(data)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert image.pixels.ndim == 3 and image.pixels.shape[2] == 3 and image.pixels.dtype == np.uint8
        assert 0 < image.width * image.height <= DECODER.limits.pixels


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_picture_or_an_image_error(data: bytes) -> None:
    _answers(data)


MAGICS = [data[:n] for data, _, _ in FORMATS.values() for n in (4, 12, 26)]


@given(st.sampled_from(MAGICS), st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_behind_a_picture_s_beginning_are_a_picture_or_an_image_error(magic: bytes, rest: bytes) -> None:
    _answers(magic + rest)


@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4),
    st.one_of(st.just(1.0), st.floats(0, 1)),
)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_damage_to_a_picture_leaves_a_picture_or_an_image_error(
    name: str, damage: list[tuple[float, bytes]], kept: float
) -> None:
    data = bytearray(FORMATS[name][0])
    for where, what in damage:
        at = int(where * where * len(data))  # nearer the header, where damage does most
        data[at : at + len(what)] = what
    _answers(bytes(data[: int(len(data) * kept)]))
