"""The phases of a run against both budgets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from verifier.evidence import Location
from verifier.submission.logs.model import PhaseKind


class Budget(StrEnum):
    TRAIN = "train"
    EVAL = "eval"
    NONE = "none"
    """Construction after the clock (quantization, packing, self-generation) and diagnostics."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a run. `start` and `seconds` in s; `start` is the running sum within the run (logs print no absolute times).

    `reads` says which data it consumes: `train`, `validation`, `self` or ``""``. `diagnostic` evaluations are not on the path
    to the headline metric.
    """

    kind: PhaseKind
    label: str
    seconds: float
    start: float
    budget: Budget
    reads: str
    diagnostic: bool
    source: Location


@dataclass(frozen=True, slots=True)
class Timeline:
    """All phases of one run in log order, with the sums that the time rules use (s; None when the log does not say)."""

    seed: int | None
    log: str
    phases: tuple[Phase, ...]
    train_seconds: float | None
    reserve_seconds: float | None
    calibration_seconds: float | None
    """Reading training data after the training clock."""
    eval_seconds: float | None
    """Path to the headline metric: the log's own total when printed, else the sum of its parts."""
    diagnostic_seconds: float
    eval_is_total: bool
