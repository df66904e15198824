"""Logarithms of probabilities that a script takes outside of torch: mixtures with counted tables end in `np.log` or `math.log`.

Recorded with the place that asked; whether they are losses is for the other side to find out. Values above 0 belong to it: a mixture that is no
distribution may give its target more than 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from verifier.execution.child.callers import called_by_submission, site
from verifier.execution.child.recorder import Recorder

HELD = 4_096
"""Single numbers of one place that are kept before they are written together."""


class Logarithms:
    """Keeps single logarithms of one place until another one, or a printed line, comes."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._held: list[float] = []
        self._place = ""

    def one(self, value: float) -> None:
        place = site()
        if place != self._place or len(self._held) >= HELD:
            self.write()
            self._place = place
        self._held.append(value)

    def many(self, values: npt.NDArray[np.float64]) -> None:
        self.write()
        self._recorder.logarithms(values, site())

    def write(self) -> None:
        if self._held:
            self._recorder.logarithms(np.array(self._held), self._place)
            self._held = []


class Watched:
    """A logarithm of arrays that keeps what it gives; all else (`.reduce`, `.at`) is the real one's. `base`: its unit in nats."""

    def __init__(self, real: Any, base: float, held: Logarithms) -> None:
        self._real = real
        self._base = base
        self._held = held

    def __call__(self, values: Any, *args: Any, **kwargs: Any) -> Any:
        result = self._real(values, *args, **kwargs)
        if isinstance(values, np.ndarray | np.floating) and called_by_submission():
            flat = np.asarray(result, dtype=np.float64).reshape(-1) * self._base
            if flat.size == 1 and math.isfinite(flat[0]):
                self._held.one(float(flat[0]))
            elif flat.size > 1 and bool(np.isfinite(flat).all()):
                self._held.many(flat)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def install(recorder: Recorder) -> Logarithms:
    held = Logarithms(recorder)
    module: Any = math
    arrays: Any = np
    real_log = math.log

    def log(value: Any, *base: Any) -> float:
        result = real_log(value, *base)
        if not base and isinstance(value, float) and 0.0 < value < math.inf and called_by_submission():
            held.one(result)
        return result

    def one_of(real: Any, base: float) -> Any:
        """A logarithm of single numbers to another base: kept in nats."""

        def take(value: Any) -> Any:
            result = real(value)
            if isinstance(value, float) and 0.0 < value < math.inf and called_by_submission():
                held.one(result * base)
            return result

        return take

    module.log = log
    module.log2, module.log10 = one_of(math.log2, real_log(2)), one_of(math.log10, real_log(10))
    arrays.log, arrays.log1p, arrays.logaddexp = (Watched(real, 1.0, held) for real in (np.log, np.log1p, np.logaddexp))
    arrays.log2, arrays.log10 = Watched(np.log2, real_log(2), held), Watched(np.log10, real_log(10), held)
    return held
