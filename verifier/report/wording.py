"""How things are said, in every format alike: words for verdicts, digits of numbers, the lines of the statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from verifier.evidence import Location
from verifier.ledger.statistics import MarginTest, Statistics
from verifier.ledger.timeline import Budget
from verifier.report.model import RecordClaim, Report, SubmissionReport, Verdict
from verifier.report.outline import outcome_counts
from verifier.report.text import printable
from verifier.rule import Confidence, Finding, Measured


def verdict_totals(report: Report) -> str:
    """`3 submissions: 1 eligible · 2 ineligible; record claim: 1 supported · 2 not claimed`."""
    if not report.submissions:
        return "no submissions"
    verdicts = Counter(submission.verdict for submission in report.submissions)
    claims = Counter(submission.record_claim for submission in report.submissions)
    left = " · ".join(f"{verdicts[verdict]} {verdict.value}" for verdict in Verdict if verdicts[verdict])
    right = " · ".join(f"{claims[claim]} {claim_words(claim)}" for claim in RecordClaim if claims[claim])
    return f"{plural(len(report.submissions), 'submission')}: {left}; record claim: {right}"


def counts_line(submission: SubmissionReport) -> str:
    """`2 fail · 3 review · 1 not available · 40 pass`."""
    return " · ".join(f"{count} {outcome.value.replace('-', ' ')}" for outcome, count in outcome_counts(submission).items())


def claim_words(claim: RecordClaim) -> str:
    return claim.value.replace("-", " ")


def track_words(track: str | None) -> str:
    return f"track {track}" if track is not None else "unknown track"


def budget_words(budget: Budget) -> str:
    return {Budget.TRAIN: "training", Budget.EVAL: "evaluation", Budget.NONE: "outside both"}[budget]


def seed_words(seed: int | None) -> str:
    return str(seed) if seed is not None else "–"


def place(location: Location) -> str:
    """`train_gpt.py[layer 1]:1165-1188`, printable; `.` is the folder itself."""
    text = str(location).strip() or "."
    if location.line is not None and location.end_line is not None and location.end_line > location.line:
        text += f"-{location.end_line}"
    return printable(text)


def join_codes(codes: Iterable[str], most: int = 12) -> str:
    """`TTT001, TTT002, … +4`."""
    every = list(codes)
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown}, +{len(every) - most}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def whole(value: int | None) -> str:
    return f"{value:,}" if value is not None else "–"


def decimal(value: float | None, digits: int) -> str:
    return f"{value:,.{digits}f}" if value is not None else "–"


def quantity(measured: Measured) -> str:
    """`602.6 s`, `16,057,284 bytes`: thousands separated, floats with at most six significant decimals."""
    value = measured.value
    shown = f"{value:,}" if isinstance(value, int) else f"{value:,.6f}".rstrip("0").rstrip(".")
    return printable(f"{shown} {measured.unit}".strip())


def measured_line(finding: Finding) -> str | None:
    """`measured 638.1 s, limit 605 s, confidence low`: the finding's numbers, and its confidence unless high."""
    parts = []
    if finding.measured is not None:
        parts.append(f"measured {quantity(finding.measured)}")
    if finding.limit is not None:
        parts.append(f"limit {quantity(finding.limit)}")
    if finding.confidence is not Confidence.HIGH:
        parts.append(f"confidence {finding.confidence}")
    return ", ".join(parts) or None


def statistics_lines(statistics: Statistics) -> tuple[str, ...]:
    """Mean and interval, the reference, then one line per unit of the margin."""
    lines = []
    mean = f"mean {statistics.mean:.5f} BPB over {plural(len(statistics.values), 'seed')}"
    if statistics.std is not None:
        mean += f", std {statistics.std:.5f} (n-1)"
    if statistics.confidence_interval is not None:
        low, high = statistics.confidence_interval
        mean += f", 95% CI {low:.5f} to {high:.5f}"
    lines.append(mean)
    lines.append(_reference(statistics))
    for test in statistics.tests:
        if test.p_value is None:
            lines.append(
                f"no test of the margin per {test.unit.removeprefix('nats/')} ({test.margin_bpb:.5f} BPB): one seed has no spread"
            )
            continue
        lines.append(
            f"p {equals(test.p_value)} for the margin per {test.unit.removeprefix('nats/')}"
            f" ({test.margin_bpb:.5f} BPB, {test.method}), p {equals(test.p_any)} for any gain"
            f"; mean must be <= {decimal(test.min_acceptable_mean, 5)}, {_needed(test)}"
        )
    return tuple(lines)


def _reference(statistics: Statistics) -> str:
    if statistics.sota is None:
        return "not compared with a record"
    origin = [f"#{statistics.sota_pr}"] if statistics.sota_pr is not None else []
    origin += [statistics.sota_date] if statistics.sota_date is not None else []
    origin += [plural(len(statistics.sota_seeds), "seed") + " known"] if statistics.sota_seeds else []
    gain = statistics.sota - statistics.mean
    return f"SOTA {statistics.sota:.5f}" + (f" ({', '.join(origin)})" if origin else "") + f", gain {gain:+.5f} BPB"


def _needed(test: MarginTest) -> str:
    if test.seeds_needed is None:
        return "no number of seeds would do at this mean"
    return f"{plural(test.seeds_needed, 'seed')} would do at this mean and spread"


def equals(value: float | None) -> str:
    """`= 0.031` or `< 0.0001`."""
    text = probability(value)
    return text if text[0] in "<>" else f"= {text}"


def probability(value: float | None) -> str:
    """A p-value with two or three significant digits, never `0` or `1`."""
    if value is None:
        return "–"
    if value < 0.0001:
        return "< 0.0001"
    if value > 0.9995:
        return "> 0.999"
    return f"{value:.2g}" if value < 0.1 else f"{value:.3f}"


def bytes_lines(submission: SubmissionReport) -> tuple[str, ...]:
    """Bytes per token as implied and true, and the corrected BPB."""
    summary = submission.bytes
    if summary is None:
        return ()
    tokens = f"{summary.val_tokens:,} scored tokens" if summary.val_tokens is not None else "token count unknown"
    family = summary.tokenizer or "tokenizer unknown"
    lines = [
        f"{decimal(summary.implied_bytes_per_token, 5)} bytes per token used,"
        f" {decimal(summary.true_bytes_per_token, 5)} true ({family}, {tokens})"
    ]
    if summary.corrected_bpb is not None:
        lines.append(f"corrected BPB {summary.corrected_bpb:.5f}")
    return tuple(lines)
