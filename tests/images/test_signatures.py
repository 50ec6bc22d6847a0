"""Pictures are known by their first bytes, and those whose bytes were lost on the way by what is left."""

import io
import json

import cv2
import numpy as np
import pi_heif
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.images.signatures import is_picture, is_stripped_picture

PIXELS = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "AVIF", "ICO", "PPM"]


def written(form: str) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(file, form)
    return file.getvalue()


def curled(data: bytes) -> bytes:
    """As `curl -d @file` sends it."""
    return data.translate(None, b"\0\r\n")


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_read_is_known(form: str) -> None:
    assert is_picture(written(form)) and not is_stripped_picture(written(form))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp", "a.tiff", "a.jp2", "a.pgm", "a.ppm", "a.pbm"])
def test_so_is_what_opencv_writes(name: str) -> None:
    picture = PIXELS[..., 0] if name in ("a.pgm", "a.pbm") else PIXELS
    assert is_picture(bytes(cv2.imencode(name[1:], picture)[1]))


def test_heic_and_the_codestream_of_jpeg_2000() -> None:
    assert is_picture(b"\0\0\0\x18ftypheic" + bytes(8)) and is_picture(b"\0\0\0\x1cftypmif1" + bytes(8))
    assert pi_heif.is_supported(b"\0\0\0\x18ftypheic" + bytes(8))
    file = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(file, "JPEG2000", no_jp2=True)
    assert is_picture(file.getvalue())


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("PPM", "DIB", "ICO")])
def test_what_curl_took_line_breaks_out_of_is_known_too(form: str) -> None:
    assert is_stripped_picture(curled(written(form)))


JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(JSON, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]))
def test_json_is_no_picture(value: object, encoding: str) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        body = text.encode(encoding, "replace")
        assert not is_picture(body) and not is_stripped_picture(body)


@pytest.mark.parametrize(
    "text", ["", "BM", "BMW and others", "Picture", "P", "images=a", "MM", "<html>", "GIF", "RIFF"]
)
def test_nor_is_a_text(text: str) -> None:
    assert not is_picture(text.encode()) and not is_stripped_picture(text.encode())


@given(st.binary())
def test_any_bytes_may_be_asked(data: bytes) -> None:
    assert not (is_stripped_picture(data) and b"\0" in data)
    is_picture(data)
