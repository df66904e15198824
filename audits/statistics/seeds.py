"""SIG001 and SIG005: which seeds are claimed and which have a log."""

from __future__ import annotations

from collections import Counter

from verifier.engine.context import Context
from verifier.evidence import Location, Number
from verifier.ledger.claims import claimed_headline, claimed_seeds, headline_runs, is_record_claim, own_metadata
from verifier.rule import Confidence, Decision, Finding, Level, Measured, Outcome, Rule
from verifier.submission.logs.model import Run
from verifier.submission.submission import Submission

_PULL = "https://github.com/openai/parameter-golf/pull/"
_README = "https://github.com/openai/parameter-golf#readme"
CUSTOMARY = 3
"""Seeds below which no accepted record of the later contest had its mean tested."""


def listed_seeds(submission: Submission) -> dict[int, Location]:
    """Seeds that the folder counts into its result, with the place of each."""
    metadata = own_metadata(submission)
    listed = dict.fromkeys(metadata.seeds, metadata.seeds_source) if metadata is not None and metadata.seeds_source else {}
    stated = {
        claim.seed: claim.source for claim in claimed_seeds(submission) if claim.seed is not None and claim.val_bpb is not None
    }
    return {seed: place for seed, place in {**listed, **stated}.items() if place is not None}


def _scored(submission: Submission) -> list[Run]:
    """Runs that end with a score, evaluation-only logs included."""
    return [run for run in submission.runs if run.headline is not None]


def check_insufficient(context: Context) -> Decision:
    submission = context.submission
    if not is_record_claim(submission):
        return Decision.not_applicable("the folder does not claim a record")
    full = [run for run in submission.runs if run.full]
    scored = _scored(submission)
    claimed = listed_seeds(submission)
    if not submission.logs:
        return Decision.of(
            [
                Finding(
                    Outcome.FAIL,
                    "the folder is in the record track, does not say that it is no record, and holds no log",
                    (_claim_place(submission),),
                )
            ]
        )
    if not full:
        return _without_full_run(submission, scored)
    counted = _count_seeds(full, scored)
    if len(claimed) > counted:
        return Decision.of([_too_few(submission, claimed, full, scored, counted)])
    if counted < CUSTOMARY:
        return Decision.of(
            [
                Finding(
                    Outcome.REVIEW,
                    f"the logs show {counted} run{'s' * (counted != 1)}; a test of the margin needs more ({CUSTOMARY} are customary)",
                    tuple(Location(run.path, run.first_line) for run in full[:CUSTOMARY]),
                    measured=Measured(counted, "runs"),
                    limit=Measured(CUSTOMARY, "runs"),
                    remediation="Add the logs of further seeds.",
                )
            ]
        )
    return Decision.passed(f"{counted} full runs have logs, {len(claimed) or 'no'} seeds are listed in the metadata")


def _without_full_run(submission: Submission, scored: list[Run]) -> Decision:
    if scored:
        return Decision.of(
            [
                Finding(
                    Outcome.REVIEW,
                    "the logs hold scores and no training run (at most five step lines): the training log would show the run",
                    tuple(run.headline.source for run in scored[:CUSTOMARY] if run.headline is not None),
                )
            ]
        )
    if any(problem.location.path == log.path for log in submission.logs for problem in (*log.problems, *submission.problems)):
        return Decision.not_available("logs could not be read completely, and what was read holds no training run")
    if any(run.steps or run.metrics for run in submission.runs):
        return Decision.of(
            [
                Finding(
                    Outcome.FAIL,
                    "a record is claimed and no log shows a full run: at most five step lines and no final metric",
                    tuple(Location(log.path) for log in submission.logs[:CUSTOMARY]),
                    measured=Measured(0, "runs"),
                )
            ]
        )
    return Decision.of(
        [
            Finding(
                Outcome.REVIEW,
                "no line of the logs was understood as a training step or a metric; whether they show a full run must be read",
                tuple(Location(log.path) for log in submission.logs[:CUSTOMARY]),
                Confidence.LOW,
            )
        ]
    )


def _count_seeds(full: list[Run], scored: list[Run]) -> int:
    """How many seeds the logs can stand for. Generous: runs without a seed line count one each, and so do further scored logs."""
    numbered = {run.seed for run in (*full, *scored) if run.seed is not None}
    unnumbered = [run for run in full if run.seed is None]
    # One log may hold several runs whose later seed lines the script did not repeat.
    return max(len(numbered) + len(unnumbered), len(full))


def _too_few(submission: Submission, claimed: dict[int, Location], full: list[Run], scored: list[Run], counted: int) -> Finding:
    logged = {run.seed for run in (*full, *scored)}
    missing = sorted(set(claimed) - {seed for seed in logged if seed is not None})
    unread = [problem for problem in submission.problems if any(problem.location.path == log.path for log in submission.logs)]
    return Finding(
        Outcome.REVIEW if unread else Outcome.FAIL,
        f"{len(claimed)} seeds are claimed, the logs show {counted}; without a log: {', '.join(map(str, missing)) or 'unknown'}",
        tuple(dict.fromkeys(claimed[seed] for seed in (missing or sorted(claimed)))),
        measured=Measured(counted, "runs"),
        limit=Measured(len(claimed), "runs"),
        remediation="Add the missing logs or claim the seeds that have one.",
    )


def _claim_place(submission: Submission) -> Location:
    claimed = claimed_headline(submission).bpb
    return claimed.source if claimed is not None else Location(".", excerpt=submission.name)


def check_selection(context: Context) -> Decision:
    scored = _scored(context.submission)
    chosen = [
        (each.run, each.metric.bpb)
        for each in headline_runs(context.submission)
        if each.metric is not None and each.metric.bpb is not None
    ]
    if not scored or not chosen:
        return Decision.not_available("no log of a claimed run ends with a score")
    findings = [*_left_out(scored, chosen), *_repeated([run for run, _ in chosen])]
    if findings:
        return Decision.of(findings)
    return Decision.passed(f"all {len(scored)} scored runs belong to the claim")


def _left_out(scored: list[Run], chosen: list[tuple[Run, Number]]) -> list[Finding]:
    """Full runs with a score that the claim does not use. Worse than every claimed one: the mean may be of the lucky seeds."""
    seeds = {run.seed for run, _ in chosen}
    worst = max(bpb.value for _, bpb in chosen)
    alone = f"which quotes one run with {worst:.5f}: one run chosen by its score is no mean"
    dropped = f"whose worst seed has {worst:.5f}: was it dropped for its score?"
    findings = []
    for run in scored:
        headline = run.headline
        if not run.full or run.seed is None or run.seed in seeds or headline is None or headline.bpb is None:
            continue
        worse = headline.bpb.value > worst
        findings.append(
            Finding(
                Outcome.REVIEW if worse else Outcome.INFO,
                f"seed {run.seed} has a log with {headline.bpb.text} BPB and is not part of the claim"
                + (f", {alone if len(chosen) == 1 else dropped}" if worse else ""),
                (headline.source,),
                Confidence.MEDIUM,
                Measured(headline.bpb.value, "bpb"),
            )
        )
    return findings


def _repeated(chosen: list[Run]) -> list[Finding]:
    counts = Counter(run.seed for run in chosen if run.seed is not None)
    return [
        Finding(
            Outcome.REVIEW,
            f"seed {seed} stands for {count} of the claimed runs: one seed's repetitions don't show the spread over seeds",
            tuple(run.seed_source or Location(run.path, run.first_line) for run in chosen if run.seed == seed),
            measured=Measured(count, "runs"),
        )
        for seed, count in sorted(counts.items())
        if count > 1
    ]


INSUFFICIENT_SEEDS = Rule(
    code="SIG001",
    name="insufficient-seeds",
    level=Level.RECORD,
    record_track_only=True,
    summary="a record is claimed without the log of a full run, or with more seeds than logs",
    why="A record is a statement about the spread over seeds. A seed without a log is a number without evidence.",
    example="violation: seeds 42, 1337 and 2025 claimed, one log\n"
    "legal: three seeds claimed, three logs\n"
    "review: one seed claimed as one seed, one log",
    settles="the training logs of the missing seeds",
    sources=(_README, _PULL + "2020", _PULL + "2121"),
    check=check_insufficient,
)
SEED_SELECTION = Rule(
    code="SIG005",
    name="seed-selection",
    level=Level.WARNING,
    at_most=Outcome.REVIEW,
    summary="more logs than claimed seeds, the worst seeds dropped, or one seed counted twice",
    why="The mean of the best three of five seeds is not the mean of the method.",
    example="suspicious: logs of five seeds, the claimed mean leaves out the two worst\n"
    "legal: an extra log of an ablation or an earlier seed that scores better or is explained",
    settles="why the seed is not counted, said before its score was known",
    sources=(_README,),
    check=check_selection,
)
