"""One submission from files to report."""

from __future__ import annotations

import datetime
import gc
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from verifier.challenge.challenge import Challenge
from verifier.engine.context import Context, Options, PullRequest
from verifier.engine.deadline import DeadlineExceeded, hard_deadline
from verifier.engine.run import decide_record_claim, decide_verdict, run_rules
from verifier.evidence import Location, Problem
from verifier.ledger.claims import is_record_claim
from verifier.ledger.record import attempt_record
from verifier.limits import DEFAULT_LIMITS, Limits
from verifier.report.assemble import assemble
from verifier.report.model import RecordClaim, RuleResult, SubmissionReport, Verdict
from verifier.rule import Outcome, Rule, Tier
from verifier.submission.load import load_submission
from verifier.submission.source import FileSource, Unreadable


@dataclass(frozen=True, slots=True)
class Plan:
    """What an audit applies to each submission. Picklable, so that worker processes get it whole."""

    rules: Sequence[Rule]
    challenge: Challenge
    options: Options = field(default_factory=Options)
    selected: Collection[str] | None = None
    limits: Limits = DEFAULT_LIMITS


def relax_collector() -> None:
    """Look for cycles less often: an audit builds large graphs that live as long as the folder is looked at (a tenth of its time),
    so a search while they are made finds nothing. Most folders are done within this many objects (about 100 MB). For processes that
    audit and do nothing else."""
    gc.freeze()
    gc.set_threshold(1_000_000, 10, 10)


def audit_source(
    source: FileSource,
    plan: Plan,
    *,
    pull_request: PullRequest | None = None,
    first_commit: datetime.date | None = None,
) -> SubmissionReport:
    """Read and judge one record folder. Never raises on bad input: what can't be read is an `undetermined` report."""
    try:
        with hard_deadline(2 * plan.limits.seconds_per_folder):
            return _audit(source, plan, pull_request, first_commit)
    except Unreadable as failure:
        return unread_report(source.label, Problem(Location("."), failure.kind, str(failure)), plan)
    except DeadlineExceeded as failure:
        problem = Problem(
            Location("."), "time-limit", f"reading this folder took {failure}; it was stopped and nothing was judged"
        )
        return unread_report(source.label, problem, plan)


def _audit(
    source: FileSource, plan: Plan, pull_request: PullRequest | None, first_commit: datetime.date | None
) -> SubmissionReport:
    submission = load_submission(source, plan.limits, first_commit)
    context = Context(submission, plan.challenge, plan.options, pull_request)
    # Validation data is the user's to give: without it, or where it does not fit this folder, the verdict is that of the folder.
    tiers = (Tier.STATIC,) if plan.options.data_dir is None else (Tier.STATIC, Tier.DATA)
    run = run_rules(context, plan.rules, selected=plan.selected, tiers=tiers, seconds=plan.limits.seconds_per_folder)
    decided = [one for one in run.results if one.tier is Tier.STATIC or one.outcome is not Outcome.NOT_AVAILABLE]
    verdict = decide_verdict(decided, tiers)
    claim = decide_record_claim(run.results, verdict, is_record_claim(submission))
    attempt = attempt_record(submission, plan.challenge, plan.options.as_of, plan.options.sota)
    return assemble(context, run, verdict, claim, attempt)


def unread_report(label: str, problem: Problem, plan: Plan) -> SubmissionReport:
    """The report of an input that could not be read: every rule is `not-available`."""
    reason = f"the folder could not be read: {problem.message}"
    return SubmissionReport(
        path=label,
        track=None,
        verdict=Verdict.UNDETERMINED,
        record_claim=RecordClaim.UNDECIDED,
        as_of=None,
        not_examined=tuple(rule.code for rule in plan.rules),
        rules=tuple(
            RuleResult(rule.code, rule.name, Outcome.NOT_AVAILABLE, rule.level, rule.tier, reason) for rule in plan.rules
        ),
        findings=(),
        problems=(problem,),
        read=False,
    )
