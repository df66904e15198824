"""The phases of a re-run by a clock outside of the script: when its lines came, not what they say."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.execution.rerun import Rerun
from verifier.ledger.timeline import Budget, build_timeline
from verifier.submission.logs.model import Metric, PhaseKind, Run


@dataclass(frozen=True, slots=True)
class MeasuredPhase:
    """`seconds` of wall time between two lines; `start` since the process began. `budget` is the one that the phase counts in."""

    name: str
    start: float
    seconds: float
    budget: Budget
    until: str
    """The line that ends it."""


def measure_phases(rerun: Rerun, label: str | None) -> tuple[MeasuredPhase, ...]:
    """Phases in order: set-up, training, then what lies between its end and the headline metric, cut where lines tell what was
    done. `label` is the headline's in the record's logs."""
    run = rerun.run
    if run is None or not run.steps:
        return ()
    trained = _end_of_training(run)
    headline = headline_of(run, label)
    last = headline.source.line if headline is not None and headline.source.line is not None else None
    until = last if last is not None else len(rerun.lines) + 1
    marks = [("training", trained, Budget.TRAIN)]
    adapted = [timing.source.line for timing in run.timings if timing.kind is PhaseKind.ADAPT]
    reads_training = any(line.reads == "train" for line in run.calibrations)
    # Sizes that are printed after the first sign of an evaluation are told again, not measured.
    told = [metric.source.line for metric in run.metrics if metric.source.line is not None and metric.source.line > trained]
    packed = min([*told, *(line for line in adapted if line is not None and line > trained)], default=until)
    written = [line for size in run.sizes if (line := size.source.line) is not None and line <= packed]
    calibrated = [line.source.line for line in run.calibrations if line.source.line is not None and line.source.line <= packed]
    after = [
        (name, max(within), budget)
        for name, lines, budget in (
            ("adaptation before quantization", adapted, Budget.EVAL),
            ("calibration", calibrated, Budget.TRAIN if reads_training else Budget.NONE),
            ("quantization and packing", written, Budget.NONE),
            ("evaluation", [last], Budget.EVAL),
        )
        if (within := [line for line in lines if line is not None and trained < line <= until])
    ]
    marks += sorted(after, key=lambda mark: mark[1])
    began = _start_of_training(rerun, run)
    if began is None:
        return ()
    phases = [MeasuredPhase("set-up", 0.0, began, Budget.NONE, "the training clock starts")]
    for name, number, budget in marks:
        at = rerun.time_of(number)
        before = phases[-1].start + phases[-1].seconds
        if at is not None:
            phases.append(MeasuredPhase(name, before, max(0.0, at - before), budget, rerun.lines[number - 1][1][:120]))
    return tuple(phases)


def _start_of_training(rerun: Rerun, run: Run) -> float | None:
    """When the first step's line came, less what the script's own clock said there, and not before the line above."""
    first = run.steps[0]
    at, above = rerun.time_of(first.line), rerun.time_of(first.line - 1)
    if at is None:
        return None
    spent = (first.train_ms or 0.0) / 1000.0 if rerun.own_clock else 0.0
    return max(above or 0.0, at - spent)


def charged(phases: tuple[MeasuredPhase, ...], budget: Budget) -> float | None:
    """Seconds that count in a budget; `None` when no phase does."""
    counted = [phase.seconds for phase in phases if phase.budget is budget]
    return sum(counted) if counted else None


def after_training(phases: tuple[MeasuredPhase, ...]) -> float | None:
    """Seconds between the end of the training and the headline metric: no evaluation can have taken longer, whatever lines the script
    prints in between. `None` where no line marks either."""
    at = next((index for index, phase in enumerate(phases) if phase.name == "training"), None)
    if at is None or phases[-1].name != "evaluation":
        return None
    return sum(phase.seconds for phase in phases[at + 1 :])


def logged_seconds(run: Run, metric: Metric | None, budget: Budget) -> float | None:
    """What a log says was spent of a budget: training with calibration on training data, or the path to the metric."""
    timeline = build_timeline(run, metric)
    if budget is Budget.EVAL:
        return timeline.path_seconds if timeline.eval_seconds is not None else None
    counted = [phase.seconds for phase in timeline.phases if phase.budget is Budget.TRAIN]
    return sum(counted) if counted else None


def headline_of(run: Run, label: str | None) -> Metric | None:
    """The metric of a re-run that the record's headline names, else what the run ends with."""
    same = [metric for metric in run.final_metrics if metric.label == label and metric.bpb is not None]
    return same[-1] if same else run.headline


def _end_of_training(run: Run) -> int:
    if run.stop is not None and run.stop.source.line is not None:
        return run.stop.source.line
    return max(point.line for point in run.steps)
