"""Pictures as callers have them: files, bytes, open files, addresses."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Remote:
    """A picture that the service fetches: an http address, or a path below its ROOT_IMAGES_DIR."""

    url: str


class _Readable(Protocol):
    def read(self) -> bytes: ...


Image: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | _Readable | Remote
"""A path, an http address, a file's bytes, an open file, or a `Remote`."""

Read: TypeAlias = bytes | Remote


def is_one(images: object) -> bool:
    """Whether this is a picture rather than several."""
    return isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Remote) or hasattr(images, "read")


def listed(images: Image | Sequence[Image]) -> list[Image]:
    return [images] if is_one(images) else list(images)  # type: ignore[list-item, arg-type] # as `is_one` has told


def read(image: Image) -> Read:
    """The file's bytes, or where the service finds it. Raises OSError."""
    match image:
        case Remote():
            return image
        case bytes():
            return image
        case bytearray() | memoryview():
            return bytes(image)
        case str() if image.startswith(("http://", "https://")):
            return Remote(image)
        case str() | os.PathLike():
            return Path(image).read_bytes()
        case _:
            return _content(image.read())


def _content(found: object) -> bytes:
    if not isinstance(found, bytes):
        raise TypeError("a picture's file must be opened in binary mode: open(path, 'rb')")
    return found


def written(image: Read, *, as_json: bool) -> str | bytes | Mapping[str, Any]:
    """As a body holds it."""
    if isinstance(image, Remote):
        return {"url": image.url}
    return base64.b64encode(image).decode() if as_json else image
