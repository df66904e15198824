"""Where in a real validation stream scored targets lie. Text repeats itself, so whole rows are looked up, not a few tokens.

A cross entropy scores rows of a batch one after another. A row is a stretch of the stream; padding may follow it. Rows that go
on where the last one ended are the common case and need no look-up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GRAM = 8
"""Tokens at the start of a row by which its places are looked up."""
SHORTEST = 4
"""Tokens in a row that are too few to be told from chance anywhere but where the last row ended."""
CHOICES = 512
"""Places of one gram that are compared in full."""

type Positions = NDArray[np.int64]


class RowLocator:
    """Places the rows of one run in their order. `lengths` are the lengths that rows may have, likeliest first."""

    def __init__(self, stream: NDArray[np.uint16], lengths: Sequence[int]) -> None:
        self._stream = stream.astype(np.int64)
        self._lengths = tuple(dict.fromkeys(length for length in lengths if length >= GRAM))
        self._next = 1
        self._keys: NDArray[np.uint64] | None = None
        self._order: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def locate(self, targets: NDArray[np.int32]) -> Positions:
        """Position of each target (index of the stream; the first token is never one); -1 where none is found."""
        wanted = targets.astype(np.int64)
        found = np.full(len(wanted), -1, dtype=np.int64)
        if not len(wanted):
            return found
        whole = self._place(wanted)
        if whole is not None and self._matched(wanted, whole) == len(wanted):
            self._next = whole + len(wanted)
            return np.arange(whole, whole + len(wanted))
        for length in self._lengths:
            if len(wanted) % length == 0 and length < len(wanted) and self._rows(wanted, length, found):
                return found
        self._rows(wanted, len(wanted), found)
        return found

    def _rows(self, wanted: NDArray[np.int64], length: int, found: Positions) -> bool:
        """Place rows of `length`; whether each of them begins somewhere in the stream."""
        held = self._next
        found[:] = -1
        for begin in range(0, len(wanted), length):
            row = wanted[begin : begin + length]
            place = self._place(row)
            matched = 0 if place is None else self._matched(row, place)
            if place is None or matched < min(SHORTEST, length):
                # A batch may be filled up with rows of padding.
                if begin and (row == row[0]).all():
                    continue
                self._next = held
                return False
            found[begin : begin + matched] = np.arange(place, place + matched)
            self._next = place + matched
        return True

    def _place(self, row: NDArray[np.int64]) -> int | None:
        """Where this row lies: where the last one ended, else the place of its first tokens that matches longest (the
        nearest one behind the last row, of equals)."""
        if self._matched(row, self._next) == len(row):
            return self._next
        if len(row) < GRAM:
            return self._next if self._matched(row, self._next) >= SHORTEST else None
        if self._keys is None:
            keys = _keys(self._stream)
            self._order = np.argsort(keys, kind="stable")
            self._keys = keys[self._order]
        key = _keys(row[:GRAM])[0]
        first, last = np.searchsorted(self._keys, key, "left"), np.searchsorted(self._keys, key, "right")
        places = self._order[first:last]
        places = places[places > 0]
        if len(places) > CHOICES:
            nearest = np.argsort(np.abs(places - self._next), kind="stable")[:CHOICES]
            places = places[nearest]
        best = max(places.tolist(), key=lambda place: (self._matched(row, place), -abs(place - self._next)), default=None)
        return None if best is None else int(best)

    def _matched(self, row: NDArray[np.int64], place: int) -> int:
        """How many targets from the start of the row are the stream's from `place` on."""
        part = self._stream[place : place + len(row)]
        differs = np.flatnonzero(part != row[: len(part)])
        return int(differs[0]) if len(differs) else len(part)


def _keys(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Each run of `GRAM` values as one number (equal runs have equal numbers; others may, rarely)."""
    keys = np.zeros(max(0, len(values) - GRAM + 1), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(GRAM):
            keys = keys * np.uint64(0x9E3779B97F4A7C15) + (values[offset : offset + len(keys)].astype(np.uint64) + np.uint64(1))
    return keys
