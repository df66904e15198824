"""SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/): every answer of every rule, `kind` says which.

GitHub shows any result as an alert, whatever its `kind` (https://github.com/microsoft/PSRule/issues/955); `problems_only`
leaves out what is no problem for uploads there. Its limits (10 MB, 5,000 results shown, file order) decide the caps: the
most severe results come first and what is left out is said in a notification.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from urllib.parse import quote

from verifier.evidence import Location
from verifier.report import outline, wording
from verifier.report.json_report import TOOL_NAME, dump
from verifier.report.model import Report, RuleResult, SubmissionReport
from verifier.report.text import encodable, printable
from verifier.rule import Finding, Level, Outcome, Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
RESULT_LIMIT = 5_000
SIZE_LIMIT = 9_500_000
"""Bytes of all results before compression; GitHub takes 10 MB compressed."""
RELATED_LIMIT = 20
"""Further places of one result."""
NOTIFICATION_LIMIT = 1_000
"""Broken rules and unreadable files that are listed; more are counted."""

KINDS = {
    Outcome.FAIL: "fail",
    Outcome.REVIEW: "review",
    Outcome.INFO: "informational",
    Outcome.PASS: "pass",
    Outcome.NOT_APPLICABLE: "notApplicable",
    Outcome.NOT_AVAILABLE: "open",
    Outcome.ERROR: "open",
}
LEVELS = {Level.ERROR: "error", Level.RECORD: "warning", Level.WARNING: "warning", Level.NOTE: "note"}
"""SARIF has no level for "touches only the claim to be a record": the tag `record` says it."""


def render(report: Report, *, problems_only: bool = False) -> str:
    """One run with all submissions. `problems_only` keeps `fail` and `review`."""
    pages = {rule.code: rule for rule in report.rules}
    described = list(dict.fromkeys(result.code for submission in report.submissions for result in submission.rules))
    index = {code: position for position, code in enumerate(described)}
    answers = {result.code: result for submission in report.submissions for result in submission.rules}
    kept, left_out = _within_limits(_results(report, index, problems_only))
    notifications = [note for submission in report.submissions for note in _notifications(submission, index)]
    if len(notifications) > NOTIFICATION_LIMIT:
        more = f"{len(notifications) - NOTIFICATION_LIMIT:,} more files or rules could not be checked"
        notifications[NOTIFICATION_LIMIT:] = [{"level": "warning", "message": {"text": more}}]
    if left_out:
        said = f"{left_out:,} results left out (limits of code scanning), least severe first"
        notifications.append({"level": "warning", "message": {"text": said}})
    broken = any(result.outcome is Outcome.ERROR for submission in report.submissions for result in submission.rules)
    run = {
        "tool": {
            "driver": {
                "name": TOOL_NAME,
                "version": report.tool_version,
                "semanticVersion": report.tool_version,
                "rules": [_rule(answers[code], pages.get(code)) for code in described],
            }
        },
        "automationDetails": {"id": f"{TOOL_NAME}/{report.challenge}/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": not broken, "toolExecutionNotifications": notifications}],
        "artifacts": _artifacts(report),
        "results": kept,
        "properties": {
            "challenge": report.challenge,
            "ruleset": report.ruleset,
            "resultsLeftOut": left_out,
            "submissions": [
                {
                    "path": submission.path,
                    "verdict": submission.verdict,
                    "recordClaim": submission.record_claim,
                    "outcomes": {result.code: result.outcome for result in submission.rules},
                }
                for submission in report.submissions
            ],
        },
    }
    return dump({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1)


def _rule(answer: RuleResult, page: Rule | None) -> dict[str, object]:
    described: dict[str, object] = {
        "id": answer.code,
        "name": "".join(part.capitalize() for part in answer.name.split("-")),
        "defaultConfiguration": {"level": LEVELS[answer.level]},
        "properties": {"tags": [answer.level, answer.tier]},
    }
    if page is None:
        return described | {"shortDescription": {"text": answer.name}}
    sources = "\n".join(f"- <{source}>" for source in page.sources)
    described |= {
        "shortDescription": {"text": f"{page.name}: {page.summary}"},
        "fullDescription": {"text": page.why},
        "help": {
            "text": f"{page.summary}\n\n{page.why}\n\n{page.example}\n\nSettled by: {page.settles}\n\n" + "\n".join(page.sources),
            "markdown": f"**{page.summary}**\n\n{page.why}\n\n### Example\n\n{page.example}\n\n"
            f"### What settles it\n\n{page.settles}\n\n### Sources\n\n{sources}\n",
        },
    }
    if page.sources:
        described["helpUri"] = page.sources[0]
    return described


def _results(report: Report, index: dict[str, int], problems_only: bool) -> Iterable[dict[str, object]]:
    """All results, most severe first; within one severity by submission and in the report's own order."""
    wanted = (Outcome.FAIL, Outcome.REVIEW) if problems_only else outline.OUTCOMES
    seen: Counter[str] = Counter()
    for submission, outcome, section in outline.ranked(report, wanted):
        for finding in section.findings:
            yield _finding(submission, finding, index, seen)
        if not section.findings:
            yield _answer(submission, section.result, outcome, index)


def _finding(submission: SubmissionReport, finding: Finding, index: dict[str, int], seen: Counter[str]) -> dict[str, object]:
    text = _text(finding.message) or finding.name
    if numbers := wording.measured_line(finding):
        text += f" ({_text(numbers)})"
    if finding.remediation:
        text += f" {_text(finding.remediation)}"
    identity = _identity(submission.path, outline.fingerprint(finding))
    seen[identity] += 1
    fingerprint = f"{identity}:{seen[identity]}"
    first, *others = finding.locations
    result: dict[str, object] = {
        "ruleId": finding.rule,
        "ruleIndex": index[finding.rule],
        "kind": KINDS[finding.outcome],
        "level": LEVELS[finding.level] if finding.outcome is Outcome.FAIL else "none",
        "message": {"text": text},
        "locations": [_location(submission, first)],
        "partialFingerprints": {"primaryLocationLineHash": fingerprint, f"{TOOL_NAME}/v1": fingerprint},
        "properties": {"outcome": finding.outcome, "confidence": finding.confidence, "submission": submission.path},
    }
    if others:
        result["relatedLocations"] = [
            {"id": number} | _location(submission, location) for number, location in enumerate(others[:RELATED_LIMIT], 1)
        ]
    if finding.measured is not None:
        result["properties"] |= {"measured": finding.measured.value, "unit": finding.measured.unit}  # type: ignore[operator]
    return result


def _answer(submission: SubmissionReport, answer: RuleResult, outcome: Outcome, index: dict[str, int]) -> dict[str, object]:
    """A rule's answer that has no finding: it concerns the folder as a whole."""
    fingerprint = f"{_identity(submission.path, answer.code, outcome)}:1"
    return {
        "ruleId": answer.code,
        "ruleIndex": index[answer.code],
        "kind": KINDS[outcome],
        "level": LEVELS[answer.level] if outcome is Outcome.FAIL else "none",
        "message": {"text": _text(answer.reason) or answer.name},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(submission.path)}, "region": {"startLine": 1}}}],
        "partialFingerprints": {"primaryLocationLineHash": fingerprint, f"{TOOL_NAME}/v1": fingerprint},
        "properties": {"outcome": outcome, "submission": submission.path},
    }


def _location(submission: SubmissionReport, location: Location) -> dict[str, object]:
    """Lines of an unpacked layer don't exist in the file: the region is the file's first line and the message tells the rest.

    Code scanning requires a region, so a file as a whole is its first line, too.
    """
    in_file = location.line is not None and location.layer == 0
    region: dict[str, object] = {"startLine": location.line if in_file else 1}
    if in_file and location.line is not None and location.end_line is not None and location.end_line > location.line:
        region["endLine"] = location.end_line
    if in_file and location.excerpt:
        region["snippet"] = {"text": printable(location.excerpt)}
    described: dict[str, object] = {
        "physicalLocation": {"artifactLocation": {"uri": _uri(outline.file_path(submission, location))}, "region": region}
    }
    if not in_file:
        described["message"] = {"text": f"{wording.place(location)} {_text(location.excerpt)}".rstrip()}
    if location.layer:
        described["logicalLocations"] = [{"fullyQualifiedName": wording.place(location), "kind": "unpackedLayer"}]
    return described


def _uri(path: str) -> str:
    """A relative (or, for absolute paths, `file:`) URI reference."""
    encoded = quote(encodable(path) or ".", safe="/")
    return f"file://{encoded}" if encoded.startswith("/") else encoded


def _text(text: str) -> str:
    """Message text from a submission: `[x](target)` would become a link."""
    return printable(text).replace("](", "] (")


def _identity(*parts: str) -> str:
    return hashlib.sha256("\x1e".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _artifacts(report: Report) -> list[dict[str, object]]:
    """Packed files and, nested in them, the layers that were unpacked."""
    artifacts: list[dict[str, object]] = []
    parents: dict[str, int] = {}
    for submission in report.submissions:
        for row in submission.layers:
            path = outline.file_path(submission, Location(row.path))
            if path not in parents:
                parents[path] = len(artifacts)
                artifacts.append({"location": {"uri": _uri(path)}})
            artifacts.append(
                {
                    "location": {"uri": f"{_uri(path)}/layer-{row.layer}"},
                    "parentIndex": parents[path],
                    "length": row.bytes,
                    "description": {"text": printable(f"layer {row.layer}, unpacked from {row.codec}")},
                }
            )
    return artifacts


def _notifications(submission: SubmissionReport, index: dict[str, int]) -> Iterable[dict[str, object]]:
    """Rules that broke and files that could not be read."""
    for result in submission.rules:
        if result.outcome is Outcome.ERROR:
            yield {
                "level": "error",
                "message": {"text": _text(f"{submission.path}: {result.code} broke: {result.reason}")},
                "associatedRule": {"id": result.code, "index": index[result.code]},
            }
    for problem in submission.problems:
        yield {
            "level": "warning",
            "message": {"text": _text(f"{problem.message} ({problem.kind})")},
            "locations": [_location(submission, problem.location)],
        }


def _within_limits(results: Iterable[dict[str, object]]) -> tuple[list[dict[str, object]], int]:
    """The first results within the limits, and how many are left out."""
    kept: list[dict[str, object]] = []
    left_out = size = 0
    for result in results:
        size += len(json.dumps(result, indent=1)) if not left_out else 0
        if left_out or len(kept) >= RESULT_LIMIT or size > SIZE_LIMIT:
            left_out += 1
        else:
            kept.append(result)
    return kept, left_out
