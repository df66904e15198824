"""Joining table entries of different lengths, without a Python loop over tokens.

The plain numpy way (repeat an offset per byte, add a ramp, gather) touches each output byte with eight-byte indices.
Here each token is written as one 16-byte word at its own, unaligned, position, in order: a later word overwrites the
tail that the earlier one wrote too far. NumPy documents that repeated targets of an index assignment keep the last
value; the order of the writes that this implies is checked once per process, and the plain way is used where it should
not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORD = 16
BLOCK = 1 << 16
"""Tokens per step: indices, words and positions of a step stay in the second-level cache."""


class Joined(NamedTuple):
    """`data`: uint8. `lengths`: int32, bytes of each token. `uses`: int64, occurrences of each table entry."""

    data: NDArray[np.uint8]
    lengths: NDArray[np.int32]
    uses: NDArray[np.int64]


class PieceTable:
    """Byte strings by index, ready to be joined in any order.

    `lengths` has shape (entries,), dtype uint16: an entry longer than 65,535 bytes raises `ValueError`.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        longest = max((len(piece) for piece in pieces), default=0)
        if longest > np.iinfo(np.uint16).max:
            raise ValueError(f"a table entry of {longest} bytes is longer than 65535")
        self.lengths: NDArray[np.uint16] = np.array([len(piece) for piece in pieces], dtype=np.uint16)
        self._longest = longest
        self._offsets: NDArray[np.int64] = np.zeros(len(pieces), dtype=np.int64)
        np.cumsum(self.lengths[:-1], out=self._offsets[1:])
        self._flat: NDArray[np.uint8] = np.frombuffer(b"".join(pieces) + bytes(WORD), dtype=np.uint8)
        words = np.zeros((len(pieces), WORD), dtype=np.uint8)
        for row, piece in zip(words, pieces, strict=True):
            head = piece[:WORD]
            row[: len(head)] = np.frombuffer(head, dtype=np.uint8)
        # complex128 is the only plain 16-byte number; it is never computed with, only moved.
        self._words: NDArray[np.complex128] = words.view(np.complex128).reshape(-1)

    def join(self, index: NDArray[np.integer]) -> Joined:
        """The entries at `index`, joined. Indices must be in range."""
        return self._join_ordered(index) if _writes_are_ordered() else self._join_plain(index)

    def _join_ordered(self, index: NDArray[np.integer]) -> Joined:
        lengths = np.empty(len(index), dtype=np.int32)
        uses = np.zeros(len(self.lengths), dtype=np.int64)
        parts = [np.zeros(0, dtype=np.uint8)]
        for begin in range(0, len(index), BLOCK):
            tokens = index[begin : begin + BLOCK].astype(np.intp)
            uses += np.bincount(tokens, minlength=len(uses))
            counts = self.lengths.take(tokens)
            lengths[begin : begin + BLOCK] = counts
            where = np.cumsum(counts, dtype=np.intp)
            size = int(where[-1])
            where -= counts
            out = np.empty(size + WORD, dtype=np.uint8)
            target: NDArray[np.complex128] = np.ndarray(shape=(size + 1,), dtype=np.complex128, buffer=out, strides=(1,))
            target[where] = self._words.take(tokens)
            if self._longest > WORD:
                self._write_tails(out, tokens, counts, where)
            parts.append(out[:size])
        return Joined(np.concatenate(parts), lengths, uses)

    def _write_tails(
        self, out: NDArray[np.uint8], tokens: NDArray[np.intp], counts: NDArray[np.uint16], where: NDArray[np.intp]
    ) -> None:
        """What the words could not hold: bytes 16 and up of long entries."""
        depth = WORD
        left = np.flatnonzero(counts > depth)
        while left.size:
            out[where[left] + depth] = self._flat[self._offsets[tokens[left]] + depth]
            depth += 1
            left = left[counts[left] > depth]

    def _join_plain(self, index: NDArray[np.integer]) -> Joined:
        lengths = self.lengths[index].astype(np.int32)
        ends = np.cumsum(lengths, dtype=np.int64)
        source = np.repeat(self._offsets[index] - (ends - lengths), lengths)
        source += np.arange(len(source), dtype=np.int64)
        return Joined(self._flat[source], lengths, np.bincount(index, minlength=len(self.lengths)))


@cache
def _writes_are_ordered() -> bool:
    """Whether overlapping words land in index order on this NumPy: both ways must agree on a mix of all short
    lengths.
    """
    table = PieceTable([bytes((7 * size + at) % 251 for at in range(size)) for size in range(24)])
    index = np.random.default_rng(20240520).integers(0, 24, size=3 * BLOCK // 2)
    fast, plain = table._join_ordered(index), table._join_plain(index)
    return (
        np.array_equal(fast.data, plain.data)
        and np.array_equal(fast.lengths, plain.lengths)
        and np.array_equal(fast.uses, plain.uses)
    )
