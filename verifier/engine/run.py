"""Running rules over one submission: isolation, order, verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from verifier.engine.context import Context
from verifier.report.model import RecordClaim, RuleResult, Verdict
from verifier.rule import Decision, Finding, Level, Outcome, Rule, Tier

OUTCOME_ORDER = (
    Outcome.FAIL,
    Outcome.ERROR,
    Outcome.REVIEW,
    Outcome.NOT_AVAILABLE,
    Outcome.INFO,
    Outcome.PASS,
    Outcome.NOT_APPLICABLE,
)
LEVEL_ORDER = (Level.ERROR, Level.RECORD, Level.WARNING, Level.NOTE)
UNSETTLED = frozenset({Outcome.REVIEW, Outcome.NOT_AVAILABLE, Outcome.ERROR})
SETTLED_WELL = frozenset({Outcome.PASS, Outcome.INFO, Outcome.NOT_APPLICABLE})


@dataclass(frozen=True, slots=True)
class RuleRun:
    """Every rule's answer, and the findings sorted by a total key."""

    results: tuple[RuleResult, ...]
    findings: tuple[Finding, ...]
    not_examined: tuple[str, ...]


def run_rules(
    context: Context,
    rules: Sequence[Rule],
    *,
    selected: Collection[str] | None = None,
    tiers: Collection[Tier] = (Tier.STATIC,),
    seconds: float = 30.0,
    clock: Callable[[], float] = time.thread_time,
) -> RuleRun:
    """Ask every rule. A rule that raises answers `error`; one that was not asked answers `not-available`, never `pass`.

    `selected` limits the rules by code, `tiers` by what this command can do, `seconds` by processor time for the whole submission: how busy the machine is changes no answer.
    """
    deadline = clock() + seconds
    results: list[RuleResult] = []
    findings: list[Finding] = []
    not_examined: list[str] = []
    for rule in rules:
        if rule.tier not in tiers:
            not_examined.append(rule.code)
            decision = Decision.not_available(f"not examined: this command does not run {rule.tier.value} rules")
        elif selected is not None and rule.code not in selected:
            not_examined.append(rule.code)
            decision = Decision.not_available("not examined: not selected")
        elif clock() > deadline:
            decision = Decision.not_available(f"not examined: the time budget of {seconds:g} s for this folder was used up")
        elif rule.record_track_only and not context.in_record_track:
            decision = Decision.not_applicable("applies to the 10-minute track only")
        else:
            decision = _ask(rule, context)
        results.append(RuleResult(rule.code, rule.name, decision.outcome, rule.level, rule.tier, decision.reason))
        findings.extend(decision.findings)
    return RuleRun(tuple(results), tuple(sorted(findings, key=finding_key)), tuple(not_examined))


def _ask(rule: Rule, context: Context) -> Decision:
    try:
        return rule.decide(context)
    except Exception as failure:  # a broken rule must not take the audit of the other rules with it
        return Decision(Outcome.ERROR, f"the check itself failed: {type(failure).__name__}: {failure}"[:500])


def finding_key(finding: Finding) -> tuple[object, ...]:
    """Worst first; then code, place, text: a total order, so equal inputs print equally."""
    return (
        OUTCOME_ORDER.index(finding.outcome),
        LEVEL_ORDER.index(finding.level),
        finding.rule,
        [(at.path, at.layer, at.line or 0, at.end_line or 0, at.excerpt) for at in finding.locations],
        finding.message,
    )


def decide_verdict(results: Sequence[RuleResult], tiers: Collection[Tier] = (Tier.STATIC,)) -> Verdict:
    """`ineligible` if an error-level rule fails, `undetermined` if one that applies is not settled, else `eligible`.

    Rules of tiers that the command did not run don't count.
    """
    outcomes = [result.outcome for result in results if result.level is Level.ERROR and result.tier in tiers]
    if Outcome.FAIL in outcomes:
        return Verdict.INELIGIBLE
    if not outcomes or any(outcome in UNSETTLED for outcome in outcomes):
        return Verdict.UNDETERMINED
    return Verdict.ELIGIBLE


def decide_record_claim(results: Sequence[RuleResult], verdict: Verdict, claimed: bool) -> RecordClaim:
    """Stated apart from the verdict: a submission can be valid and no record."""
    if not claimed:
        return RecordClaim.NOT_CLAIMED
    outcomes = [result.outcome for result in results if result.level is Level.RECORD]
    if verdict is Verdict.INELIGIBLE or Outcome.FAIL in outcomes:
        return RecordClaim.UNSUPPORTED
    if verdict is Verdict.ELIGIBLE and outcomes and all(outcome in SETTLED_WELL for outcome in outcomes):
        return RecordClaim.SUPPORTED
    return RecordClaim.UNDECIDED
