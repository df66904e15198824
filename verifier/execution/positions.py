"""Where in the validation stream the targets of a loss lie, by their values alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

GRAM = 4
"""Tokens in a row that are looked up; toy streams repeat none of that length (a repeated one is not used)."""

type Positions = NDArray[np.int64]


class Locator:
    """Finds runs of targets in a stream. Position p is index p of the stream: the token whose loss it is."""

    def __init__(self, stream: NDArray[np.uint16]) -> None:
        keys = _keys(stream.astype(np.int64))
        unique, first, counts = np.unique(keys, return_index=True, return_counts=True)
        self._keys = unique[counts == 1]
        self._places = first[counts == 1]

    def locate(self, targets: NDArray[np.int32]) -> Positions:
        """The position of each target; -1 where it is in no run of `GRAM` targets that the stream holds."""
        found = np.full(len(targets), -1, dtype=np.int64)
        if len(targets) < GRAM or not len(self._keys):
            return found
        keys = _keys(targets.astype(np.int64))
        slots = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        hits = np.flatnonzero(self._keys[slots] == keys)
        places = self._places[slots[hits]]
        runs = _runs(hits, places)
        for start, end, place in _untangle(runs):
            found[start:end] = np.arange(place, place + end - start)
        return found


def _runs(hits: NDArray[np.int64], places: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Maximal stretches of targets that follow one another in the stream too: start, end, place of the start."""
    if not len(hits):
        return []
    breaks = np.flatnonzero((np.diff(hits) != 1) | (np.diff(places) != 1)) + 1
    firsts = np.concatenate([[0], breaks])
    lasts = np.concatenate([breaks, [len(hits)]]) - 1
    return [(int(hits[first]), int(hits[last]) + GRAM, int(places[first])) for first, last in zip(firsts, lasts, strict=True)]


def _untangle(runs: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Runs that don't overlap. Where the last target of a row happens to be the one before the next row's first, two runs
    claim it: rows of a batch are equally long, so the border goes where that length puts it, else the first run keeps it."""
    length = 0
    for (_, end, _), (start, _, _) in itertools.pairwise(runs):
        if start == end:
            length = math.gcd(length, start)
    untangled: list[tuple[int, int, int]] = []
    for start, end, place in runs:
        if untangled and untangled[-1][1] > start:
            before, over, at = untangled[-1]
            border = next((one for one in range(start, over + 1) if length > 1 and one % length == 0), over)
            untangled[-1] = (before, border, at)
            start, place = border, place + border - start
        untangled.append((start, end, place))
    return untangled


def _keys(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each run of `GRAM` values below 2**15 as one number."""
    clipped = np.where((values < 0) | (values >= 1 << 15), (1 << 15) - 1, values)
    keys = np.zeros(max(0, len(values) - GRAM + 1), dtype=np.int64)
    for offset in range(GRAM):
        keys = (keys << 15) | clipped[offset : offset + len(keys)]
    return keys
