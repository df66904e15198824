"""The phases of a run against both budgets.

Logs print durations, hardly ever absolute times, and many durations lie inside others (`ttt_sliding:done elapsed=429.5s` inside
`legal_ttt ... eval_time:429875ms`). Only the outermost clock of each stretch becomes a phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from verifier.evidence import Location, Number
from verifier.submission.logs.model import Calibration, Metric, PhaseKind, Run, Timing


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

    @property
    def end(self) -> float:
        return self.start + self.seconds


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
    """Whether `eval_seconds` is one number that the log printed, not a sum of several."""

    @property
    def path_seconds(self) -> float:
        """Sum of all phases on the path to the headline metric: more than `eval_seconds` where the log's own total leaves out
        an adaptation or a precomputation that has a clock of its own."""
        on_path = sum(
            phase.seconds for phase in self.phases if phase.budget is Budget.EVAL and phase.kind is not PhaseKind.TOTAL_EVAL
        )
        return max(on_path, self.eval_seconds or 0.0)


_READS = {
    PhaseKind.TRAIN: "train",
    PhaseKind.EVAL: "validation",
    PhaseKind.ADAPT: "validation",
    PhaseKind.TOTAL_EVAL: "validation",
    PhaseKind.SELF_GENERATION: "self",
}
_CLOCK_SLACK = 1.0
"""s by which clocks of one stretch may differ: printing, synchronisation, the outer clock's own overhead."""
_NEIGHBOURS = 3
"""Phases back within which a second print of one clock is looked for."""
_INNER_WORDS = ("done", "pass ", "pass1", "pass2", "rank")
"""Words of evaluation lines that report a part of, or the same clock as, the metric line that follows."""


def build_timeline(run: Run, headline: Metric | None = None) -> Timeline:
    """Phases of a run. `headline` is the metric whose path counts (default: what the run ends with)."""
    headline = headline or run.headline
    train_seconds = None if run.train_ms is None else run.train_ms / 1000.0
    trained_at = _end_of_training(run)
    after = [timing for timing in run.timings if _line(timing.source) > trained_at and timing.kind is not PhaseKind.TRAIN]
    outer = _without_inner(after, run)
    scored = _timing_of(outer, headline)
    phases = _opening_phases(run, train_seconds)
    clock = train_seconds or 0.0
    for timing in outer:
        if timing.kind is PhaseKind.RESERVE:
            continue
        phases.append(_phase(timing, clock, run, scored, headline))
        if timing.kind is not PhaseKind.TOTAL_EVAL:
            clock += timing.seconds
    totals = [timing.seconds for timing in after if timing.kind is PhaseKind.TOTAL_EVAL]
    parts = [phase.seconds for phase in phases if phase.budget is Budget.EVAL and phase.kind is not PhaseKind.TOTAL_EVAL]
    own = scored.seconds if scored is not None else headline.seconds if headline is not None else None
    printed = max((seconds for seconds in (*totals[-1:], own if totals else None) if seconds is not None), default=None)
    reserves = [timing.seconds for timing in run.timings if timing.kind is PhaseKind.RESERVE] or _dumped_reserve(run)
    calibrations = [phase.seconds for phase in phases if phase.kind is PhaseKind.CALIBRATION]
    return Timeline(
        seed=run.seed,
        log=run.path,
        phases=tuple(phases),
        train_seconds=train_seconds,
        reserve_seconds=reserves[-1] if reserves else None,
        calibration_seconds=sum(calibrations) if calibrations else None,
        eval_seconds=printed if printed is not None else sum(parts) if parts and (own is not None) else None,
        diagnostic_seconds=sum(phase.seconds for phase in phases if phase.diagnostic),
        eval_is_total=printed is not None or len(parts) == 1,
    )


def _dumped_reserve(run: Run) -> list[float]:
    """The reserve as the hyperparameter dump states it, for logs without a line of their own for it."""
    value = run.config.get("gptq_reserve_seconds")
    number = Number.parse(value.text) if value is not None else None
    return [number.value] if number is not None and number.value >= 0 else []


def training_data_after_clock(run: Run) -> tuple[Calibration, ...]:
    """Calibration lines below the end of the training clock that read training data or do not say what they read."""
    trained_at = _end_of_training(run)
    return tuple(line for line in run.calibrations if line.reads in ("train", "") and _line(line.source) > trained_at)


def _line(source: Location) -> int:
    return source.line or 0


def _end_of_training(run: Run) -> int:
    """The line at which the training clock ends; 0 for an evaluation on its own."""
    if run.stop is not None:
        return _line(run.stop.source)
    return max((point.line for point in run.steps), default=0)


def _opening_phases(run: Run, train_seconds: float | None) -> list[Phase]:
    phases = [
        Phase(PhaseKind.RESERVE, timing.label, timing.seconds, 0.0, Budget.NONE, "", False, timing.source)
        for timing in run.timings
        if timing.kind is PhaseKind.RESERVE
    ]
    if train_seconds is not None:
        phases.append(Phase(PhaseKind.TRAIN, "training", train_seconds, 0.0, Budget.TRAIN, "train", False, training_source(run)))
    return phases


def training_source(run: Run) -> Location:
    """The line that prints the training clock at its end."""
    if run.stop is not None and run.stop.train_ms is not None:
        return run.stop.source
    clocks = [point for point in run.steps if point.train_ms is not None]
    if clocks:
        return Location(run.path, clocks[-1].line, excerpt=f"step {clocks[-1].step} at {clocks[-1].train_ms:.0f} ms")
    sums = [timing.source for timing in run.timings if timing.kind is PhaseKind.TRAIN]
    return sums[-1] if sums else Location(run.path)


def _without_inner(timings: list[Timing], run: Run) -> list[Timing]:
    """Leave out durations that lie within the clock of a metric line further down, and second prints of one clock."""
    inner: set[int] = set()
    for at, timing in enumerate(timings):
        if timing.metric is None or at in inner:
            continue
        covered = 0.0
        for back in range(at - 1, -1, -1):
            before = timings[back]
            if before.kind in (PhaseKind.RESERVE, PhaseKind.TOTAL_EVAL, PhaseKind.OTHER):
                continue
            if before.kind not in (PhaseKind.ADAPT, PhaseKind.NGRAM) and not _is_part(before, timing, run):
                break
            if _same_clock(before, timing):
                inner.add(back)
            elif covered + before.seconds <= timing.seconds + _CLOCK_SLACK:
                covered += before.seconds
                inner.add(back)
            else:
                break
    outer: list[Timing] = []
    for at, timing in enumerate(timings):
        repeats = timing.kind in (PhaseKind.ADAPT, PhaseKind.NGRAM) and any(
            _same_clock(kept, timing)
            for kept in outer[-_NEIGHBOURS:]
            if kept.kind in (PhaseKind.ADAPT, PhaseKind.NGRAM, PhaseKind.EVAL)
        )
        if at not in inner and not repeats:
            outer.append(timing)
    return outer


def _same_clock(one: Timing, other: Timing) -> bool:
    """Whether two durations are prints of one stretch (`ttt:done elapsed=385.5s`, then `ttt:elapsed=385.5s`)."""
    return abs(one.seconds - other.seconds) <= _CLOCK_SLACK + 0.01 * max(one.seconds, other.seconds)


def _is_part(before: Timing, timing: Timing, run: Run) -> bool:
    """Whether an evaluation line reports a part of `timing`, or the same measurement a second time."""
    if before.metric is None:
        return False
    if any(word in before.label.lower() for word in _INNER_WORDS):
        return True
    scores = {
        metric.source.line: metric.bpb for metric in run.metrics if metric.source.line in (before.source.line, timing.source.line)
    }
    one, other = scores.get(before.source.line), scores.get(timing.source.line)
    return one is not None and other is not None and one.agrees(other) and abs(before.seconds - timing.seconds) <= _CLOCK_SLACK


def _timing_of(timings: list[Timing], headline: Metric | None) -> Timing | None:
    """The clock of the headline metric: its own line's, else the nearest one above with its seconds or its label."""
    if headline is None:
        return None
    above = [timing for timing in timings if timing.metric is not None and _line(timing.source) <= _line(headline.source) + 3]
    for timing in reversed(above):
        if timing.source.line == headline.source.line:
            return timing
    for timing in reversed(above):
        if headline.seconds is not None and timing.seconds == headline.seconds:
            return timing
    stem = headline.label.removesuffix("_exact")
    return next((timing for timing in reversed(above) if timing.metric == stem), None)


def _phase(timing: Timing, start: float, run: Run, scored: Timing | None, headline: Metric | None) -> Phase:
    budget, diagnostic = Budget.NONE, False
    leads = headline is None or _line(timing.source) <= _line(headline.source)
    if timing.kind is PhaseKind.EVAL:
        diagnostic = timing is not scored
        budget = Budget.NONE if diagnostic else Budget.EVAL
    elif timing.kind is PhaseKind.TOTAL_EVAL:
        budget = Budget.EVAL
    elif timing.kind in (PhaseKind.ADAPT, PhaseKind.NGRAM):
        if "artifact" in timing.label.lower():
            return Phase(timing.kind, timing.label, timing.seconds, start, Budget.NONE, "", False, timing.source)
        budget, diagnostic = (Budget.EVAL, False) if leads else (Budget.NONE, True)
    elif timing.kind is PhaseKind.CALIBRATION:
        budget = Budget.TRAIN
    reads = _READS.get(timing.kind, "")
    if timing.kind in (PhaseKind.CALIBRATION, PhaseKind.QUANTIZE):
        reads = next((line.reads for line in run.calibrations if line.source == timing.source), "")
    return Phase(timing.kind, timing.label, timing.seconds, start, budget, reads, diagnostic, timing.source)
