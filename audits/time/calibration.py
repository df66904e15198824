"""TIM003: training data that is read after the training budget is used up.

The log says how long: lines about Hessians, calibration and reserves. The script says on which data, and whether it calibrates
without a word in the log. Where neither is known, silence is `not-available`, not `pass`.
"""

from __future__ import annotations

from audits.time.late_data import LateData, late_training_data
from audits.time.runs import TimedRun, other_hardware, trained_runs
from verifier.engine.context import Context
from verifier.ledger.configuration import is_on, resolve_configuration
from verifier.ledger.timeline import Phase, training_data_after_clock, training_source
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.logs.model import Calibration, PhaseKind, Value

_PULL = "https://github.com/openai/parameter-golf/pull/"
FAIL_SECONDS = 5.0
"""s above the training budget from which no ruling has accepted calibration on training data; below, rulings differ."""
_OFF = frozenset({"0", "false", "no", "none"})
_SWITCHES = ("gptq_enabled", "use_gptq", "full_gptq", "gptq")
_AFTER_A_FULL_CLOCK = 0.5
"""s below the budget from which training counts as having used all of it."""


def check(context: Context) -> Decision:
    timed = trained_runs(context)
    if not timed:
        return Decision.not_available("no log of a run: what happened after training is not shown")
    program = late_training_data(context)
    findings: list[Finding] = []
    unread: list[TimedRun] = []
    for each in timed:
        found = _judge(each, context, program)
        if found is not None:
            findings.append(found)
        elif _switched_off(each) is None:
            unread.append(each)
    if unread and program.places:
        findings += [_judge_silent(each, context, program) for each in unread]
        unread = []
    worst = Decision.of(findings) if findings else None
    if worst is not None and (worst.outcome in (Outcome.FAIL, Outcome.REVIEW) or not unread):
        return worst
    if unread and not program.complete:
        names = ", ".join(each.name for each in unread[:6])
        reason = f"no calibration line in the log of {names}; the script would show what its quantization reads"
        return Decision.not_available(reason, *findings)
    if unread:
        return Decision.passed(
            "the script reads no training data between its last training step and the shipped weights", *findings
        )
    return Decision.passed("the logged settings switch GPTQ calibration off in every run")


def _judge(each: TimedRun, context: Context, program: LateData) -> Finding | None:
    late = training_data_after_clock(each.run)
    timed = [phase for phase in each.timeline.phases if phase.kind is PhaseKind.CALIBRATION]
    if timed:
        return _judge_timed(each, timed, late, context, program)
    if late:
        return _judge_untimed(each, late, context, program)
    return _other_construction(each)


def _judge_timed(
    each: TimedRun, phases: list[Phase], late: tuple[Calibration, ...], context: Context, program: LateData
) -> Finding:
    """Train clock plus calibration decides. A diagnostic evaluation in between is accepted as long as both fit into the budget;
    where they do not, or where something else runs in between, the end of the calibration counts."""
    budget = context.challenge.train_budget
    limit = budget + context.challenge.train_overshoot
    train = each.timeline.train_seconds
    seconds = sum(phase.seconds for phase in phases)
    end = phases[-1].end
    known = all(phase.reads == "train" for phase in phases)
    shown = not known and program.certain and all(phase.reads in ("train", "") for phase in phases)
    known = known or shown
    data = "training data" if known else "data that the log does not name"
    reserve = each.timeline.reserve_seconds
    kept = "no reserve" if not reserve else f"reserve {reserve:g} s"
    places = [phase.source for phase in phases]
    if train is None:
        outcome, used = Outcome.REVIEW, seconds
        message = f"{each.name}: calibration reads {data} for {seconds:.1f} s and the log shows no training clock"
    else:
        places.insert(0, training_source(each.run))
        used = train + seconds
        between = [phase for phase in each.timeline.phases if train <= phase.start < phases[-1].start and phase not in phases]
        message = f"{each.name}: {train:.1f} s training + {seconds:.1f} s calibration on {data} = {used:.1f} s ({kept})"
        if used > budget + FAIL_SECONDS:
            outcome = Outcome.FAIL if known else Outcome.REVIEW
        elif used > limit:
            outcome = Outcome.REVIEW
        elif end > limit and (used > budget or any(phase.kind is not PhaseKind.EVAL for phase in between)):
            outcome, used = Outcome.REVIEW, end
            message += f"; with the {end - train - seconds:.1f} s in between it still reads at {end:.1f} s"
            places += [phase.source for phase in between][:4]
        else:
            outcome = Outcome.INFO
    if outcome is Outcome.FAIL and (other := other_hardware(each.run)) is not None:
        outcome = Outcome.REVIEW
        message += f" on other hardware ({other[0]})"
        places.append(other[1])
    # The line that names the data belongs to the proof, wherever the duration stands.
    places += [line.source for line in late if line.reads == "train"][:1]
    places += program.places if shown else ()
    stated = any(line.stated for line in late)
    return Finding(
        outcome,
        message,
        tuple(dict.fromkeys(places)),
        Confidence.HIGH if stated else Confidence.MEDIUM,
        Measured(round(used, 1), "s"),
        Measured(limit, "s"),
        "Reserve as much of the training budget as calibration takes, or calibrate on text that the model generates."
        if outcome is not Outcome.INFO
        else "",
    )


def _judge_untimed(each: TimedRun, late: tuple[Calibration, ...], context: Context, program: LateData) -> Finding:
    """Calibration lines without a duration: after a full clock without a reserve any duration is outside the budget."""
    budget = context.challenge.train_budget
    train = each.timeline.train_seconds
    reserve = each.timeline.reserve_seconds or 0.0
    known = any(line.reads == "train" for line in late)
    shown = not known and program.certain and all(line.reads in ("train", "") for line in late)
    known = known or shown
    first = next((line for line in late if line.reads == "train"), late[0])
    full = train is not None and train >= budget - _AFTER_A_FULL_CLOCK
    places = (*((training_source(each.run),) if train is not None else ()), first.source, *(program.places if shown else ()))
    if full and known and reserve <= 0 and other_hardware(each.run) is None:
        outcome = Outcome.FAIL
        message = f"{each.name}: calibration on training data after {train:.1f} s of training, without a reserve"
    else:
        outcome = Outcome.REVIEW
        data = "training data" if known else "data that the log does not name"
        clock = f"after {train:.1f} s of training" if train is not None else "and the log shows no training clock"
        message = f"{each.name}: calibration on {data} {clock}, reserve {reserve:g} s, its duration is not logged"
    return Finding(
        outcome,
        message,
        places,
        Confidence.HIGH if known and first.stated else Confidence.MEDIUM,
        Measured(round(train, 1), "s") if train is not None else None,
        Measured(budget + context.challenge.train_overshoot, "s"),
        "Reserve time for calibration inside the training budget and log how long it takes.",
    )


def _judge_silent(each: TimedRun, context: Context, program: LateData) -> Finding:
    """The log does not mention the calibration that the script shows: a full clock leaves no time for it."""
    budget = context.challenge.train_budget
    train = each.timeline.train_seconds
    full = train is not None and train >= budget - _AFTER_A_FULL_CLOCK and not each.timeline.reserve_seconds
    places = ((training_source(each.run),) if train is not None else ()) + program.places
    if not full:
        clock = f"{train:.1f} s of training" if train is not None else "a training clock that the log does not show"
        message = f"{each.name}: the script calibrates on training data after {clock}; its duration is not logged"
        return Finding(Outcome.INFO if train is not None else Outcome.REVIEW, message, places)
    # A log that does not name the reserve may be an excerpt of one that does.
    reserves = any("RESERVE" in row.name.upper() and is_on(row.value) for row in resolve_configuration(context.submission))
    proven = program.certain and other_hardware(each.run) is None and not reserves
    told = "and the log names no reserve" if reserves else "without a reserve"
    return Finding(
        Outcome.FAIL if proven else Outcome.REVIEW,
        f"{each.name}: after {train:.1f} s of training, {told}, the script collects statistics on training data; the log does not mention it",
        places,
        Confidence.MEDIUM,
        Measured(round(train or 0.0, 1), "s"),
        Measured(budget + context.challenge.train_overshoot, "s"),
        "Reserve time for calibration inside the training budget and log how long it takes.",
    )


def _other_construction(each: TimedRun) -> Finding | None:
    """Calibration on self-generated or other text after the clock: accepted practice, printed with its seconds."""
    made = [phase for phase in each.timeline.phases if phase.kind is PhaseKind.SELF_GENERATION]
    lines = [line for line in each.run.calibrations if line.reads in ("self", "random", "validation")]
    if made:
        seconds = sum(phase.seconds for phase in made)
        message = f"{each.name}: calibration text is generated by the model for {seconds:.1f} s after the training clock"
        return Finding(Outcome.INFO, message, tuple(phase.source for phase in made), measured=Measured(round(seconds, 1), "s"))
    if lines:
        words = {"self": "text generated by the model", "random": "random tokens", "validation": "validation tokens"}
        message = f"{each.name}: calibration reads {words[lines[-1].reads]}, not training data; the log does not say for how long"
        return Finding(Outcome.INFO, message, (lines[-1].source,))
    inside = [line for line in each.run.calibrations if line.reads in ("train", "")]
    if inside:
        message = f"{each.name}: calibration is logged before the training clock ends"
        return Finding(Outcome.INFO, message, (inside[-1].source,))
    return None


def _switched_off(each: TimedRun) -> Value | None:
    """The logged setting that switches GPTQ off."""
    for name in _SWITCHES:
        value = each.run.config.get(name)
        if value is not None and value.text.lower() in _OFF:
            return value
    return None


CALIBRATION_OUTSIDE_BUDGET = Rule(
    code="TIM003",
    name="calibration-outside-budget",
    level=Level.ERROR,
    summary="training data is read after the training budget is used up",
    why="Training data may be read for 600 s. GPTQ Hessians, activation ranges or a pruning search collected on training batches are "
    "training too. Rulings: 3.6 s after a full clock were refused, 4.3 s were merged, so a few seconds need a maintainer; a reserve "
    "that covers the calibration, or text that the model generates itself, does not.",
    example="violation: `stopping_early: ... train_time:600031ms`, then `gptq:calibrated 68 layers in 11.2s` on training batches\n"
    "legal: `gptq:reserving 14s, effective=586000ms`, train_time 586012 ms, then `gptq:calibrated 68 layers in 11.2s` (597.2 s)",
    settles="the seconds of every phase that reads training data, and what runs between the training clock and its end",
    sources=tuple(_PULL + number for number in ("569", "593", "606", "706", "1934", "1493", "1787", "1855")),
    check=check,
    record_track_only=True,
)
