"""Time and learning rate. The clock is injected, so schedules are tested without waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PHASE_TAGS = ("train", "validation", "none")
"""What a phase's seconds count against: the training budget, the evaluation budget, or neither (warmup, saving)."""


class PhaseClock:
    """Accumulates seconds per (tag, phase). An inner phase pauses the outer one."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic
        self._open: list[tuple[str, str]] = []
        self._mark = 0.0
        self.seconds: dict[tuple[str, str], float] = {}

    @contextmanager
    def phase(self, name: str, tag: str) -> Iterator[None]:
        if tag not in PHASE_TAGS:
            raise ValueError(f"phase tag {tag!r} is none of {PHASE_TAGS}")
        self._settle()
        self._open.append((tag, name))
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def _settle(self) -> None:
        now = self._now()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._mark
        self._mark = now

    def spent(self, name: str) -> float:
        """Seconds of one phase so far."""
        self._settle()
        return sum(seconds for (_, phase), seconds in self.seconds.items() if phase == name)

    def charged(self, tag: str) -> float:
        """Seconds counted against one budget so far."""
        self._settle()
        return sum(seconds for (t, _), seconds in self.seconds.items() if t == tag)


def training_fraction(step: int, iterations: int, elapsed: float, cap_seconds: float) -> float:
    """How far training has come: by the clock under a cap, by steps without one."""
    return elapsed / cap_seconds if cap_seconds > 0 else step / max(iterations, 1)


def warmdown_by_fraction(fraction: float, warmdown: float, min_lr: float) -> float:
    """Form B: 1, then linear to min_lr over the last `warmdown` of training (PRs 1471, 1738)."""
    if warmdown <= 0 or fraction < 1 - warmdown:
        return 1.0
    return max((1 - fraction) / warmdown, min_lr)


def warmdown_by_iterations(step: int, iterations: int, warmdown: int, elapsed: float, cap_seconds: float) -> float:
    """Form A: linear over the last `warmdown` steps; under a cap their number is guessed from the mean step time."""
    if warmdown <= 0:
        return 1.0
    if cap_seconds <= 0:
        return min(max((iterations - step) / warmdown, 0.0), 1.0)
    warmdown_seconds = warmdown * elapsed / max(step, 1)
    remaining = max(cap_seconds - elapsed, 0.0)
    return remaining / max(warmdown_seconds, 1e-12) if remaining <= warmdown_seconds else 1.0
