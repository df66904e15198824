"""TIM001 and TIM002: the training clock and the path to the headline metric against 600 s each."""

from __future__ import annotations

from audits.time.runs import TimedRun, decide, other_hardware, timed_runs, trained_runs
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.timeline import Budget, training_source
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.logs.model import PhaseKind

_README = "https://github.com/openai/parameter-golf#readme"
_PULL = "https://github.com/openai/parameter-golf/pull/"
UNCERTAIN_SECONDS = 15.0
"""s above the evaluation budget within which a sum of printed parts proves nothing: clocks overlap and leave gaps."""

_PROVEN_PARTS = (PhaseKind.EVAL, PhaseKind.ADAPT, PhaseKind.TOTAL_EVAL)
"""Kinds of phases that run one after another; tables may be built beside an evaluation, or belong to another one."""


def check_training(context: Context) -> Decision:
    timed = trained_runs(context)
    if not timed:
        return Decision.not_available("no log of a run: the training clock is not shown")
    budget = context.challenge.train_budget
    limit = budget + context.challenge.train_overshoot
    findings: list[Finding] = []
    unread: list[str] = []
    for each in timed:
        seconds = each.timeline.train_seconds
        if seconds is None:
            unread.append(each.name)
        elif seconds > limit:
            findings.append(_over_training(each, seconds, limit))
        elif seconds > budget:
            findings.append(
                Finding(
                    Outcome.INFO,
                    f"{each.name} trained {seconds:.3f} s: the last step ended {seconds - budget:.3f} s after the budget",
                    (training_source(each.run),),
                    measured=Measured(round(seconds, 3), "s"),
                    limit=Measured(limit, "s"),
                )
            )
    return decide(
        findings, unread, "no training clock in the log of", f"all {len(timed)} runs stopped training within {budget:g} s"
    )


def _over_training(each: TimedRun, seconds: float, limit: float) -> Finding:
    other = other_hardware(each.run)
    places: tuple[Location, ...] = (training_source(each.run),)
    if other is None:
        return Finding(
            Outcome.FAIL,
            f"{each.name} trained {seconds:.1f} s, more than {limit:g} s",
            places,
            Confidence.HIGH,
            Measured(round(seconds, 3), "s"),
            Measured(limit, "s"),
            "Stop early enough for the last step and whatever follows it inside the clock to fit, and log the clock at the end.",
        )
    return Finding(
        Outcome.REVIEW,
        f"{each.name} trained {seconds:.1f} s on other hardware ({other[0]}), so the log does not show the time on 8xH100",
        (*places, other[1]),
        Confidence.MEDIUM,
        Measured(round(seconds, 3), "s"),
        Measured(limit, "s"),
        "Log a run on 8xH100.",
    )


def check_evaluation(context: Context) -> Decision:
    timed = timed_runs(context)
    if not timed:
        return Decision.not_available("no log of a run: the evaluation's duration is not shown")
    budget = context.challenge.eval_budget
    findings: list[Finding] = []
    unread: list[str] = []
    longest = 0.0
    for each in timed:
        seconds = each.timeline.eval_seconds
        if seconds is None:
            unread.append(each.name)
            continue
        longest = max(longest, seconds)
        if each.timeline.path_seconds > budget:
            findings.append(_over_evaluation(each, seconds, budget))
        elif each.timeline.diagnostic_seconds + seconds > budget:
            findings.append(_with_diagnostics(each, seconds, budget))
    return decide(
        findings,
        unread,
        "the log prints no duration for the headline evaluation of",
        f"the path to the headline metric takes at most {longest:.1f} s in {len(timed)} run(s)",
    )


def _over_evaluation(each: TimedRun, seconds: float, budget: float) -> Finding:
    """One printed number above the budget proves it; a sum of parts does from `UNCERTAIN_SECONDS` on, unless the log's own total
    leaves the parts out: then the reviewer has to say what counts."""
    timeline = each.timeline
    total = timeline.path_seconds
    parts = [phase for phase in timeline.phases if phase.budget is Budget.EVAL]
    places = tuple(phase.source for phase in parts) or (_headline_source(each),)
    label = each.headline.label if each.headline is not None else "the headline metric"
    told = "; ".join(f"{phase.label or phase.kind.value} {phase.seconds:.1f} s" for phase in parts)
    other = other_hardware(each.run)
    if other is not None:
        outcome, why = Outcome.REVIEW, f" on other hardware ({other[0]})"
        places = (*places, other[1])
    elif not each.explained:
        outcome, why = Outcome.REVIEW, ", which is what the log ends with; which line the claim is about is not known"
    elif timeline.eval_is_total and seconds > budget:
        outcome, why = Outcome.FAIL, ""
    elif timeline.eval_is_total:
        outcome, why = Outcome.REVIEW, f": the log's own total is {seconds:.1f} s, phases with a clock of their own come on top"
    else:
        certain = total > budget + UNCERTAIN_SECONDS and all(phase.kind in _PROVEN_PARTS for phase in parts)
        outcome, why = (Outcome.FAIL if certain else Outcome.REVIEW), ""
    return Finding(
        outcome,
        f"{each.name}: the path to {label} takes {total:.1f} s{why} ({told})",
        places,
        Confidence.HIGH if timeline.eval_is_total else Confidence.MEDIUM,
        Measured(round(total, 1), "s"),
        Measured(budget, "s"),
        "Shorten the evaluation, or print one total of everything that the headline metric needs.",
    )


def _with_diagnostics(each: TimedRun, seconds: float, budget: float) -> Finding:
    diagnostics = each.timeline.diagnostic_seconds
    return Finding(
        Outcome.INFO,
        f"{each.name}: {seconds:.1f} s to the headline metric; {diagnostics:.1f} s of other evaluations are not counted",
        tuple(phase.source for phase in each.timeline.phases if phase.kind is PhaseKind.EVAL)[:8] or (_headline_source(each),),
        measured=Measured(round(seconds, 1), "s"),
        limit=Measured(budget, "s"),
    )


def _headline_source(each: TimedRun) -> Location:
    return each.headline.source if each.headline is not None else Location(each.run.path)


TRAIN_OVER_BUDGET = Rule(
    code="TIM001",
    name="train-over-budget",
    level=Level.ERROR,
    summary="training wallclock above 601 s",
    why="Every submission gets the same 600 s of training on 8xH100. The step that is running at the cap may finish, which takes well "
    "under a second; a clock that ends later was not bound to the budget.",
    example="violation: `stopping_early: max_steps train_time:612431ms step:5900/5900`\n"
    "legal: `stopping_early: wallclock_cap train_time:600058ms step:5790/20000` (the last step's overshoot)",
    settles="the training clock of a run on 8xH100 SXM",
    sources=(_README, _PULL + "1908"),
    check=check_training,
    record_track_only=True,
)

EVAL_OVER_BUDGET = Rule(
    code="TIM002",
    name="eval-over-budget",
    level=Level.ERROR,
    summary="the path to the headline metric takes more than 600 s",
    why="Evaluation has its own 600 s. Everything that the reported number needs counts: its evaluation, adaptation on validation "
    "tokens, tables that are built first. Evaluations that nobody reports do not.",
    example="violation: `legal_ttt val_loss:1.91 val_bpb:1.11 eval_time:688000ms` reported as the score\n"
    "legal: `legal_ttt ... eval_time:430000ms` after a sliding-window diagnostic of 190 s: 620 s in all, 430 s on the path",
    settles="one printed total over all phases that the headline metric needs, timed on 8xH100 SXM",
    sources=(_README, _PULL + "529", _PULL + "1972"),
    check=check_evaluation,
    record_track_only=True,
)
