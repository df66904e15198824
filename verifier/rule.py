"""What a rule is, what it answers, and what a finding must carry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from verifier.evidence import Location

if TYPE_CHECKING:
    from verifier.engine.context import Context


class Level(StrEnum):
    """What a `fail` means for the submission."""

    ERROR = "error"
    RECORD = "record"
    WARNING = "warning"
    NOTE = "note"


class Tier(StrEnum):
    """What a rule needs: the folder alone, validation data or an artifact, or an execution."""

    STATIC = "static"
    DATA = "data"
    DYNAMIC = "dynamic"


class Outcome(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    REVIEW = "review"
    INFO = "info"
    NOT_APPLICABLE = "not-applicable"
    NOT_AVAILABLE = "not-available"
    ERROR = "error"


class Confidence(StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its unit, e.g. `Measured(602.6, "s")`."""

    value: float | int
    unit: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement about the submission, proven by `locations` (at least one).

    `outcome` is `fail`, `review` or `info`. `rule`, `name`, `level` and `sources` are filled in by the engine.
    """

    outcome: Outcome
    message: str
    locations: tuple[Location, ...]
    confidence: Confidence = Confidence.HIGH
    measured: Measured | None = None
    limit: Measured | None = None
    remediation: str = ""
    rule: str = ""
    name: str = ""
    level: Level = Level.NOTE
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.outcome not in (Outcome.FAIL, Outcome.REVIEW, Outcome.INFO):
            raise ValueError(f"a finding is fail, review or info, not {self.outcome}")
        if not self.locations:
            raise ValueError(f"a finding without evidence: {self.message!r}")

    @property
    def fingerprint(self) -> str:
        """Stable across line shifts: rule, file, layer and the text of the evidence, without line numbers."""
        parts = [self.rule, self.outcome.value]
        parts += [f"{at.path}\x1f{at.layer}\x1f{' '.join(at.excerpt.split())}" for at in self.locations]
        return hashlib.sha256("\x1e".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Decision:
    """A rule's answer for one submission."""

    outcome: Outcome
    reason: str
    findings: tuple[Finding, ...] = ()

    @classmethod
    def passed(cls, reason: str, *findings: Finding) -> Decision:
        """`pass`: the rule looked at the evidence and found nothing. `reason` says what it looked at. Facts may be attached
        as `info` findings; the outcome is then `info`."""
        return cls.of(findings, reason) if findings else cls(Outcome.PASS, reason)

    @classmethod
    def not_applicable(cls, reason: str) -> Decision:
        return cls(Outcome.NOT_APPLICABLE, reason)

    @classmethod
    def not_available(cls, reason: str, *findings: Finding) -> Decision:
        """The evidence is not there or could not be read; `reason` says which and what would help."""
        return cls(Outcome.NOT_AVAILABLE, reason, tuple(findings))

    @classmethod
    def of(cls, findings: Iterable[Finding], reason: str = "") -> Decision:
        """The worst finding decides: fail > review > info."""
        found = tuple(findings)
        for outcome in (Outcome.FAIL, Outcome.REVIEW, Outcome.INFO):
            worst = [finding for finding in found if finding.outcome is outcome]
            if worst:
                return cls(outcome, reason or worst[0].message, found)
        raise ValueError("Decision.of needs at least one finding")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its page. `check` is a pure function of the context; everything else is what `verifier explain` prints.

    `at_most` caps the outcome: a rule that may never fail is declared with `Outcome.REVIEW` or `Outcome.INFO`.
    """

    code: str
    name: str
    level: Level
    summary: str
    """One line: what the rule finds ("training wallclock above 601 s")."""
    why: str
    example: str
    """A violation and its legal twin, in a few lines."""
    settles: str
    """What evidence would settle a review."""
    sources: tuple[str, ...]
    check: Callable[[Context], Decision]
    tier: Tier = Tier.STATIC
    at_most: Outcome = Outcome.FAIL
    record_track_only: bool = False
    """The engine answers `not-applicable` outside the 10-minute track."""

    def decide(self, context: Context) -> Decision:
        """Run the check and enforce what the declaration promises (cap, ownership of findings). A rule that builds on another
        one's decision gets the one that was made."""
        held = context.memo.get(f"decision {self.code}")
        if not isinstance(held, Decision):
            held = context.memo[f"decision {self.code}"] = self._decide(context)
        return held

    def _decide(self, context: Context) -> Decision:
        decision = self.check(context)
        findings = tuple(
            replace(
                finding,
                outcome=self._capped(finding.outcome),
                rule=self.code,
                name=self.name,
                level=self.level,
                sources=self.sources,
            )
            for finding in decision.findings
        )
        return Decision(self._capped(decision.outcome), decision.reason, findings)

    def _capped(self, outcome: Outcome) -> Outcome:
        order = (Outcome.INFO, Outcome.REVIEW, Outcome.FAIL)
        if outcome in order and order.index(outcome) > order.index(self.at_most):
            return self.at_most
        return outcome
