"""What to tell a caller who sent something that is not read, by the bytes it begins with."""

from visage.errors import ImageError, ImageUndecodable, UnsupportedFormat

READ = "JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000, AVIF, HEIC, ICO, PNM"

_NO_PICTURE: tuple[tuple[bytes, str], ...] = (
    (b"%pdf", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document (SVG is not read)"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"\x1ae\xdf\xa3", "a video"),
)
_NOT_READ: tuple[tuple[bytes, str], ...] = (
    (b"8bps", "a Photoshop document"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cjxl ", "JPEG XL"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?radiance", "Radiance HDR"),
    (b"ii\xbc", "JPEG XR"),
    (b"qoif", "QOI"),
    (b"iiro", "a camera's raw file (ORF)"),
    (b"iirs", "a camera's raw file (ORF)"),
    (b"mmor", "a camera's raw file (ORF)"),
    (b"iiu\x00", "a camera's raw file (RW2)"),
    (b"fujifilmccd-raw", "a camera's raw file (RAF)"),
    (b"fovb", "a camera's raw file (X3F)"),
)


def refusal_of(data: bytes) -> ImageError:
    """The error for bytes that no decoder knows."""
    start = data[:64].lstrip().lower()
    for magic, name in _NOT_READ:
        if start.startswith(magic):
            return unread(name)
    for magic, name in _NO_PICTURE:
        if start.startswith(magic):
            return no_picture(name)
    return ImageUndecodable("Can't decode file, possibly not an image")


def unread(name: str) -> UnsupportedFormat:
    return UnsupportedFormat(f"The image format is not read: {name}; readable are {READ}")


def no_picture(name: str) -> ImageUndecodable:
    return ImageUndecodable(f"Can't decode file, possibly not an image: it is {name}")
