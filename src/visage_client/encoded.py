"""Pictures within text: base64, as JSON and databases hold them, and data URIs, as pages do."""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from visage_client.errors import shown

# How base64 of a JPEG, PNG, GIF, WebP, TIFF, HEIC, AVIF or JPEG 2000 begins. No file of a picture begins so.
_BEGINS = re.compile(r"[/_]9j[/_]|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|AAAA..Z0eX|AAAADGpQ")
_LETTERS = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_SHORTEST = 64  # characters; a path may begin in the same way
_URL_SAFE = str.maketrans("-_", "+/")


class NoPicture(ValueError):
    """What was given as a picture is none."""


def begins(text: str) -> bool:
    """Whether this is the base64 of a picture, as far as its beginning tells."""
    return len(text) >= _SHORTEST and _BEGINS.match(text.lstrip()[:32]) is not None


def decoded(text: str) -> bytes:
    """Of base64, with line breaks or of URLs, and with its padding or without. Raises NoPicture: a space within a line
    was a plus before a form or an address took it for a space.
    """
    plain = "".join(line.strip() for line in text.splitlines())
    if _LETTERS.fullmatch(plain):
        bare = plain.rstrip("=").translate(_URL_SAFE)
        try:
            return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        except binascii.Error:
            pass
    raise NoPicture(
        f"a text of {len(text)} characters is neither a path, nor an http address, nor base64: it begins {shown(text)}"
    )


def of_data_uri(uri: str) -> bytes:
    """What stands in it. Raises NoPicture."""
    about, comma, content = uri.partition(",")
    if not comma:
        raise NoPicture(f"a data URI has a comma before what it holds: {shown(uri)}")
    found = unquote_to_bytes(content)
    return decoded(found.decode("latin-1")) if about.lower().rstrip().endswith(";base64") else found


def plain(data: bytes) -> bytes:
    """A picture's bytes as they are, or what their base64 holds."""
    head = data[:_SHORTEST]
    if head[:5].lower() == b"data:":
        return of_data_uri(data.decode("latin-1"))
    if begins(head.decode("latin-1")):
        try:
            return decoded(data.decode("latin-1"))
        except NoPicture:
            return data  # the service says what it is
    return data
