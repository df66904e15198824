"""What a re-run can say about rules: only one of the record's own script, at full size, on hardware like that of its logs.

A re-run is another run: what it measures beyond a limit makes the rule a matter for a human, never a failure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from audits.reproduction.compare import Judgement
from audits.reproduction.page import Reproduction
from audits.reproduction.phases import after_training, charged
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.ledger.claims import headline_runs
from verifier.ledger.timeline import Budget
from verifier.rule import Confidence, Decision, Finding, Measured, Outcome, Rule, Tier

MEMO = "reproduction"
SLACK = 1.0
"""s beyond a budget that are the printing's."""


def deciding(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The same rules; those that a re-run can speak to ask it too and count as dynamic."""
    return tuple(
        replace(rule, check=_with_the_folder(rule), tier=Tier.DYNAMIC) if rule.code in CHECKS else rule for rule in rules
    )


def _with_the_folder(rule: Rule) -> Callable[[Context], Decision]:
    """A re-run is another run: it clears nothing of what the logs show."""

    def check(context: Context) -> Decision:
        stated = rule.check(context)
        return stated if stated.outcome in (Outcome.FAIL, Outcome.REVIEW) else CHECKS[rule.code](context)

    return check


def decide_train_time(context: Context) -> Decision:
    return _within(context, Budget.TRAIN, context.challenge.train_budget, "training")


def decide_eval_time(context: Context) -> Decision:
    decision = _within(context, Budget.EVAL, context.challenge.eval_budget, "evaluation")
    if decision.outcome is not Outcome.PASS:
        return decision
    found, _ = _usable(context)
    assert found is not None
    most = max((after_training(pair.phases) or math.inf for pair in found.pairs), default=math.inf)
    if most > context.challenge.eval_budget + SLACK:
        reason = f"{decision.reason}, but what lies between training and score took {most:,.0f} s: only the script's own lines tell them apart"
        return Decision.not_available(reason)
    return decision


def decide_size(context: Context) -> Decision:
    found, why = _usable(context)
    if found is None:
        return Decision.not_available(why)
    sizes = [
        line.measured for line in found.lines if line.subject == "sizes of the re-run" and line.judgement is Judgement.AGREES
    ]
    known = [float(size) for size in sizes if isinstance(size, int | float)]
    if len(known) < len(found.pairs):
        return Decision.not_available("not every re-run left the files that its log counts")
    return _judge(context, max(known), float(context.challenge.artifact_cap), "bytes", "the largest artifact of the re-runs")


def decide_score(context: Context) -> Decision:
    found, why = _usable(context)
    if found is None:
        return Decision.not_available(why)
    lines = [line for line in found.lines if line.subject == "final BPB"]
    apart = [line for line in lines if line.judgement is Judgement.DIFFERS]
    if apart:
        reason = f"a re-run ends with another BPB: {apart[-1].reason}; an evaluation of the shipped artifact would settle it"
        return _review(context, reason, Measured(float(apart[-1].difference or 0.0), "bpb"), None)
    return Decision.not_available("a re-run trains a new artifact: its score says nothing about the one that was evaluated")


def _within(context: Context, budget: Budget, limit: float, word: str) -> Decision:
    found, why = _usable(context)
    if found is None:
        return Decision.not_available(why)
    spent = [seconds for pair in found.pairs if (seconds := charged(pair.phases, budget)) is not None]
    if len(spent) < len(found.pairs):
        return Decision.not_available(f"the output of a re-run does not mark its {word}")
    return _judge(context, max(spent), limit, "s", f"the longest {word} of the re-runs, by a clock outside")


def _judge(context: Context, value: float, limit: float, unit: str, what: str) -> Decision:
    reason = f"{what}: {value:,.0f} {unit}, the limit is {limit:,.0f}"
    if value <= limit + (SLACK if unit == "s" else 0.0):
        found, _ = _usable(context)
        done = {pair.seed for pair in found.pairs} if found is not None else set()
        missing = [headline for headline in headline_runs(context.submission) if headline.run.seed not in done]
        if missing:
            return Decision.not_available(f"{reason}; {len(missing)} of the logged runs were not made again")
        return Decision.passed(reason)
    return _review(
        context,
        f"{reason}; whether the logged runs crossed it too is for their logs to show",
        Measured(value, unit),
        Measured(limit, unit),
    )


def _review(context: Context, reason: str, measured: Measured | None, limit: Measured | None) -> Decision:
    main = context.submission.program.main
    finding = Finding(
        Outcome.REVIEW, reason, (Location(main.path if main is not None else "."),), Confidence.MEDIUM, measured, limit
    )
    return Decision(Outcome.REVIEW, reason, (finding,))


def _usable(context: Context) -> tuple[Reproduction | None, str]:
    found = context.memo.get(MEMO)
    if not isinstance(found, Reproduction):
        return None, "nothing was run"
    if found.conditions.why_no_pace:
        return None, found.conditions.why_no_pace
    if not found.completed:
        return None, "not every re-run was completed"
    return found, ""


CHECKS: dict[str, Callable[[Context], Decision]] = {
    "TIM001": decide_train_time,
    "TIM002": decide_eval_time,
    "SIZ001": decide_size,
    "EVA003": decide_score,
}
