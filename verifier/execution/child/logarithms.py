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


def install(recorder: Recorder) -> Logarithms:
    held = Logarithms(recorder)
    module: Any = math
    arrays: Any = np
    real_one, real_many = math.log, np.log

    def log(value: Any, *base: Any) -> float:
        result = real_one(value, *base)
        if not base and isinstance(value, float) and 0.0 < value < math.inf and called_by_submission():
            held.one(result)
        return result

    def log_array(values: Any, *args: Any, **kwargs: Any) -> Any:
        result = real_many(values, *args, **kwargs)
        if isinstance(values, np.ndarray | np.floating) and called_by_submission():
            flat = np.asarray(result, dtype=np.float64).reshape(-1)
            if flat.size == 1 and math.isfinite(flat[0]):
                held.one(float(flat[0]))
            elif flat.size > 1 and bool(np.isfinite(flat).all()):
                held.many(flat)
        return result

    module.log = log
    arrays.log = log_array
    return held
