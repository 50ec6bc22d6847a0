"""Content codings (RFC 9110, 8.4.1): bodies that were packed for their way, unpacked in steps of bounded size."""

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_STEP = 256 * 1024  # bytes that one step of a decoder makes, however little they were packed into
_ZSTD_WINDOW = {int(zstd.DecompressionParameter.window_log_max): 23}  # 8 MB: what RFC 9659 has senders keep to
_MOST_CODINGS = 5  # one over the other
_ALIASES = {"x-gzip": "gzip"}
# They say that nothing was packed; the second is no coding, and sent by callers who mean the text's charset.
_NOTHING = frozenset({"", "identity", "utf-8"})
# How data of a coding begins; the others' may begin with anything.
_MAGIC = {"gzip": (b"\x1f\x8b",), "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([i]) + b"\x2a\x4d\x18" for i in range(80, 96)))}


class UnknownCoding(ValueError):
    """A coding that is not undone here; the text names it."""


class Broken(ValueError):
    """What was sent as packed cannot be unpacked; the text says which coding and why."""


class TooLarge(ValueError):
    """It would be more than may be."""


def codings_of(header: str) -> tuple[str, ...]:
    """The codings that a Content-Encoding header names, in the order in which they were applied.

    Raises UnknownCoding.
    """
    names = [name.strip().lower() for name in header.split(",")]
    codings = tuple(_ALIASES.get(name, name) for name in names if name not in _NOTHING)
    for coding in codings:
        if coding not in _DECODERS:
            raise UnknownCoding(f"{coding[:40]!r} is not undone here; known are {', '.join(CODINGS)}")
    if len(codings) > _MOST_CODINGS:
        raise UnknownCoding(f"{len(codings)} codings one over the other; at most {_MOST_CODINGS} are undone")
    return codings


def has_signature(coding: str) -> bool:
    """Whether its data tell by their first bytes what they are."""
    return coding in _MAGIC


def begins_as(coding: str, data: bytes) -> bool:
    """Whether it may be data of that coding, by its first bytes."""
    return coding not in _MAGIC or data.startswith(_MAGIC[coding])


def unpack(data: bytes, coding: str, most: int) -> bytes:
    """All of it at once. Raises Broken and TooLarge."""
    unpacker = Unpacker([coding], most)
    whole = b"".join(unpacker.feed(data))
    unpacker.finish()
    return whole


class Unpacker:
    """Undoes codings one after the other, the last first; none of them makes more than `most` bytes."""

    def __init__(self, codings: Sequence[str], most: int | None = None) -> None:
        self._decoders = [_Counted(coding, _DECODERS[coding](), most) for coding in reversed(codings)]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that come of `data`, made as they are asked for; some are empty. Raises Broken and TooLarge."""
        for start in range(0, len(data), _STEP):
            yield from _through(self._decoders, data[start : start + _STEP])

    def finish(self) -> None:
        """Nothing more comes. Raises Broken where more would have to; nothing at all is a body without anything."""
        for decoder in self._decoders:
            decoder.finish()


class _Decoder(Protocol):
    whole: bool  # it may end here

    def feed(self, data: bytes) -> Iterator[bytes]: ...


class _Counted:
    """A decoder with its name and its limit; its errors are ours."""

    def __init__(self, coding: str, decoder: _Decoder, most: int | None) -> None:
        self._coding = coding
        self._decoder = decoder
        self._most = most
        self._made = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            for piece in self._decoder.feed(data):
                self._made += len(piece)
                if self._most is not None and self._made > self._most:
                    raise TooLarge(f"unpacked it has more than {self._most} bytes")
                yield piece
        except (zlib.error, zstd.ZstdError, brotli.error) as exc:
            raise Broken(f"it is no valid {self._coding}") from exc

    def finish(self) -> None:
        if not self._decoder.whole:
            raise Broken(f"its {self._coding} data ends too early")


def _through(decoders: Sequence[_Counted], data: bytes) -> Iterator[bytes]:
    if not decoders:
        yield data
        return
    for piece in decoders[0].feed(data):
        yield from _through(decoders[1:], piece)


class _Gzip:
    """Members one after the other; zeros may fill up behind them."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(31)
        self._ended = False
        self.whole = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._ended:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._member, self._ended = zlib.decompressobj(31), False
            self.whole = False
            yield from _inflated(self._member, data)
            self._ended = self.whole = self._member.eof
            data = self._member.unused_data


class _Deflate:
    """As RFC 9110 has it, with zlib's frame, or without one, as some send it."""

    def __init__(self) -> None:
        self._begun = b""
        self._stream: zlib._Decompress | None = None
        self.whole = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        self.whole = False
        if self._stream is None:
            self._begun += data
            if len(self._begun) < 2:
                return
            framed = self._begun[0] & 0x0F == 8 and int.from_bytes(self._begun[:2], "big") % 31 == 0
            self._stream, data, self._begun = zlib.decompressobj(15 if framed else -15), self._begun, b""
        elif self._stream.eof:
            raise zlib.error
        yield from _inflated(self._stream, data)
        if self._stream.unused_data:
            raise zlib.error
        self.whole = self._stream.eof


def _inflated(stream: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    while True:
        piece = stream.decompress(data, _STEP)
        yield piece
        data = stream.unconsumed_tail
        if stream.eof or (not data and len(piece) < _STEP):
            return


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self.whole = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        piece = self._stream.process(data, output_buffer_limit=_STEP)
        yield piece
        while not self._stream.is_finished() and (len(piece) >= _STEP or not self._stream.can_accept_more_data()):
            piece = self._stream.process(b"", output_buffer_limit=_STEP)
            yield piece
        self.whole = self._stream.is_finished()


class _Zstd:
    """Frames one after the other."""

    def __init__(self) -> None:
        self._frame = zstd.ZstdDecompressor(options=_ZSTD_WINDOW)
        self.whole = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._frame.eof:
                self._frame = zstd.ZstdDecompressor(options=_ZSTD_WINDOW)
            yield self._frame.decompress(data, max_length=_STEP)
            while not (self._frame.eof or self._frame.needs_input):
                yield self._frame.decompress(b"", max_length=_STEP)
            self.whole = self._frame.eof
            data = self._frame.unused_data if self._frame.eof else b""


_DECODERS: Mapping[str, Callable[[], _Decoder]] = {"gzip": _Gzip, "deflate": _Deflate, "br": _Brotli, "zstd": _Zstd}
CODINGS = tuple(_DECODERS)
