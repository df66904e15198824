"""EVA003 from a fresh evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from audits.dynamic.evaluation import LOG, Evaluation
from audits.dynamic.probe import Probe
from verifier.engine.context import Context
from verifier.evidence import Location
from verifier.rule import Confidence, Decision, Finding, Outcome, Rule

RULE = "EVA003"


def deciding_evaluation(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The same rules, with EVA003 asking the evaluation."""
    return tuple(replace(rule, check=decide_evaluation) if rule.code == RULE else rule for rule in rules)


def decide_evaluation(context: Context) -> Decision:
    evaluation, probes = context.memo.get("evaluation"), context.memo.get("probes")
    if not isinstance(evaluation, Evaluation) or not isinstance(probes, dict):
        return Decision.not_available("no artifact was evaluated")
    probe = probes[LOG]
    assert isinstance(probe, Probe)
    if probe.outcome not in (Outcome.FAIL, Outcome.REVIEW):
        return Decision(probe.outcome, probe.summary)
    finding = Finding(
        probe.outcome,
        probe.summary,
        _places(context, evaluation),
        Confidence.HIGH if probe.outcome is Outcome.FAIL else Confidence.MEDIUM,
        probe.measured,
        probe.limit,
        remediation="state the score that the committed artifact gives, or commit the artifact that the log is of",
    )
    return Decision(probe.outcome, probe.summary, (finding,))


def _places(context: Context, evaluation: Evaluation) -> tuple[Location, ...]:
    """The lines of the logs that state another score."""
    found = tuple(one.metric.source for one in evaluation.logs[:5])
    main = context.submission.program.main
    return found or (Location(main.path if main is not None else "."),)
