"""What a run showed and what the program says about one rule, as one finding.

A run is proof of what it did, at toy size; the program is read at its real size and without being run. Where both accuse,
the finding cites both. Where a run did nothing of the kind that the program is accused of, a human has to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from audits.dynamic.access import NAME as ACCESS
from audits.dynamic.accounting import NAME as BPB
from audits.dynamic.coverage import NAME as COVERAGE
from audits.dynamic.order import ARTIFACT
from audits.dynamic.perturbation import NAME as PREFIX
from audits.dynamic.plain_mean import NAME as MEAN
from audits.dynamic.probe import Probe
from audits.dynamic.size import SIZE, weighs
from verifier.engine.context import Context
from verifier.rule import Confidence, Decision, Finding, Outcome, Rule

ACCUSES = (Outcome.FAIL, Outcome.REVIEW)

type Check = Callable[[Context], Decision]


def join(observed: Decision, read: Decision) -> Decision:
    """`observed`: what the probes decide; `read`: what the program decides."""
    if observed.outcome in ACCUSES and read.outcome in ACCUSES:
        outcome = Outcome.FAIL if Outcome.FAIL in (observed.outcome, read.outcome) else Outcome.REVIEW
        return Decision(outcome, f"{observed.reason}; the program shows it too: {read.reason}", (_one(outcome, observed, read),))
    if observed.outcome is Outcome.PASS and read.outcome in ACCUSES:
        shows = "shows it" if read.outcome is Outcome.FAIL else "leaves a doubt"
        reason = f"the program {shows}, a run at toy size does not show it ({observed.reason}): {read.reason}"
        findings = tuple(_weaker(finding, reason) for finding in read.findings if finding.outcome in ACCUSES)
        return Decision(Outcome.REVIEW, reason, findings)
    if observed.outcome not in ACCUSES and read.outcome in ACCUSES:
        return Decision(read.outcome, f"{read.reason} (a run could not tell: {observed.reason})", read.findings)
    return observed


def _one(outcome: Outcome, observed: Decision, read: Decision) -> Finding:
    seen, stated = observed.findings[0], [finding for finding in read.findings if finding.outcome in ACCUSES]
    places = (*seen.locations, *(place for finding in stated for place in finding.locations))
    message = f"{seen.message}; the program shows it too: {stated[0].message if stated else read.reason}"
    advice = next((finding.remediation for finding in stated if finding.remediation), seen.remediation)
    return replace(
        seen,
        outcome=outcome,
        message=message,
        locations=tuple(dict.fromkeys(places)),
        confidence=Confidence.HIGH,
        remediation=advice,
    )


def _weaker(finding: Finding, reason: str) -> Finding:
    return replace(finding, outcome=Outcome.REVIEW, confidence=Confidence.LOW, message=reason)


def evidence_for(code: str, probes: Mapping[str, Probe]) -> Probe | None:
    """The probe that saw something which one of the rules below speaks of; `None` when none did."""
    name, outcomes = EVIDENCE[code]
    probe = probes.get(name)
    if probe is None or probe.outcome not in outcomes:
        return None
    if code == "NET001" and not probe.facts.get("network_attempts"):
        return None
    if code == "EVA001" and not probe.facts.get("missing_inside"):
        return None
    if code == "EVA002" and (probe.facts.get("missing_inside") or not probe.facts.get("missing")):
        return None
    if code == "EVA004" and not probe.facts.get("counted_twice"):
        return None
    return probe


EVIDENCE: dict[str, tuple[str, tuple[Outcome, ...]]] = {
    "BYT001": (BPB, ACCUSES),
    "EVA001": (COVERAGE, (Outcome.REVIEW,)),
    "EVA002": (COVERAGE, (Outcome.REVIEW, Outcome.INFO)),
    "EVA004": (COVERAGE, (Outcome.INFO,)),
    "EVA005": (MEAN, (Outcome.REVIEW,)),
    "NET001": (ACCESS, (Outcome.REVIEW,)),
    "SIZ001": (SIZE, (Outcome.REVIEW,)),
    "TTT003": (PREFIX, (Outcome.FAIL,)),
    "TTT004": (PREFIX, (Outcome.FAIL,)),
    "VAL001": (ARTIFACT, (Outcome.FAIL,)),
}
"""Rules that the program decides and a run can add to: the probe, and the outcomes of it that speak."""
ALONE = frozenset({"BYT001", "EVA005", "NET001", "SIZ001"})
"""Of these, the ones that a run raises even where the program raises no doubt: the others may be an effect of the toy size, or
another rule's."""


def widen(
    rules: Iterable[Rule], context: Context, probes: Mapping[str, Probe], follow: Callable[[Probe], Decision]
) -> dict[str, Decision]:
    """Decisions about further rules on which a run has something to say."""
    found: dict[str, Decision] = {}
    for rule in rules:
        probe = evidence_for(rule.code, probes) if rule.code in EVIDENCE else None
        if probe is None or (rule.code == "SIZ001" and not weighs(context, probe)):
            continue
        read = rule.check(context)
        if read.outcome in (*ACCUSES, Outcome.INFO) or rule.code in ALONE:
            # What such a run shows fits more than one rule: it proves no more than the program does.
            weak = rule.code not in ALONE and read.outcome is Outcome.REVIEW
            observed = follow(replace(probe, outcome=Outcome.REVIEW) if weak else probe)
            found[rule.code] = join(observed, read) if observed.outcome in ACCUSES else read
    return found
