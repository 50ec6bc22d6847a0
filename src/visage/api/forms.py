"""A multipart form as it comes: which of its parts are files, and what they hold."""

import quopri
import re
from typing import Any

import pybase64
from starlette.formparsers import MultiPartException, MultiPartParser

from visage.images.signatures import is_picture

# RFC 7578 wants `filename`; some senders write only RFC 8187's, which may come in pieces (RFC 2231).
_EXTENDED_NAME = re.compile(rb";[ \t]*filename\*", re.IGNORECASE)
_UNNAMED = b'; filename="unnamed"'
_FILE_TYPES = (b"image/", b"application/octet-stream", b"binary/octet-stream")
_HEAD = 32  # bytes, by which a picture is known
_AS_IT_IS = ("", "binary", "8bit", "7bit")


class FormReader(MultiPartParser):
    """Keeps files in memory, which the door bounds, and joins the pieces of each once.

    Starlette's own writes them to temporary files (on disk past 1 MB, by a thread for each piece) and reads them back.
    A part is a file that has a file's name or a picture's type, or that begins as a picture does (`-F file=<a.jpg`).
    What its Content-Transfer-Encoding did is undone.
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.files: list[bytes] = []
        self._pieces: list[memoryview | bytes] = []

    def on_headers_finished(self) -> None:
        part = self._current_part
        if _header(part, b"content-type").lower().startswith(_FILE_TYPES) or _EXTENDED_NAME.search(
            part.content_disposition or b""
        ):
            self._name()
        super().on_headers_finished()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and len(part.data) < _HEAD:
            begun = bytes(part.data)
            if is_picture(begun + data[start : min(end, start + _HEAD)]):
                self._become_file(begun)
        if part.file is None:
            super().on_part_data(data, start, end)
        else:
            self._pieces.append(memoryview(data)[start:end])

    def on_part_end(self) -> None:
        part = self._current_part
        encoding = _header(part, b"content-transfer-encoding").decode("latin-1").strip().lower()
        if part.file is None and encoding not in _AS_IT_IS:
            content = _decoded(bytes(part.data), encoding)
            if is_picture(content):
                self._become_file(content)
                encoding = ""
            else:
                part.data = bytearray(content)
        super().on_part_end()
        if part.file is not None:  # one that is cut off never comes here
            self.files.append(_decoded(b"".join(self._pieces), encoding))
            self._pieces = []

    def _become_file(self, content: bytes) -> None:
        """The part at hand was taken for a text; `content` is what came of it."""
        self._current_fields -= 1
        self._name()
        super().on_headers_finished()
        self._pieces = [content]

    def _name(self) -> None:
        self._current_part.content_disposition = (self._current_part.content_disposition or b"") + _UNNAMED


def _header(part: Any, name: bytes) -> bytes:
    found: bytes = next((value for key, value in part.item_headers if key == name), b"")
    return found


def _decoded(content: bytes, encoding: str) -> bytes:
    """Raises MultiPartException."""
    if encoding in _AS_IT_IS or is_picture(content):  # not all who say base64 do it
        return content
    if encoding == "quoted-printable":
        return quopri.decodestring(content)
    if encoding != "base64":
        raise MultiPartException(
            f"Content-Transfer-Encoding {encoding[:40]!r} is not read, only base64, quoted-printable and binary."
        )
    try:
        return pybase64.b64decode(content)
    except ValueError:
        return content  # it fails as what it is: no picture
