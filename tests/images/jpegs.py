"""Baseline JPEGs with any sampling (ITU-T T.81, annexes A, C, F and K): what no encoder at hand writes."""

import struct
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Sampling = tuple[int, int]

# T.81, table K.3: how many codes there are of each length, and what they stand for; used for every component.
_DC = (bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]), bytes(range(12)))
# One code of eight bits a symbol: what an AC table may look like, too.
_AC_SYMBOLS = bytes(run << 4 | size for run in range(16) for size in range(1, 11)) + b"\x00\xf0"
_AC = (bytes([0, 0, 0, 0, 0, 0, 0, 128, 34 * 2, 0, 0, 0, 0, 0, 0, 0])[:16], _AC_SYMBOLS)
_AC = (bytes([0, 0, 0, 0, 0, 0, 0, 128, 34, 0, 0, 0, 0, 0, 0, 0]), _AC_SYMBOLS)

_ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, (i // 8 if (i // 8 + i % 8) % 2 else i % 8)))


def encoded(planes: Sequence[Array], sampling: Sequence[Sampling], *, before: bytes = b"", restart: int = 0) -> bytes:
    """A JPEG of full-size `planes` (Y, Cb, Cr or one, or four), each averaged down to its `sampling`.

    `before`: segments that stand first; `restart`: an interval in MCUs.
    """
    height, width = planes[0].shape
    most = max(h for h, _ in sampling), max(v for _, v in sampling)
    across, down = -(-width // (8 * most[0])), -(-height // (8 * most[1]))
    blocks = [_blocks(plane, own, most, (across, down)) for plane, own in zip(planes, sampling, strict=True)]
    frame = b"".join(bytes([i + 1, h << 4 | v, 0]) for i, (h, v) in enumerate(sampling))
    scan = b"".join(bytes([i + 1, 0]) for i in range(len(planes)))
    return b"".join(
        (
            b"\xff\xd8",
            before,
            segment(0xDB, bytes(1) + bytes([4] * 64)),
            segment(0xC0, struct.pack(">BHHB", 8, height, width, len(planes)) + frame),
            segment(0xC4, b"\x00" + _DC[0] + _DC[1]),
            segment(0xC4, b"\x10" + _AC[0] + _AC[1]),
            segment(0xDD, struct.pack(">H", restart)) if restart else b"",
            segment(0xDA, bytes([len(planes)]) + scan + b"\x00\x3f\x00"),
            _scan(blocks, sampling, across, down, restart),
            b"\xff\xd9",
        )
    )


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _blocks(plane: Array, own: Sampling, most: Sampling, mcus: tuple[int, int]) -> Array:
    """(rows of blocks, blocks a row, 64) of quantised coefficients in zigzag order."""
    wide, high = mcus[0] * own[0] * 8, mcus[1] * own[1] * 8
    whole = cv2.copyMakeBorder(
        plane,
        0,
        mcus[1] * most[1] * 8 - plane.shape[0],
        0,
        mcus[0] * most[0] * 8 - plane.shape[1],
        cv2.BORDER_REPLICATE,
    )
    small = cv2.resize(whole, (wide, high), interpolation=cv2.INTER_AREA).astype(np.float32) - 128
    tiles = small.reshape(high // 8, 8, wide // 8, 8).swapaxes(1, 2)
    cosines = np.stack([np.stack([cv2.dct(np.ascontiguousarray(tile)) for tile in row]) for row in tiles])
    return np.rint(cosines / 4).astype(int).reshape(high // 8, wide // 8, 64)[..., _ZIGZAG]


def _codes(table: tuple[bytes, bytes]) -> dict[int, str]:
    found, code, at = {}, 0, 0
    for length, count in enumerate(table[0], 1):
        for symbol in table[1][at : at + count]:
            found[symbol] = f"{code:0{length}b}"
            code += 1
        at += count
        code <<= 1
    return found


_DC_CODES, _AC_CODES = _codes(_DC), _codes(_AC)


def _scan(blocks: list[Array], sampling: Sequence[Sampling], across: int, down: int, restart: int) -> bytes:
    pieces: list[list[str]] = [[]]
    last = [0] * len(blocks)
    for mcu in range(across * down):
        if restart and mcu and mcu % restart == 0:
            pieces.append([])
            last = [0] * len(blocks)
        x, y = mcu % across, mcu // across
        for i, (h, v) in enumerate(sampling):
            for row in range(v):
                for column in range(h):
                    block = blocks[i][y * v + row, x * h + column]
                    pieces[-1].append(_coded(block, last[i]))
                    last[i] = int(block[0])
    marked = [_bytes("".join(piece)) for piece in pieces]
    return b"".join(
        piece + (bytes([0xFF, 0xD0 + i % 8]) if i + 1 < len(marked) else b"") for i, piece in enumerate(marked)
    )


def _coded(block: Array, before: int) -> str:
    bits = [_number(_DC_CODES, 0, int(block[0]) - before)]
    run = 0
    for value in block[1 : int(np.max(np.nonzero(block)[0], initial=0)) + 1]:
        if not value:
            run += 1
            continue
        bits += [_AC_CODES[0xF0]] * (run // 16)
        bits.append(_number(_AC_CODES, run % 16, int(value)))
        run = 0
    if np.max(np.nonzero(block)[0], initial=0) < 63:
        bits.append(_AC_CODES[0])
    return "".join(bits)


def _number(codes: dict[int, str], run: int, value: int) -> str:
    size = abs(value).bit_length()
    own = value if value > 0 else value + (1 << size) - 1
    return codes[run << 4 | size] + (f"{own:0{size}b}" if size else "")


def _bytes(bits: str) -> bytes:
    padded = bits + "1" * (-len(bits) % 8)
    return bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8)).replace(b"\xff", b"\xff\x00")
