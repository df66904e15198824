"""What all formats say and in which order: derived once from the report, so that they cannot differ."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from verifier.evidence import Location, Number
from verifier.ledger.configuration import ConfigRow
from verifier.ledger.statistics import MarginTest, Statistics
from verifier.ledger.timeline import Budget, Phase, Timeline
from verifier.report.model import RecordClaim, Report, RuleResult, SeedRow, SubmissionReport, Verdict
from verifier.report.text import encodable
from verifier.rule import Finding, Level, Outcome
from verifier.submission.logs.model import PhaseKind

LEVELS = (Level.ERROR, Level.RECORD, Level.WARNING, Level.NOTE)
OUTCOMES = (
    Outcome.FAIL,
    Outcome.REVIEW,
    Outcome.NOT_AVAILABLE,
    Outcome.ERROR,
    Outcome.INFO,
    Outcome.PASS,
    Outcome.NOT_APPLICABLE,
)


@dataclass(frozen=True, slots=True)
class Section:
    """One rule with its findings of one outcome; without any, the rule's reason stands for them."""

    result: RuleResult
    findings: tuple[Finding, ...]

    @property
    def shared_remediation(self) -> str:
        """The advice, where several findings give one and the same: it is then printed once."""
        advice = {finding.remediation for finding in self.findings}
        return advice.pop() if len(advice) == 1 and len(self.findings) > 1 else ""


def sections(submission: SubmissionReport, outcome: Outcome) -> tuple[Section, ...]:
    """The rules that have findings of this outcome or answered with it, most severe level first, then by code.

    A failing rule may also carry reviews: each finding stands under its own outcome.
    """
    by_rule: dict[str, list[Finding]] = {}
    for finding in submission.findings:
        if finding.outcome is outcome:
            by_rule.setdefault(finding.rule, []).append(finding)
    found = [
        Section(result, tuple(by_rule.get(result.code, ())))
        for result in submission.rules
        if result.code in by_rule or result.outcome is outcome
    ]
    return tuple(sorted(found, key=lambda section: (LEVELS.index(section.result.level), section.result.code)))


def ranked(report: Report, outcomes: Iterable[Outcome]) -> Iterator[tuple[SubmissionReport, Outcome, Section]]:
    """Sections of all submissions, worst outcome first, most severe level first, then in the report's order."""
    for outcome in outcomes:
        found = [(submission, sections(submission, outcome)) for submission in report.submissions]
        for level in LEVELS:
            for submission, of_submission in found:
                for section in of_submission:
                    if section.result.level is level:
                        yield submission, outcome, section


def outcome_counts(submission: SubmissionReport) -> dict[Outcome, int]:
    """Rules per outcome, worst first, zeros left out; rules that this command did not run are not counted."""
    skipped = set(submission.not_examined)
    counts = Counter(result.outcome for result in submission.rules if result.code not in skipped)
    return {outcome: counts[outcome] for outcome in OUTCOMES if counts[outcome]}


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Why something could not be checked, and the rules (or the file) that it concerns."""

    reason: str
    codes: tuple[str, ...]
    location: Location | None = None


def unchecked(submission: SubmissionReport) -> tuple[Unchecked, ...]:
    """Everything that was not decided: rules without evidence and broken rules (grouped by reason), files that could not be
    read, rules that need another command."""
    by_reason: dict[str, list[str]] = {}
    for result in submission.rules:
        if result.code in submission.not_examined:
            continue
        if result.outcome is Outcome.ERROR:
            by_reason.setdefault(f"the check itself broke: {result.reason}", []).append(result.code)
        elif result.outcome is Outcome.NOT_AVAILABLE:
            by_reason.setdefault(result.reason, []).append(result.code)
    rows = [Unchecked(reason, tuple(codes)) for reason, codes in by_reason.items()]
    rows += [Unchecked(f"{problem.message} ({problem.kind})", (), problem.location) for problem in submission.problems]
    if submission.not_examined:
        rows.append(Unchecked("not examined: needs validation data, an artifact or an execution", submission.not_examined))
    return tuple(rows)


def crosses_line(submission: SubmissionReport) -> bool:
    """Whether a batch shows this submission in detail: it is ineligible or its claim to be a record fails."""
    return submission.verdict is Verdict.INELIGIBLE or submission.record_claim is RecordClaim.UNSUPPORTED


def conflicts(submission: SubmissionReport) -> tuple[ConfigRow, ...]:
    """Settings of which the run's log and the documented command say different things."""
    return tuple(row for row in submission.config if any(origin == "command" for origin, _, _ in row.others))


def strictest(statistics: Statistics) -> MarginTest | None:
    """The test with the largest margin in BPB: the unit that is harder to meet."""
    return max(statistics.tests, key=lambda test: test.margin_bpb, default=None)


@dataclass(frozen=True, slots=True)
class Lane:
    """Phases of one run that count against one budget (s). `rest` is what the log's own total has beyond the listed phases."""

    budget: Budget
    phases: tuple[Phase, ...]
    rest: float
    total: float


def lanes(timeline: Timeline) -> tuple[Lane, ...]:
    """The run's phases by budget: training, evaluation, neither.

    Reserves are promises and printed totals are sums, not phases: both are left out; where a total exceeds its parts the
    difference is kept as `rest`.
    """
    found = []
    for budget, logged in (
        (Budget.TRAIN, timeline.train_seconds),
        (Budget.EVAL, timeline.eval_seconds),
        (Budget.NONE, None),
    ):
        phases = tuple(
            phase
            for phase in timeline.phases
            if phase.budget is budget and phase.kind not in (PhaseKind.RESERVE, PhaseKind.TOTAL_EVAL)
        )
        parts = sum(phase.seconds for phase in phases)
        rest = max(0.0, (logged or 0.0) - parts)
        if phases or rest > 0:
            found.append(Lane(budget, phases, rest if rest >= 0.05 else 0.0, parts + rest))
    return tuple(found)


def budget_seconds(report: Report, budget: Budget) -> float | None:
    """The limit of a budget in s; None for time that counts against neither."""
    return {Budget.TRAIN: report.train_budget, Budget.EVAL: report.eval_budget, Budget.NONE: None}[budget]


def claim_differs(row: SeedRow) -> bool:
    """Whether the claimed BPB of a seed can't be a print of the logged one."""
    logged, claimed = Number.parse(row.val_bpb or ""), Number.parse(row.claimed_bpb or "")
    return logged is not None and claimed is not None and not claimed.agrees(logged)


def fingerprint(finding: Finding) -> str:
    """The finding's fingerprint, also where its evidence has lone surrogates (`"\\ud800"` in a JSON file), which can't be hashed
    as they are."""
    try:
        return finding.fingerprint
    except UnicodeEncodeError:
        places = (replace(at, path=encodable(at.path), excerpt=encodable(at.excerpt)) for at in finding.locations)
        return replace(finding, locations=tuple(places)).fingerprint


def file_path(submission: SubmissionReport, location: Location) -> str:
    """The location's file as seen from where the submission's own path starts (the repository's root in a checkout)."""
    return posixpath.normpath(posixpath.join(submission.path, location.path.lstrip("/")))
