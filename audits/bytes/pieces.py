"""Joining table entries of different lengths, without a Python loop over tokens.

The plain numpy way (repeat an offset per byte, add a ramp, gather) touches each output byte with eight-byte indices.
Here each token is written as one 16-byte word at its own, unaligned, position, in order: a later word overwrites the
tail that the earlier one wrote too far. NumPy documents that repeated targets of an index assignment keep the last
value; the order of the writes that this implies is checked once per process, and the plain way is used where it should
not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from audits.bytes.spelling import CLOSING, Spelling

WORD = 16
BLOCK = 1 << 15
"""Tokens per step: sizes, words and positions of a step stay in the second-level cache."""


class PieceTable:
    """Byte strings by index, ready to be joined in any order; not to be used by two threads at once.

    `lengths` has shape (entries,), dtype uint16: an entry longer than 65,535 bytes raises `ValueError`. `unspelled`:
    entries without a form of their own in a table of JSON text.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        longest = max((len(piece) for piece in pieces), default=0)
        if longest > np.iinfo(np.uint16).max:
            raise ValueError(f"a table entry of {longest} bytes is longer than 65535")
        self.lengths: NDArray[np.uint16] = np.array([len(piece) for piece in pieces], dtype=np.uint16)
        self.unspelled: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._pieces = pieces
        self._spelled: dict[tuple[int, Spelling], PieceTable] = {}
        self._sizes = self.lengths.astype(np.intp)
        self._longest = longest
        self._offsets: NDArray[np.intp] = np.zeros(len(pieces), dtype=np.intp)
        np.cumsum(self._sizes[:-1], out=self._offsets[1:])
        self._flat: NDArray[np.uint8] = np.frombuffer(b"".join(pieces) + bytes(WORD), dtype=np.uint8)
        words = np.frombuffer(b"".join(piece[:WORD].ljust(WORD, b"\0") for piece in pieces), dtype=np.uint8)
        # complex128 is the only plain 16-byte number; it is never computed with, only moved.
        self._words: NDArray[np.complex128] = words.view(np.complex128)
        self._counts, self._where = np.empty(BLOCK, dtype=np.intp), np.empty(BLOCK, dtype=np.intp)
        self._chosen = np.empty(BLOCK, dtype=np.complex128)

    def row(self, index: NDArray[np.integer], starts: NDArray[np.intp]) -> Row:
        """The entries at `index`, which must be in range. `starts`: ascending positions where documents begin."""
        return Row(self, index.astype(np.intp, copy=False), starts)

    def join(self, index: NDArray[np.intp], total: int, at: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(the `total` bytes of the entries at `index`, joined; offsets of the entries that stand at the ascending
        positions `at`, and the total).
        """
        if not _writes_are_ordered():
            return self._join_plain(index, at)
        out = np.empty(total + WORD, dtype=np.uint8)
        borders = np.full(len(at) + 1, total, dtype=np.int64)
        # A document without tokens may begin at the very end.
        cuts = np.searchsorted(at, np.minimum(np.arange(0, len(index) + BLOCK, BLOCK), len(index))).tolist()
        done = 0
        for number, begin in enumerate(range(0, len(index), BLOCK)):
            where, written = self._write(index[begin : begin + BLOCK], out[done:])
            wanted = slice(cuts[number], cuts[number + 1])
            borders[wanted] = where.take(at[wanted] - begin) + done
            done += written
        return out[:total], borders

    def _write(self, tokens: NDArray[np.intp], out: NDArray[np.uint8]) -> tuple[NDArray[np.intp], int]:
        """Write a block; (offset of each token, valid until the next call, bytes written)."""
        counts, where, words = self._counts[: len(tokens)], self._where[: len(tokens)], self._chosen[: len(tokens)]
        # Without clipping, `take` copies its result once more.
        self._sizes.take(tokens, out=counts, mode="clip")
        np.cumsum(counts, out=where)
        written = int(where[-1])
        where -= counts
        self._words.take(tokens, out=words, mode="clip")
        target: NDArray[np.complex128] = np.ndarray(shape=(len(out) - WORD + 1,), dtype=np.complex128, buffer=out, strides=(1,))
        target[where] = words
        if self._longest > WORD:
            # What the words could not hold.
            depth = WORD
            left = np.flatnonzero(counts > depth)
            while left.size:
                out[where[left] + depth] = self._flat[self._offsets[tokens[left]] + depth]
                depth += 1
                left = left[counts[left] > depth]
        return where, written

    def _join_plain(self, index: NDArray[np.intp], at: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        lengths = self._sizes[index]
        ends = np.append(0, np.cumsum(lengths))
        source = np.repeat(self._offsets[index] - ends[:-1], lengths)
        source += np.arange(len(source))
        return self._flat[source], ends[np.append(at, len(index))]

    def spelled(self, border: int, spelling: Spelling) -> PieceTable:
        """The table that writes JSON text: each entry escaped, entry `border` as the step from one line to the next."""
        key = (border, spelling)
        if key not in self._spelled:
            forms = {piece: spelling.escape(piece) for piece in set(self._pieces)}
            escaped = [forms[piece] for piece in self._pieces]
            escaped[border] = spelling.step
            table = PieceTable([piece or b"" for piece in escaped])
            table.unspelled = np.array([at for at, piece in enumerate(escaped) if piece is None], dtype=np.intp)
            self._spelled[key] = table
        return self._spelled[key]


class Row:
    """Table entries in order: what some documents write. `uses`: int64, occurrences of each entry."""

    def __init__(self, table: PieceTable, index: NDArray[np.intp], starts: NDArray[np.intp]) -> None:
        self._table, self._index, self._starts = table, index, starts
        self.uses: NDArray[np.int64] = np.bincount(index, minlength=len(table.lengths))

    @cached_property
    def joined(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(all bytes, offset of each document start and the total)."""
        return self._table.join(self._index, int(self.uses @ self._table.lengths), self._starts)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Bytes of each entry."""
        return self._table.lengths.take(self._index).astype(np.int32)

    def as_json(self, spelling: Spelling) -> bytes | None:
        """The documents as lines of JSON, by way of a table that holds JSON text. `None` where that cannot be told
        from the entries: unless every document begins with the same silent entry, which stands nowhere else.
        """
        if not self._starts.size or self._starts[0] != 0:
            return None
        border = int(self._index[0])
        silent = not self._table.lengths[border] and self.uses[border] == len(self._starts)
        if not silent or np.any(self._index[self._starts] != border):
            return None
        table = self._table.spelled(border, spelling)
        if self.uses[table.unspelled].any():
            return None
        text, _ = table.join(self._index, int(self.uses @ table.lengths), self._starts[:0])
        return b"".join((memoryview(text)[len(CLOSING) :], CLOSING))


class Written:
    """As `Row`, for text that is there already."""

    def __init__(self, data: NDArray[np.uint8], borders: NDArray[np.int64], lengths: NDArray[np.int32]) -> None:
        self.joined = data, borders
        self.lengths = lengths

    def as_json(self, spelling: Spelling) -> bytes | None:
        """Nothing: JSON text would have to be made byte by byte."""
        return None


@cache
def _writes_are_ordered() -> bool:
    """Whether overlapping words land in index order on this NumPy: both ways must agree on a mix of all short
    lengths.
    """
    table = PieceTable([bytes((7 * size + at) % 251 for at in range(size)) for size in range(24)])
    index = np.random.default_rng(20240520).integers(0, 24, size=BLOCK)
    out = np.empty(int(table.lengths.take(index).sum()) + WORD, dtype=np.uint8)
    _, written = table._write(index, out)
    return np.array_equal(out[:written], table._join_plain(index, index[:0])[0])
