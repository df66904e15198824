"""What the parameters learn from: the losses behind each backward pass, handed to the step that follows."""

from __future__ import annotations

from verifier.execution.child.callers import site
from verifier.execution.child.recorder import Recorder


class Updates:
    """Losses formed under grad wait for `backward`, losses behind a backward wait for a step."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._formed: list[tuple[int, int]] = []
        self._behind: list[tuple[int, int]] = []

    def formed(self, start: int, count: int) -> None:
        """A cross entropy with a gradient was formed: scores `start` to `start + count`."""
        self._formed.append((start, count))
        # A script that forms losses under grad and never goes backward must not fill the memory.
        del self._formed[:-10_000]

    def backward(self, how: str) -> None:
        self._behind += self._formed
        self._formed = []
        if how != "backward":
            self._recorder.event("gradient", how=how, ranges=_merge(self._behind)[:60], site=site())

    def step(self, optimizer: str) -> None:
        ranges = _merge(self._behind)
        self._behind = []
        # An event holds about 60 ranges; a step over more is written as several.
        for at in range(0, max(1, len(ranges)), 60):
            self._recorder.event("update", optimizer=optimizer[:60], ranges=ranges[at : at + 60], site=site())


def _merge(ranges: list[tuple[int, int]]) -> list[list[int]]:
    merged: list[list[int]] = []
    for start, count in ranges:
        if merged and merged[-1][0] + merged[-1][1] == start:
            merged[-1][1] += count
        else:
            merged.append([start, count])
    return merged
