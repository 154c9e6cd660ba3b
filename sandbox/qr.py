"""QR codes at a tenth of the usual cost: the same symbols as segno's, with the mask fixed.

What a newcomer would get wrong: why this exists. segno takes 2 ms for one symbol even with a fixed mask,
twice as long as the whole stamp, because it visits each of 4,000 modules in Python. Here segno draws the
frame of a version once, and each symbol after that is a few operations on long integers. A test compares
both, module by module.

The error correction is Reed-Solomon over GF(256) with the polynomial 0x11D (ISO/IEC 18004).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import segno
from segno import consts

_MASK: Final = 2
"""Pattern 2: every third column is turned over. Any mask is valid; choosing the best one costs the most."""


@dataclass(frozen=True)
class _Frame:
    """What all symbols of one version share."""

    side: int
    fixed: int
    """The modules of patterns and format, and the mask on all others, as one number, row by row."""
    pick: itemgetter[Any]
    """From the bits of the message (and a zero at their end) to the modules, row by row."""
    blocks: tuple[tuple[int, int], ...]
    """How many data and correction bytes each block has."""


def rows(text: str) -> list[int]:
    """The symbol of a text in UTF-8 at level M, without its quiet zone: one number for each row, dark is 1."""
    data = text.encode("utf-8")
    frame = _frame(_version(len(data)))
    message = _message(data, frame)
    bits = f"{int.from_bytes(message, 'big'):0{8 * len(message)}b}0"
    symbol = frame.fixed ^ int("".join(frame.pick(bits)), 2)
    side = frame.side
    row = (1 << side) - 1
    return [symbol >> side * (side - 1 - place) & row for place in range(side)]


def _message(data: bytes, frame: _Frame) -> bytes:
    """The codewords in the order in which they are placed: data and correction, block after block, interleaved."""
    capacity = sum(size for size, _ in frame.blocks)
    count_bits = 8 if frame.side <= 17 + 4 * 9 else 16
    # Byte mode is 0100; then the count, the bytes, four zero bits, and padding of EC and 11 in turn.
    head = (0b0100 << count_bits | len(data)) << 8 * len(data) | int.from_bytes(data, "big")
    whole = (4 + count_bits) // 8 + 1 + len(data)
    packed = (head << (8 * whole - 4 - count_bits - 8 * len(data))).to_bytes(whole, "big")
    padded = packed + (b"\xec\x11" * capacity)[: capacity - len(packed)]
    chunks, checks, start = [], [], 0
    for size, correction in frame.blocks:
        chunk = padded[start : start + size]
        chunks.append(chunk)
        checks.append(_correction(chunk, correction))
        start += size
    return _interleaved(chunks) + _interleaved(checks)


def _interleaved(blocks: list[bytes]) -> bytes:
    shortest = min(map(len, blocks))
    last = b"".join(block[shortest:] for block in blocks)  # some blocks have one byte more, none has two
    return bytes(chain.from_iterable(zip(*(block[:shortest] for block in blocks), strict=True))) + last


def _correction(data: bytes, size: int) -> bytes:
    """The remainder of the block by the generator polynomial of this degree."""
    table, rest, top, keep = _generator(size), 0, 8 * (size - 1), (1 << 8 * (size - 1)) - 1
    for byte in data:
        rest = ((rest & keep) << 8) ^ table[(rest >> top) ^ byte]
    return rest.to_bytes(size, "big")


@lru_cache(maxsize=40)
def _generator(size: int) -> tuple[int, ...]:
    """For each byte, the generator polynomial of a degree times that byte, as one number."""
    polynomial = [1]
    root = 1
    for _ in range(size):
        times_root = [*(_times(root, factor) for factor in polynomial), 0]
        polynomial = [a ^ b for a, b in zip([*polynomial, 0], [0, *times_root[:-1]], strict=True)]
        root = _times(root, 2)
    return tuple(
        int.from_bytes(bytes(_times(byte, factor) for factor in polynomial[1:]), "big") for byte in range(256)
    )


def _times(left: int, right: int) -> int:
    product = 0
    while right:
        if right & 1:
            product ^= left
        left = left << 1 ^ (0x11D if left & 0x80 else 0)
        right >>= 1
    return product


@lru_cache(maxsize=256)
def _version(length: int) -> int:
    return int(
        segno.make(b"x" * length, error="m", micro=False, boost_error=False, mask=_MASK, mode="byte").version
    )


@lru_cache(maxsize=40)
def _frame(version: int) -> _Frame:
    """What segno draws for this version, taken apart."""
    drawn = segno.make(
        b"x", error="m", micro=False, boost_error=False, mask=_MASK, version=version, mode="byte"
    )
    modules = [[int(module) for module in row] for row in drawn.matrix]
    side = len(modules)
    aligned = {consts.TYPE_ALIGNMENT_PATTERN_DARK, consts.TYPE_ALIGNMENT_PATTERN_LIGHT}
    # The kinds that segno tells are off by one beside the format bits, so only the alignment patterns are taken.
    kinds = [list(row) for row in drawn.matrix_iter(border=0, verbose=True)]
    order = [
        (y, x) for y, x in _zigzag(side) if kinds[y][x] not in aligned and not _is_reserved(y, x, version)
    ]
    place = {spot: number for number, spot in enumerate(order)}
    # segno's table holds rows of several kinds for Micro QR too, so its type says only `object`.
    table: Any = consts.ECC
    blocks = tuple(
        (row.num_data, row.num_total - row.num_data)
        for row in table[version][consts.ERROR_LEVEL_M]
        for _ in range(row.num_blocks)
    )
    message_bits = 8 * sum(size + correction for size, correction in blocks)
    # Modules that carry no bit of the message take the zero that `rows` puts at its end.
    pick = [min(place.get((y, x), message_bits), message_bits) for y in range(side) for x in range(side)]
    fixed = "".join(
        str(int(x % 3 == 0 if (y, x) in place else modules[y][x])) for y in range(side) for x in range(side)
    )
    return _Frame(side, int(fixed, 2), itemgetter(*pick), blocks)


def _zigzag(side: int) -> list[tuple[int, int]]:
    """Every module in the order of placement: pairs of columns from the right, up and down in turn, 6 left out."""
    order = []
    up = True
    for right in [*range(side - 1, 6, -2), *range(5, 0, -2)]:
        for y in range(side - 1, -1, -1) if up else range(side):
            order += [(y, right), (y, right - 1)]
        up = not up
    return order


def _is_reserved(y: int, x: int, version: int) -> bool:
    """Whether a module belongs to a finder, to the timing lines, or to the format and version bits."""
    side = 17 + 4 * version
    if y == 6 or x == 6 or (y <= 8 and x <= 8):
        return True
    if (y <= 8 and x >= side - 8) or (x <= 8 and y >= side - 8):
        return True
    return version >= 7 and ((y <= 5 and x >= side - 11) or (x <= 5 and y >= side - 11))
