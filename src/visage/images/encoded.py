"""Pictures in base64, as callers write it."""

import base64
from dataclasses import dataclass
from urllib.parse import unquote

import pybase64

from visage.errors import ImageTooLarge, ImageUndecodable
from visage.images.signatures import is_picture

# What gets into base64 texts by accident: quotes, escapes, NUL, byte order marks. URLs have an alphabet of their own.
_SKIPPED = str.maketrans("-_", "+/", "\"'`\\\0\ufeff\u200b\u200e\u200f\u2060\u2018\u2019\u201c\u201d")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Base64 text, with or without a data-URI prefix: everything up to the last comma is dropped."""

    text: str


def decode_base64(encoded: Encoded, limit: int) -> bytes:
    """The bytes. Blanks, quotes, NUL and byte order marks are skipped, padding may be missing or too much, the alphabet
    may be that of URLs. Whatever else stands there is skipped as Python's `base64.b64decode` skips it, where a picture
    comes of that: any text could be made bytes so, and most would be noise.

    Raises ImageTooLarge or ImageUndecodable.
    """
    text = encoded.text[encoded.text.rfind(",") + 1 :]
    if len(text) // 4 * 3 > limit + 3:
        raise ImageTooLarge(f"The image has about {len(text) // 4 * 3} bytes; at most {limit} are read")
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        pass
    if "%" in text or "\\" in text:  # neither is of the alphabet: written for a form, or escaped once too often
        text = unquote(text).replace("\\n", "").replace("\\r", "")
    if text[:2] in ("b'", 'b"'):  # as Python shows bytes
        text = text[2:]
    compact = "".join(text.split()).translate(_SKIPPED)
    bare = compact.rstrip("=")
    try:
        if bare or not compact:
            return pybase64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        pass
    try:
        found = base64.b64decode(text)
    except ValueError:
        found = b""
    if not is_picture(found):
        raise ImageUndecodable("Can't decode file, possibly not an image: the base64 text is broken")
    return found
