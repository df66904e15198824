"""PKG008: one log for several seeds, a log of another seed than its name says, one score for two seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.rule import Confidence, Decision, Finding, Level, Outcome, Rule
from verifier.submission.logs.model import LogFile, Run
from verifier.submission.submission import Submission

EXACT_DECIMALS = 6
"""Two seeds may agree in four printed decimals by chance; in six or more they don't."""
CLOCK_READINGS = 5
"""Equal readings of the training clock, in ms, after which two logs are of one run."""


def check(context: Context) -> Decision:
    """Looks at each log's bytes, its own seed against its name, and exact scores and clocks across seeds."""
    submission = context.submission
    if not submission.logs:
        return Decision.not_available("no log could be read")
    findings = [
        *_one_blob_for_several_seeds(submission.logs),
        *_contradicted_names(submission.logs),
        *_one_score_for_two_seeds(submission),
    ]
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"{len(submission.logs)} logs: no seed shares its log, its score or its clock with another")


def _name_seeds(log: LogFile) -> set[int]:
    return {run.file_name_seed for run in log.runs if run.file_name_seed is not None}


def _one_blob_for_several_seeds(logs: tuple[LogFile, ...]) -> Iterator[Finding]:
    """The same bytes under two seeds' names. `train.log` beside `train_seed1337.log` is only a copy."""
    by_content: dict[str, list[LogFile]] = defaultdict(list)
    for log in logs:
        by_content[log.sha256].append(log)
    for same in by_content.values():
        seeds = sorted(set().union(*map(_name_seeds, same)))
        if len(seeds) > 1:
            named = [log for log in same if _name_seeds(log)]
            yield Finding(
                Outcome.FAIL,
                f"{' and '.join(log.path for log in named)} are the same file, byte for byte: one run stands for seeds "
                f"{' and '.join(map(str, seeds))}",
                tuple(Location(log.path) for log in named),
                remediation="ship the log of each seed's own run, or claim only the seed that was run",
            )


def _contradicted_names(logs: tuple[LogFile, ...]) -> Iterator[Finding]:
    """A seed line that names another seed than the file does, unless the file also holds a run of the named seed."""
    if _numbered(logs):
        return
    for log in logs:
        printed = {run.seed for run in log.runs if run.seed_from in ("line", "dump", "inline")}
        for run in log.runs:
            name = run.file_name_seed
            if name is None or run.seed is None or run.seed == name or run.seed_source is None or name in printed:
                continue
            if run.seed_from not in ("line", "dump", "inline"):
                continue
            # An evaluation may draw its own seed for a checkpoint of another one; a training run may not.
            trained = run.full and run.seed_from != "inline"
            yield Finding(
                Outcome.FAIL if trained else Outcome.REVIEW,
                f"{log.path} is named for seed {name}, but the run in it says seed {run.seed}",
                (run.seed_source,),
                Confidence.HIGH if trained else Confidence.MEDIUM,
                remediation=f"ship the log of seed {name}, or name this one for seed {run.seed}",
            )
            break


def _numbered(logs: tuple[LogFile, ...]) -> bool:
    """Whether the names count the runs (`run_seed1.txt`, `run_seed2.txt`, ...) whose printed seeds are all different."""
    names = sorted(seed for log in logs for seed in _name_seeds(log))
    printed = [run.seed for log in logs for run in log.runs if run.file_name_seed is not None and run.seed is not None]
    counting = names in ([*range(len(names))], [*range(1, len(names) + 1)])
    return len(names) > 1 and counting and len({*printed}) == len(printed)


def _one_score_for_two_seeds(submission: Submission) -> Iterator[Finding]:
    """Different logs of different seeds that end in one exact score, or share the readings of the training clock."""
    seeded = [run for run in submission.runs if run.seed is not None]
    for one, other in combinations(seeded, 2):
        if one.seed == other.seed:
            continue
        clocks = _shared_clock_readings(one, other)
        if clocks >= CLOCK_READINGS:
            yield Finding(
                Outcome.FAIL,
                f"{one.path} (seed {one.seed}) and {other.path} (seed {other.seed}) share {clocks} readings of the training clock and "
                "the loss at each of them: they are of one run",
                (Location(one.path, one.steps[0].line), Location(other.path, other.steps[0].line)),
                remediation="ship the log of each seed's own run",
            )
        elif _same_exact_score(one, other):
            here, there = one.headline, other.headline
            if here is None or there is None or here.bpb is None:
                continue
            yield Finding(
                Outcome.REVIEW,
                f"seeds {one.seed} and {other.seed} end in the same score to the last digit: {here.bpb.text}",
                (here.source, there.source),
                Confidence.MEDIUM,
                remediation="say how two seeds came to one score, or replace the log that was taken from the other run",
            )


def _shared_clock_readings(one: Run, other: Run) -> int:
    """Steps at which both logs print the same loss and the same clock. Clocks in rounded minutes say nothing."""
    first = {(point.step, point.train_ms, point.train_loss) for point in one.steps if _precise(point.train_ms)}
    return sum((point.step, point.train_ms, point.train_loss) in first for point in other.steps)


def _precise(milliseconds: float | None) -> bool:
    return milliseconds is not None and milliseconds > 0 and milliseconds % 1000 != 0


def _same_exact_score(one: Run, other: Run) -> bool:
    here, there = one.headline, other.headline
    if here is None or there is None or here.bpb is None or there.bpb is None:
        return False
    return min(here.bpb.decimals, there.bpb.decimals) >= EXACT_DECIMALS and here.bpb.text == there.bpb.text


REUSED_EVIDENCE = Rule(
    code="PKG008",
    name="reused-evidence",
    level=Level.WARNING,
    summary="one log stands for several seeds, or a log's own seed contradicts its file name",
    why=(
        "The mean over seeds is only as good as the runs behind it. A log copied under a second seed's name makes one run look like "
        "two and the spread smaller than it is. Most cases are slips of a script that forgot to pass SEED."
    ),
    example=(
        "violation: train_seed42.log and train_seed2026.log both print `seed:1337`\n"
        "legal:     train.log is a copy of train_seed1337.log; it counts once and names no other seed"
    ),
    settles="the original logs with time stamps, or a run of the seed in question",
    sources=("https://github.com/openai/parameter-golf/pull/1729", "https://github.com/openai/parameter-golf/pull/2058"),
    check=check,
)

RULES = (REUSED_EVIDENCE,)
