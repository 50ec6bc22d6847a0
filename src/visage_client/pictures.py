"""Pictures as callers have them: files, bytes, open files, addresses, base64 text, pictures of Pillow."""

import io
import os
import re
from array import array
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, TypeGuard
from urllib.parse import urlsplit
from urllib.request import url2pathname

from visage_client.encoded import NoPicture, begins, decoded, of_data_uri, plain
from visage_client.errors import shown

_LONGEST_PATH = 4096  # characters; no system has longer ones
_LONGEST_SHOWN = 200
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# What Pillow writes as a PNG with the same pixels.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_BYTES = ("B", "b", "c")  # how memoryviews and arrays call them


@dataclass(frozen=True, slots=True)
class Remote:
    """A picture that the service fetches: an http address, or a path below its ROOT_IMAGES_DIR."""

    url: str


class _Readable(Protocol):
    def read(self) -> bytes: ...


class _Pillow(Protocol):
    """A picture of Pillow, or what can be saved as one."""

    @property
    def mode(self) -> str: ...
    def convert(self, mode: str) -> Any: ...
    def save(self, fp: Any, format: str | None = None, **params: Any) -> None: ...  # noqa: A002 — Pillow's word


class _Array(Protocol):
    """A NumPy array, of a picture's file: one row of bytes."""

    @property
    def ndim(self) -> int: ...
    def tobytes(self) -> bytes: ...


if TYPE_CHECKING:
    _Bytes: TypeAlias = bytes | bytearray | memoryview | array[int]
else:  # Python 3.11 cannot say it
    _Bytes = bytes | bytearray | memoryview | array

Image: TypeAlias = str | os.PathLike[str] | _Bytes | BinaryIO | _Readable | Remote | _Pillow | _Array
"""A path, an http address, a file's bytes, an open file, a `Remote`; base64 text or a data URI; a picture of Pillow.

Of a NumPy array the bytes of a file, as cv2.imencode makes them: pixels are no picture, since nothing tells the order
of their colours.
"""

Read: TypeAlias = bytes | Remote


def is_one(images: object) -> bool:
    """Whether this is a picture, or should be one, rather than several."""
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | array | Remote):
        return True
    return hasattr(images, "read") or is_pillow(images) or (is_array(images) and _kind(images) not in "OUST")


def each(images: object) -> Iterable[Image]:
    """The pictures, one as one of them. Raises TypeError for what is neither a picture nor a row of such."""
    if is_one(images):
        return [images]  # type: ignore[list-item] # as `is_one` has told
    if isinstance(images, Mapping | Set) or not isinstance(images, Iterable):
        what = "has no order" if isinstance(images, Set) else "is neither"
        raise TypeError(f"pictures are given as one or as a list of them: {type(images).__name__} {what}")
    return images


def listed(images: Image | Sequence[Image]) -> list[Image]:
    """Raises TypeError."""
    return list(each(images))


def read(image: Image) -> Read:
    """The file's bytes, or where the service finds it. Raises OSError, ValueError, TypeError."""
    match image:
        case Remote():
            return image
        case bytes() | bytearray() | memoryview() | array():
            return plain(_held(image))
        case str():
            return _of_text(image)
        case os.PathLike():
            return _file(os.fspath(image))
    if hasattr(image, "read"):
        return _content(image.read())
    return _png(image) if is_pillow(image) else _of_array(image)


def _held(data: _Bytes) -> bytes:
    """Raises TypeError."""
    kind = "B"
    if isinstance(data, memoryview | array):
        kind = data.format if isinstance(data, memoryview) else data.typecode
    if kind not in _BYTES:
        raise TypeError(f"a picture is bytes, and not a row of numbers: {type(data).__name__} of {kind!r}")
    return bytes(data)


def _of_text(text: str) -> Read:
    if text[:5].lower() == "data:":
        return of_data_uri(text)
    scheme = _SCHEME.match(text)
    if scheme is None:
        if len(text) > _LONGEST_PATH or (begins(text) and not _exists(text)):
            return decoded(text)
        return _file(text)
    match scheme[1].lower():
        case "http" | "https":
            return Remote(text)
        case "file":
            return _file(url2pathname(urlsplit(text).path))
        case other:
            raise NoPicture(f"the service fetches pictures by http and https, not by {other}: {shown(text)}")


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _file(path: str) -> bytes:
    """Raises OSError, NoPicture."""
    if not path or "\0" in path:
        raise NoPicture(f"{shown(path)} is no path of a file")
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        if len(path) <= _LONGEST_SHOWN:
            raise
        raise type(exc)(exc.errno, exc.strerror, f"{path[:_LONGEST_SHOWN]}…") from None


def _content(found: object) -> bytes:
    if not isinstance(found, bytes | bytearray | memoryview):
        raise TypeError(
            "a picture's file must be opened in binary mode, and not as a stream of await: open(path, 'rb')"
        )
    return plain(bytes(found))


def is_pillow(image: object) -> TypeGuard[_Pillow]:
    return hasattr(image, "mode") and callable(getattr(image, "convert", None)) and hasattr(image, "save")


def _png(image: _Pillow) -> bytes:
    """The pixels as they are, with the EXIF data that say how they are turned."""
    made = io.BytesIO()
    exif = image.getexif().tobytes() if hasattr(image, "getexif") else b""
    fit = image if image.mode in _MODES else image.convert("RGB")
    fit.save(made, format="PNG", compress_level=1, **({"exif": exif} if exif else {}))
    return made.getvalue()


def is_array(image: object) -> bool:
    """Whether it is NumPy's, PyTorch's or one of their kind."""
    return hasattr(image, "__array_interface__") or hasattr(image, "__array__")


def _kind(image: object) -> str:
    """NumPy's letter: u and i are integers, f floats, U texts, O objects; ? where it is of another library."""
    return str(getattr(getattr(image, "dtype", None), "kind", "?"))


def is_file_array(image: Any) -> bool:
    """Whether it is one row of bytes; cv2.imencode used to make a column of them."""
    shape = tuple(getattr(image, "shape", ()))
    one = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
    return one and _kind(image) in "ui" and image.dtype.itemsize == 1


def _of_array(image: Any) -> bytes:
    if not is_array(image):
        raise TypeError(
            "a picture is a path, an http address, bytes, an open file, a Remote, base64 text or a picture of Pillow, "
            f"and not {type(image).__name__}"
        )
    if is_file_array(image):
        return plain(image.tobytes())
    shape = "×".join(str(side) for side in getattr(image, "shape", ()))
    raise TypeError(
        f"an array of numbers ({shape}) is no picture's file, and nothing tells the order of its colours: encode it, "
        "as cv2.imencode('.png', pixels)[1] does for blue, green, red, and PIL.Image.fromarray(pixels) is taken for "
        "red, green, blue"
    )


def written(image: Read, *, as_json: bool) -> str | bytes | Mapping[str, Any]:
    """As a body holds it."""
    if isinstance(image, Remote):
        return {"url": image.url}
    return b64encode(image).decode() if as_json else image
