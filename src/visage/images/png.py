"""PNG (ISO/IEC 15948): of its chunks the decoder gets those that the pixels need, and no other."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from visage.errors import UnsupportedFormat
from visage.faces import Image
from visage.images.decoders import broken, by_opencv, by_pillow, first_that_can, opened_by_pillow
from visage.images.limits import Limits
from visage.images.turning import orientation_of, turned

START = b"\x89PNG\r\n\x1a\n"

FLAWED = "the PNG's EXIF block is damaged and was not used; the picture may not be upright"

STRANGE = "the PNG has a part that is not known here; it may be meant to look otherwise"
CUT = "the PNG is cut short behind its last pixel"

_FRAME = 12  # bytes around a chunk's own: length, name and checksum
_NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_ANCILLARY = 0x20  # the bit of a name's first letter that says that decoders may do without
_MOST_CHUNKS = 200_000
_MOST_TEXT = 1024 * 1024  # bytes that are unpacked to look for an EXIF block
# EXIF as ImageMagick writes it: in hexadecimal digits, in a text of one of these names.
_PROFILES = (b"Raw profile type exif\0", b"Raw profile type APP1\0")


@dataclass(frozen=True, slots=True)
class _Chunk:
    """`start`: where its length stands; `end`: behind its checksum."""

    name: bytes
    start: int
    end: int


def read(data: bytes, limits: Limits) -> Image:
    """One PNG, upright; of an animated one the picture that readers of plain PNG show.

    Raises ImageTooLarge, UnsupportedFormat or ImageUndecodable.
    """
    chunks = list(_chunks(data))
    if chunks and chunks[0].name == b"CgBI":
        raise UnsupportedFormat("The image format is not read: a PNG as Xcode packs it (CgBI); send the original")
    for width, height in [_size(data, chunk) for chunk in chunks if chunk.name == b"IHDR"] or [(0, 0)]:
        limits.judge(width, height)
    orientation, said = _orientation(data, chunks)
    bare = _bare(data, chunks)
    if any(not chunk.name[0] & _ANCILLARY and chunk.name not in _NEEDED for chunk in chunks):
        said = (*said, STRANGE)
    if not chunks or chunks[-1].name != b"IEND":
        bare, said = bare + _end_of(data, chunks), (*said, CUT)
    pixels = first_that_can("PNG", lambda: by_opencv(bare), lambda: by_pillow(opened_by_pillow(bare, "PNG")))
    return Image(turned(pixels, orientation), "PNG", said)


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Those that lie whole inside the data, up to the end of the picture.

    The decoder sees no other: it would make room for what a chunk says it has, up to 4 GiB.
    """
    at = len(START)
    for _ in range(_MOST_CHUNKS):
        if at + _FRAME > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + _FRAME + length
        if end > len(data):
            return
        yield _Chunk(name, at, end)
        if name == b"IEND":
            return
        at = end


def _bare(data: bytes, chunks: list[_Chunk]) -> bytes:
    """The file with nothing but the chunks that pixels need: a flaw in another is none of the picture."""
    if all(chunk.name in _NEEDED for chunk in chunks):
        return data[: chunks[-1].end] if chunks else data[: len(START)]
    view = memoryview(data)
    return b"".join((START, *(view[chunk.start : chunk.end] for chunk in chunks if chunk.name in _NEEDED)))


def _end_of(data: bytes, chunks: list[_Chunk]) -> bytes:
    """What a file that is cut short has of its last piece of pixels, and an end."""
    at = chunks[-1].end if chunks else len(START)
    name, body = data[at + 4 : at + 8], data[at + 8 :]
    return (_chunk(name, body) if name == b"IDAT" else b"") + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _size(data: bytes, header: _Chunk) -> tuple[int, int]:
    if header.end - header.start < _FRAME + 13:
        raise broken("PNG")
    width, height = struct.unpack_from(">II", data, header.start + 8)
    return width, height


def _orientation(data: bytes, chunks: list[_Chunk]) -> tuple[int, tuple[str, ...]]:
    """EXIF's, wherever in the file it stands; and what is to be said about it."""
    for chunk in chunks:
        body = data[chunk.start + 8 : chunk.end - 4] if chunk.name in (b"eXIf", b"zTXt", b"tEXt", b"iTXt") else b""
        block = body if chunk.name == b"eXIf" else _profile(chunk.name, body)
        if not block:
            continue
        if zlib.crc32(data[chunk.start + 4 : chunk.end - 4]) != int.from_bytes(data[chunk.end - 4 : chunk.end], "big"):
            return 1, (FLAWED,)
        found = orientation_of(block)
        if found:
            return found, ()
    return 1, ()


def _profile(name: bytes, body: bytes) -> bytes:
    """The EXIF block in a text, if it is one of those that hold one: a line break, a kind, a length, digits."""
    keyword = next((profile for profile in _PROFILES if body.startswith(profile)), None)
    if keyword is None:
        return b""
    text = body[len(keyword) :]
    try:
        packed = name == b"zTXt"
        if packed:
            text = text[1:]
        elif name == b"iTXt":
            packed, text = text[0] == 1, text[2:].split(b"\0", 2)[2]
        if packed:
            text = zlib.decompressobj().decompress(text, _MOST_TEXT)
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except (ValueError, IndexError, zlib.error):
        return b""
