"""What the logs say beside what a re-run shows: every line with both values, their difference and a judgement.

Only what can be alike is compared. A run at toy size or on other hardware has other losses and times; that is said and never held
against a record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, stdev

from audits.reproduction.phases import MeasuredPhase, charged, headline_of, logged_seconds
from verifier.execution.rerun import Rerun
from verifier.ledger.student_t import cumulative
from verifier.ledger.timeline import Budget
from verifier.submission.logs.model import Metric, Run, SizeKind

LEVEL = 0.01
"""p below which a mean difference over seeds is no chance."""
BPB, TRAIN_LOSS, VAL_LOSS = 0.003, 0.03, 0.006
"""Tolerances where too few seeds are there to test: seeds of one system lie within them (a training line is the loss of one batch)."""
PACE, CLOCK, ARTIFACT = 0.05, 0.02, 0.01
"""Relative tolerances of the pace and the phases, of a script's clock against ours, and of the artifact's bytes."""
CLOCK_SLACK = 2.0
"""s added to the latter: lines come when they are printed."""


class Judgement(StrEnum):
    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison. `logged` and `measured` in `unit`; `seed` is `None` for one over all seeds. `reason` says by what it was
    judged, or why it could not be."""

    subject: str
    seed: int | None
    logged: float | str | None
    measured: float | str | None
    difference: float | None
    unit: str
    judgement: Judgement
    reason: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """How the re-run was made. `own_script` is false for the reference implementation."""

    toy: bool
    own_script: bool
    logged_machine: str
    machine: str
    same_machine: bool

    @property
    def why_no_score(self) -> str:
        """Why losses and bytes can't be compared; empty when they can."""
        if self.toy:
            return "toy size: another model on other data"
        if not self.same_machine:
            return f"other hardware ({self.machine}; logs: {self.logged_machine}): the clock ends training at another step"
        return ""

    @property
    def why_no_pace(self) -> str:
        return self.why_no_score or ("" if self.own_script else "the reference implementation is other code")


@dataclass(frozen=True, slots=True)
class Pair:
    """One seed: its logged run with the headline metric (`None` where there is none), and the re-run with its phases."""

    seed: int | None
    logged: Run | None
    metric: Metric | None
    rerun: Rerun
    phases: tuple[MeasuredPhase, ...]

    @property
    def run(self) -> Run | None:
        return self.rerun.run

    @property
    def measured(self) -> Metric | None:
        return headline_of(self.run, self.metric.label if self.metric is not None else None) if self.run is not None else None


def compare(pairs: Sequence[Pair], others: Sequence[float], conditions: Conditions) -> tuple[Line, ...]:
    """All lines, seed by seed, then over the seeds. `others` are the logged scores (bpb) of all seeds, re-run or not."""
    complete = [pair for pair in pairs if pair.rerun.completed and pair.run is not None]
    lines: list[Line] = []
    for pair in pairs:
        if pair not in complete:
            reason = pair.rerun.failure or "the output holds no run"
            lines.append(
                Line("run", pair.seed, None, pair.rerun.stage, None, "", Judgement.NOT_COMPARABLE, f"not completed: {reason}")
            )
            continue
        lines += [*_form(pair, conditions), *_steps(pair, conditions), *_sizes(pair, conditions), *_phases(pair, conditions)]
    if complete:
        lines += [*_curves(complete, conditions), *_scores(complete, others, conditions)]
    return tuple(lines)


def _form(pair: Pair, conditions: Conditions) -> Iterator[Line]:
    """The run says what the record's log says, in the same words."""
    if pair.metric is None or pair.run is None:
        return
    label, printed = pair.metric.label, {metric.label for metric in pair.run.final_metrics}
    if not conditions.own_script:
        yield Line("headline metric", pair.seed, label, _label(pair.measured), None, "", Judgement.NOT_COMPARABLE, "the reference implementation has labels of its own")  # fmt: skip
    elif label in printed:
        yield Line("headline metric", pair.seed, label, label, None, "", Judgement.AGREES, "the re-run prints it too")
    else:
        reason = f"the re-run ends without it; it prints {', '.join(sorted(printed)) or 'no final metric'}"
        reason += " (at toy size settings of size are others)" if conditions.toy else ""
        yield Line("headline metric", pair.seed, label, _label(pair.measured), None, "", Judgement.DIFFERS, reason)


def _label(metric: Metric | None) -> str | None:
    return metric.label if metric is not None else None


def _steps(pair: Pair, conditions: Conditions) -> Iterator[Line]:
    run, logged = pair.run, pair.logged
    assert run is not None
    numbers = [point.step for point in run.steps]
    falls = next((index for index in range(1, len(numbers)) if numbers[index] < numbers[index - 1]), None)
    told = "rising" if falls is None else f"{numbers[falls - 1]} then {numbers[falls]}"
    if numbers:
        judged = Judgement.AGREES if falls is None else Judgement.DIFFERS
        yield Line("order of steps", pair.seed, "rising", told, None, "", judged, f"{len(numbers)} lines with a step")
    pace = (run.train_ms / run.steps_reached) if pair.rerun.own_clock and run.train_ms and run.steps_reached else None
    for subject, unit, one, other in (
        ("steps", "steps", logged.steps_reached if logged else None, run.steps_reached),
        ("time per step", "ms", logged.step_ms if logged else None, pace),
    ):
        why = (
            conditions.why_no_pace
            or ("" if one is not None else "the log does not say")
            or ("" if other is not None else "not printed")
        )
        yield _relative(subject, pair.seed, one, other, unit, PACE, why)


def _sizes(pair: Pair, conditions: Conditions) -> Iterator[Line]:
    """The re-run's own size lines against the files it left, then the artifact against the logged one."""
    run = pair.run
    assert run is not None
    totals = [size.bytes for size in run.sizes if size.kind is SizeKind.TOTAL and size.exact]
    models = [size.bytes for size in run.sizes if size.kind is SizeKind.MODEL and size.exact]
    files, code = set(pair.rerun.left.values()), pair.rerun.script_bytes
    total = totals[-1] if totals else None
    model = next((size for size in reversed(models) if size in files), None)
    subject = "sizes of the re-run"
    if total is None:
        yield Line(subject, pair.seed, None, None, None, "bytes", Judgement.NOT_COMPARABLE, "the re-run logs no exact total")
    elif total - code in files:
        said = f"{total - code:,} bytes of model and {code:,} of script on disk"
        yield Line(subject, pair.seed, total, total, 0, "bytes", Judgement.AGREES, said)
    elif model is not None:
        said = f"{model:,} bytes of model and {code:,} of script on disk: the log counts the code in another form"
        disk = model + code
        yield Line(subject, pair.seed, total, disk, disk - total, "bytes", Judgement.NOT_COMPARABLE, said)
    else:
        said = "no file that it left makes up the total with the script: it may be gone, or other files are counted"
        yield Line(subject, pair.seed, total, None, None, "bytes", Judgement.NOT_COMPARABLE, said)
    logged = pair.logged
    counted = [size.bytes for size in logged.sizes if size.kind is SizeKind.TOTAL and size.exact] if logged is not None else []
    why = (
        conditions.why_no_score
        or ("" if counted else "the log states no exact total")
        or ("" if total else "the re-run states none")
    )
    yield _relative("artifact", pair.seed, counted[-1] if counted else None, total, "bytes", ARTIFACT, why)


def _phases(pair: Pair, conditions: Conditions) -> Iterator[Line]:
    for name, budget in (("training", Budget.TRAIN), ("evaluation", Budget.EVAL)):
        measured = charged(pair.phases, budget)
        logged = logged_seconds(pair.logged, pair.metric, budget) if pair.logged is not None else None
        why = conditions.why_no_pace or ("" if logged is not None else "the log does not say")
        why = why or ("" if measured is not None else "no lines mark it in the re-run")
        yield _relative(f"time: {name}", pair.seed, logged, measured, "s", PACE, why)
    run = pair.run
    training = next((phase.seconds for phase in pair.phases if phase.name == "training"), None)
    if run is not None and pair.rerun.own_clock and run.train_ms is not None and training is not None:
        slack = CLOCK_SLACK + CLOCK * training
        apart = training - run.train_ms / 1000.0
        judged = Judgement.AGREES if abs(apart) <= slack else Judgement.DIFFERS
        yield Line("training clock of the re-run", pair.seed, run.train_ms / 1000.0, training, apart, "s", judged, f"its own clock against one outside; within {slack:.1f} s")  # fmt: skip


def _curves(pairs: Sequence[Pair], conditions: Conditions) -> Iterator[Line]:
    """Mean differences at the steps that both have, one per seed; over two seeds or more, a paired t test of them."""
    for subject, unit, tolerance, points in (
        ("training loss", "nats/token", TRAIN_LOSS, train_points),
        ("validation loss in training", "nats/token", VAL_LOSS, val_points),
    ):
        means: list[float] = []
        spreads: list[float] = []
        for pair in pairs:
            one = points(pair.logged) if pair.logged is not None else {}
            other = points(pair.run) if pair.run is not None else {}
            shared = sorted((one.keys() & other.keys()) - {0})
            why = conditions.why_no_score or ("" if shared else "no step has a value in both")
            if why:
                yield Line(subject, pair.seed, _last(one), _last(other), None, unit, Judgement.NOT_COMPARABLE, why)
                continue
            apart = [other[step] - one[step] for step in shared]
            means.append(fmean(apart))
            spreads.append(stdev(apart) if len(apart) > 1 else 0.0)
            judged = Judgement.AGREES if abs(means[-1]) <= tolerance else Judgement.DIFFERS
            said = f"mean over {len(shared)} common steps, sd {spreads[-1]:.4f}; tolerance {tolerance} nats"
            yield Line(subject, pair.seed, fmean(one[step] for step in shared), fmean(other[step] for step in shared), means[-1], unit, judged, said)  # fmt: skip
        if len(means) > 1:
            yield _over_seeds(subject, None, None, means, unit, tolerance)


def _over_seeds(
    subject: str, one: float | None, other: float | None, apart: Sequence[float], unit: str, tolerance: float
) -> Line:
    """A paired t test over seeds of the differences re-run minus logged."""
    mean, spread = fmean(apart), stdev(apart)
    p = _two_sided(mean / (spread / math.sqrt(len(apart))), len(apart) - 1) if spread > 0 else (0.0 if mean else 1.0)
    judged, said = _judge(mean, p, tolerance)
    return Line(
        subject, None, one, other, mean, unit, judged, f"paired over {len(apart)} seeds: sd {spread:.5f}, p = {p:.3g}; {said}"
    )


def _judge(mean: float, p: float, tolerance: float) -> tuple[Judgement, str]:
    if abs(mean) <= tolerance:
        return Judgement.AGREES, f"within {tolerance}"
    if p < LEVEL:
        return Judgement.DIFFERS, f"beyond {tolerance}, and p < {LEVEL}"
    return Judgement.NOT_COMPARABLE, f"beyond {tolerance}, but too few seeds to tell it from chance"


def _two_sided(t: float, degrees: float) -> float:
    return 2.0 * (1.0 - cumulative(degrees, abs(t)))


def _scores(pairs: Sequence[Pair], others: Sequence[float], conditions: Conditions) -> Iterator[Line]:
    """The headline BPB: each seed against its log, then the means (Welch) over all logged and all re-run seeds."""
    scored: list[float] = []
    for pair in pairs:
        one = pair.metric.bpb.value if pair.metric is not None and pair.metric.bpb is not None else None
        found = pair.measured
        other = found.bpb.value if found is not None and found.bpb is not None else None
        why = conditions.why_no_score or ("" if one is not None else "the log states no final BPB")
        why = why or ("" if other is not None else "the re-run printed no final BPB")
        if why or one is None or other is None:
            yield Line("final BPB", pair.seed, one, other, None, "bpb", Judgement.NOT_COMPARABLE, why)
            continue
        scored.append(other)
        tolerance = max(BPB, 3 * stdev(others)) if len(others) > 1 else BPB
        judged = Judgement.AGREES if abs(other - one) <= tolerance else Judgement.DIFFERS
        yield Line("final BPB", pair.seed, one, other, other - one, "bpb", judged, f"tolerance {tolerance:.4f} (three times the seeds' spread, at least {BPB})")  # fmt: skip
    if len(scored) > 1 and len(others) > 1:
        mean, p = fmean(scored) - fmean(others), welch(others, scored)
        judged, said = _judge(mean, p, BPB)
        yield Line("final BPB", None, fmean(others), fmean(scored), mean, "bpb", judged, f"Welch over {len(others)} and {len(scored)} seeds: p = {p:.3g}; {said}")  # fmt: skip


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p of Welch's t test for the means of two samples of at least two values."""
    parts = [stdev(values) ** 2 / len(values) for values in (one, other)]
    total = sum(parts)
    if total == 0:
        return 1.0 if fmean(one) == fmean(other) else 0.0
    degrees = total**2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (one, other), strict=True))
    return _two_sided((fmean(other) - fmean(one)) / math.sqrt(total), degrees)


def _relative(
    subject: str, seed: int | None, one: float | None, other: float | None, unit: str, tolerance: float, why: str
) -> Line:
    apart = other - one if one is not None and other is not None else None
    if why or apart is None or one is None:
        return Line(subject, seed, one, other, None, unit, Judgement.NOT_COMPARABLE, why)
    judged = Judgement.AGREES if abs(apart) <= tolerance * abs(one) else Judgement.DIFFERS
    return Line(subject, seed, one, other, apart, unit, judged, f"tolerance {tolerance:.0%}")


def train_points(run: Run) -> dict[int, float]:
    """Finite losses by step: a run that diverged prints `nan`."""
    return {
        point.step: point.train_loss for point in run.steps if point.train_loss is not None and math.isfinite(point.train_loss)
    }


def val_points(run: Run) -> dict[int, float]:
    return {metric.step: metric.loss.value for metric in run.metrics if metric.step is not None and metric.loss is not None}


def _last(points: dict[int, float]) -> float | None:
    return points[max(points)] if points else None
