"""Pictures that others read, through the whole application: one face where it is, or the reason."""

import struct
from pathlib import Path

import pytest

from tests.images.conftest import cases
from tests.images.jpegs import segment
from tests.images.pictures import RGB, pil
from tests.support import Client, b64

__all__ = ["cases"]

# Where the face is, in pixels of the upright portrait of 512×600; without colours, or cut, its chin moves by 6.
FACE = (179, 122, 354, 332)
WARNED = {
    "j_exif_len_short.jpg": "header is flawed",
    "jj_icc_missing_part.jpg": "header is flawed",
    "jj_jfif2.jpg": "header is flawed",
    "trunc60_cmyk_adobe.jpg": "damaged or cut short",
}
# It lies on its side, since its EXIF orientation is nothing to a HEIC (docs/api.md).
ASIDE = "exif6_noirot.heic"


def test_the_face_is_found_where_it_is_in_every_case(real: Client, cases: Path) -> None:
    files = sorted(cases.iterdir())
    assert len(files) >= 21
    for file in files:
        answer = real.post("/v1/detect", content=file.read_bytes(), headers={"content-type": "image/jpeg"})
        assert answer.status_code == 200, (file.name, answer.text)
        (image,) = answer.json()["images"]
        assert image["status"] == "ok", (file.name, image)
        if file.name == ASIDE:
            continue
        said = image.get("warnings", [])
        assert [part for part in said if WARNED.get(file.name, "nothing") in part] == said, (file.name, said)
        assert bool(said) == (file.name in WARNED), file.name
        (face,) = image["faces"]
        box = face["box"]
        assert all(abs(one - other) <= 7 for one, other in zip(box, FACE, strict=True)), (file.name, box)


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        (
            b"\xff\xd8"
            + segment(0xC0, struct.pack(">BHHB", 12, 8, 8, 1) + b"\1\x11\0")
            + segment(0xDA, b"\1\1\0\0?\0"),
            415,
            "unsupported-format",
        ),
        (b"Pf\n96 64\n-1.0\n" + bytes(range(256)) * 96, 415, "unsupported-format"),
        (pil(RGB, "AVIF")[:200], 422, "image-undecodable"),
        (b"P5\n9 9\n255\n", 422, "image-undecodable"),
        (b"P5\n90000 90000\n255\n", 413, "image-too-large"),
    ],
    ids=["12 bits", "fractions", "cut", "nothing", "large"],
)
def test_what_is_not_read_has_its_status_on_routes_of_one_picture(
    real: Client, data: bytes, status: int, kind: str
) -> None:
    answer = real.post("/draw_detections", json={"images": {"data": [b64(data)]}})

    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:visage:{kind}")
