"""The JSON report (`schema_version` 1), for programs: everything except the points of the curves.

Keys keep one order, numbers are finite (anything else is `null`), the text is pure ASCII, so the same report is the same
bytes everywhere and a terminal shows no control characters of a submission.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from verifier.evidence import Fact, Location, Problem
from verifier.ledger.configuration import ConfigRow
from verifier.ledger.sizes import SizeBar
from verifier.ledger.statistics import Statistics
from verifier.ledger.timeline import Timeline
from verifier.report import outline
from verifier.report.model import SCHEMA_VERSION, Report, SeedRow, SubmissionReport
from verifier.report.text import encodable
from verifier.rule import Finding, Measured

TOOL_NAME = "contest-verifier"


def render(report: Report, *, indent: int | None = 2) -> str:
    """The report as JSON text with a final newline."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": TOOL_NAME, "version": report.tool_version},
        "challenge": {"name": report.challenge, "rules": report.ruleset},
        "submissions": [_submission(submission) for submission in report.submissions],
    }
    return dump(document, indent=indent)


def dump(document: object, *, indent: int | None) -> str:
    """Any JSON document with finite numbers and encodable text; keys in the order given."""
    return json.dumps(_portable(document), indent=indent, allow_nan=False, ensure_ascii=True) + "\n"


def _portable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(str(value))
    if isinstance(value, bool) or value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {encodable(str(key)): _portable(entry) for key, entry in value.items()}
    return [_portable(entry) for entry in value]


def _submission(submission: SubmissionReport) -> dict[str, object]:
    return {
        "path": submission.path,
        "track": submission.track,
        "verdict": submission.verdict,
        "record_claim": submission.record_claim,
        "as_of": submission.as_of,
        "not_examined": submission.not_examined,
        "rules": {
            result.code: {
                "name": result.name,
                "outcome": result.outcome,
                "level": result.level,
                "tier": result.tier,
                "reason": result.reason,
            }
            for result in submission.rules
        },
        "findings": [_finding(finding) for finding in submission.findings],
        "facts": _facts(submission),
        "statistics": None if submission.statistics is None else _statistics(submission.statistics),
        "bytes": None
        if submission.bytes is None
        else {
            "implied_bytes_per_token": submission.bytes.implied_bytes_per_token,
            "true_bytes_per_token": submission.bytes.true_bytes_per_token,
            "corrected_bpb": submission.bytes.corrected_bpb,
            "val_tokens": submission.bytes.val_tokens,
            "tokenizer": submission.bytes.tokenizer,
        },
        "layers": [{"path": row.path, "layer": row.layer, "codec": row.codec, "bytes": row.bytes} for row in submission.layers],
        "seeds": [_seed(row) for row in submission.seeds],
        "timelines": [_timeline(timeline) for timeline in submission.timelines],
        "sizes": [_size(bar) for bar in submission.sizes],
        "problems": [_problem(problem) for problem in submission.problems],
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "name": finding.name,
        "level": finding.level,
        "outcome": finding.outcome,
        "confidence": finding.confidence,
        "message": finding.message,
        "locations": [_location(location) for location in finding.locations],
        "measured": _measured(finding.measured),
        "limit": _measured(finding.limit),
        "remediation": finding.remediation,
        "sources": finding.sources,
        "fingerprint": outline.fingerprint(finding),
    }


def _location(location: Location) -> dict[str, object]:
    return {
        "path": location.path,
        "line": location.line,
        "end_line": location.end_line if location.end_line is not None else location.line,
        "layer": location.layer,
        "excerpt": location.excerpt,
    }


def _measured(measured: Measured | None) -> dict[str, object] | None:
    return None if measured is None else {"value": measured.value, "unit": measured.unit}


def _facts(submission: SubmissionReport) -> dict[str, object]:
    """The ledger's facts by name; `val_bpb`, `timeline` and `config` are always there."""
    facts: dict[str, object] = {"val_bpb": []}
    facts |= {name: [_fact(fact) for fact in found] for name, found in sorted(submission.facts.items())}
    facts["timeline"] = [
        {
            "phase": phase.kind,
            "seconds": phase.seconds,
            "seed": timeline.seed,
            "source": str(phase.source),
            "label": phase.label,
            "start": phase.start,
            "budget": phase.budget,
            "reads": phase.reads,
            "diagnostic": phase.diagnostic,
        }
        for timeline in submission.timelines
        for phase in timeline.phases
    ]
    facts["config"] = {row.name: _config(row) for row in submission.config}
    return facts


def _fact(fact: Fact) -> dict[str, object]:
    return {"value": fact.value, "unit": fact.unit, "seed": fact.seed, "source": str(fact.source)}


def _config(row: ConfigRow) -> dict[str, object]:
    return {
        "value": row.value,
        "source": str(row.source),
        "origin": row.origin,
        "others": [{"origin": origin, "value": value, "source": str(source)} for origin, value, source in row.others],
    }


def _statistics(statistics: Statistics) -> dict[str, object]:
    """`p_value` and `min_acceptable_mean` are those of the stricter unit; `tests` has every unit."""
    strict = outline.strictest(statistics)
    return {
        "seeds": len(statistics.values),
        "mean": statistics.mean,
        "std": statistics.std,
        "sota": statistics.sota,
        "p_value": None if strict is None else strict.p_value,
        "min_acceptable_mean": None if strict is None else strict.min_acceptable_mean,
        "std_population": statistics.std_population,
        "confidence_interval": statistics.confidence_interval,
        "sota_pr": statistics.sota_pr,
        "sota_date": statistics.sota_date,
        "values": [{"seed": seed, "bpb": value} for seed, value in statistics.values],
        "tests": [
            {
                "unit": test.unit,
                "margin_bpb": test.margin_bpb,
                "method": test.method,
                "t": test.t,
                "degrees": test.degrees,
                "p_value": test.p_value,
                "p_any": test.p_any,
                "min_acceptable_mean": test.min_acceptable_mean,
                "seeds_needed": test.seeds_needed,
            }
            for test in statistics.tests
        ],
    }


def _seed(row: SeedRow) -> dict[str, object]:
    return {
        "seed": row.seed,
        "log": row.log,
        "steps": row.steps,
        "step_ms": row.step_ms,
        "train_seconds": row.train_seconds,
        "eval_seconds": row.eval_seconds,
        "headline": row.headline_label,
        "val_loss": row.val_loss,
        "val_bpb": row.val_bpb,
        "claimed_bpb": row.claimed_bpb,
        "artifact_bytes": row.artifact_bytes,
        "code_bytes": row.code_bytes,
        "model_bytes": row.model_bytes,
        "metrics": [{"label": label, "val_loss": loss, "val_bpb": bpb} for label, loss, bpb in row.metrics],
    }


def _timeline(timeline: Timeline) -> dict[str, object]:
    return {
        "seed": timeline.seed,
        "log": timeline.log,
        "train_seconds": timeline.train_seconds,
        "reserve_seconds": timeline.reserve_seconds,
        "calibration_seconds": timeline.calibration_seconds,
        "eval_seconds": timeline.eval_seconds,
        "diagnostic_seconds": timeline.diagnostic_seconds,
        "eval_is_total": timeline.eval_is_total,
    }


def _size(bar: SizeBar) -> dict[str, object]:
    return {
        "seed": bar.seed,
        "counting": bar.counting,
        "code": bar.code,
        "model": bar.model,
        "total": bar.total,
        "claimed": bar.claimed,
        "source": str(bar.source),
    }


def _problem(problem: Problem) -> dict[str, object]:
    return {"source": str(problem.location), "kind": problem.kind, "message": problem.message}
