"""A clock that depends on nothing but the calls made: two runs that do the same see the same times.

Schedules that depend on elapsed time (warm-down, budgets) would otherwise make two runs differ for no reason of the
submission's. Each reading advances the clock by `TICK` seconds.
"""

from __future__ import annotations

import time
from typing import Any

TICK = 0.001
EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class Clock:
    def __init__(self) -> None:
        self.elapsed = 0.0

    def read(self) -> float:
        """Seconds since the start of the run."""
        self.elapsed += TICK
        return self.elapsed

    def install(self) -> None:
        """Replace the clocks of the module `time`; datetime keeps the machine's."""
        module: Any = time
        module.time = lambda: EPOCH + self.read()
        module.perf_counter = self.read
        module.monotonic = self.read
        module.time_ns = lambda: int((EPOCH + self.read()) * 1e9)
        module.perf_counter_ns = lambda: int(self.read() * 1e9)
        module.monotonic_ns = lambda: int(self.read() * 1e9)
        module.sleep = self._sleep

    def _sleep(self, seconds: float) -> None:
        self.elapsed += max(0.0, float(seconds))
