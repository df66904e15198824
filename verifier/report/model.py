"""The report object. Every renderer reads this and nothing else, so all formats say the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from verifier.evidence import Fact, Problem
from verifier.ledger.configuration import ConfigRow
from verifier.ledger.denominator import BytesSummary
from verifier.ledger.sizes import SizeBar
from verifier.ledger.statistics import Statistics
from verifier.ledger.timeline import Timeline
from verifier.rule import Finding, Level, Outcome, Rule, Tier

SCHEMA_VERSION = 1


class Verdict(StrEnum):
    ELIGIBLE = "eligible"
    INELIGIBLE = "ineligible"
    UNDETERMINED = "undetermined"


class RecordClaim(StrEnum):
    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"
    UNDECIDED = "undecided"
    NOT_CLAIMED = "not-claimed"


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule's answer; `locations` are those of its findings."""

    code: str
    name: str
    outcome: Outcome
    level: Level
    tier: Tier
    reason: str


@dataclass(frozen=True, slots=True)
class SeedRow:
    """One line of the seeds table: what the log of that seed says. `claimed` is what JSON or README say for it."""

    seed: int | None
    log: str
    steps: int | None
    step_ms: float | None
    train_seconds: float | None
    eval_seconds: float | None
    headline_label: str | None
    val_loss: str | None
    val_bpb: str | None
    """As printed."""
    claimed_bpb: str | None
    artifact_bytes: int | None
    code_bytes: int | None
    model_bytes: int | None
    metrics: tuple[tuple[str, str | None, str | None], ...]
    """Every final metric: label, loss, bpb as printed."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (step, value) of one run. `kind` is `train_loss`, `val_bpb` or `step_ms`."""

    kind: str
    seed: int | None
    log: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class LayerRow:
    path: str
    layer: int
    codec: str
    bytes: int


@dataclass(frozen=True, slots=True)
class SubmissionReport:
    path: str
    track: str | None
    verdict: Verdict
    record_claim: RecordClaim
    as_of: str | None
    not_examined: tuple[str, ...]
    rules: tuple[RuleResult, ...]
    """Every registered rule, in code order."""
    findings: tuple[Finding, ...]
    """Sorted by a total key: outcome, level, code, first location, message."""
    facts: dict[str, tuple[Fact, ...]] = field(default_factory=dict)
    timelines: tuple[Timeline, ...] = ()
    seeds: tuple[SeedRow, ...] = ()
    sizes: tuple[SizeBar, ...] = ()
    curves: tuple[Curve, ...] = ()
    config: tuple[ConfigRow, ...] = ()
    statistics: Statistics | None = None
    bytes: BytesSummary | None = None
    layers: tuple[LayerRow, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What could not be read."""
    read: bool = True
    """False when the folder as a whole could not be read: then no rule was asked."""


@dataclass(frozen=True, slots=True)
class Report:
    tool_version: str
    challenge: str
    ruleset: str
    """Date of the rules, e.g. `2026-05-02`."""
    artifact_cap: int
    train_budget: float
    eval_budget: float
    submissions: tuple[SubmissionReport, ...]
    rules: tuple[Rule, ...] = ()
    """The registered rules, for their pages (SARIF, HTML); renderers never call `check`."""
