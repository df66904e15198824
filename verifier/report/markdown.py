"""The report as Markdown for a pull-request comment: short, escaped, within GitHub's 64 kB.

Blocks are added in order of importance until the limit; each block is complete in itself, so a cut never leaves a table or
an element open. Links to other threads are left out by default: in a comment each would leave a trace over there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from verifier.report import outline, wording
from verifier.report.markdown_text import cell, code, prose
from verifier.report.model import Report, SubmissionReport
from verifier.rule import Finding, Outcome

COMMENT_LIMIT = 60_000
"""Bytes; GitHub refuses comments above 65,536 characters."""
FINDINGS_PER_RULE = 10
PLACES_PER_FINDING = 4
TABLE_ROWS = 40
SETTINGS = 300

_TITLES = {Outcome.FAIL: "Fails", Outcome.REVIEW: "Needs a human", Outcome.INFO: "Facts"}


def render(report: Report, *, limit: int = COMMENT_LIMIT, full: bool = False) -> str:
    """Markdown of at most `limit` bytes. `full` adds facts, all settings and the rules' sources (for the job summary)."""
    return _fit(_blocks(report, full), limit)


def _fit(blocks: Iterable[str], limit: int) -> str:
    closing = "\n_Shortened: {} further parts did not fit. `verifier audit` prints everything._\n"
    room = limit - len(closing) - 16
    kept: list[str] = []
    left_out = 0
    for block in blocks:
        size = len(block.encode("utf-8")) + 1
        if left_out or size > room:
            left_out += 1
        else:
            kept.append(block)
            room -= size
    text = "\n".join(kept) + "\n"
    return text + closing.format(f"{left_out:,}") if left_out else text


def _blocks(report: Report, full: bool) -> Iterator[str]:
    if len(report.submissions) == 1:
        yield from _submission(report, report.submissions[0], full)
    else:
        yield f"### {wording.verdict_totals(report)}\n"
        ordered = sorted(report.submissions, key=lambda submission: not outline.crosses_line(submission))
        head = "| submission | verdict | record claim | fail | review |\n|---|---|---|--:|--:|"
        for index, submission in enumerate(ordered):
            counts = outline.outcome_counts(submission)
            row = (
                f"| {cell(submission.path)} | {submission.verdict} | {wording.claim_words(submission.record_claim)}"
                f" | {counts.get(Outcome.FAIL, 0)} | {counts.get(Outcome.REVIEW, 0)} |"
            )
            yield row if index else f"{head}\n{row}"
        for submission in ordered:
            if outline.crosses_line(submission):
                yield from _submission(report, submission, full)
    yield f"\n<sub>contest-verifier {prose(report.tool_version)}, {prose(report.challenge)} rules of {prose(report.ruleset)}</sub>"


def _submission(report: Report, submission: SubmissionReport, full: bool) -> Iterator[str]:
    day = f", as of {prose(submission.as_of)}" if submission.as_of is not None else ""
    yield (
        f"\n### {submission.verdict.value.capitalize()} · record claim {wording.claim_words(submission.record_claim)}\n\n"
        f"{code(submission.path)} ({prose(wording.track_words(submission.track))}{day})\n\n"
        f"{wording.counts_line(submission)}\n"
    )
    for outcome in (Outcome.FAIL, Outcome.REVIEW, Outcome.INFO) if full else (Outcome.FAIL, Outcome.REVIEW):
        yield from _findings(submission, outcome, full)
    if not full and (facts := outline.sections(submission, Outcome.INFO)):
        names = ", ".join(f"{section.result.code} {section.result.name}" for section in facts)
        yield f"\n**Facts:** {prose(names)}\n"
    yield from _measurements(report, submission)
    if rows := outline.conflicts(submission):
        table = _table(
            ("setting", "run", "documented command"),
            (
                (
                    cell(row.name),
                    f"{cell(row.value)} {cell(wording.place(row.source))}",
                    " ".join(
                        f"{cell(value)} {cell(wording.place(at))}" for origin, value, at in row.others if origin == "command"
                    ),
                )
                for row in rows
            ),
        )
        yield f"\n**The run and the documented command differ**\n\n{table}\n"
    if full and submission.config:
        rows_of_all = (
            (cell(row.name), cell(row.value), f"{prose(row.origin)} {cell(wording.place(row.source))}")
            for row in submission.config[:SETTINGS]
        )
        more = f"\n\n+{len(submission.config) - SETTINGS} more" if len(submission.config) > SETTINGS else ""
        yield _details("Configuration of the run", _table(("setting", "value", "from"), rows_of_all) + more)
    if unknown := outline.unchecked(submission):
        yield "\n**Could not be checked**\n"
        for item in unknown:
            what = code(wording.place(item.location)) if item.location is not None else wording.join_codes(item.codes, 40)
            yield f"- {what}: {prose(item.reason)}"
        yield ""


def _findings(submission: SubmissionReport, outcome: Outcome, full: bool) -> Iterator[str]:
    found = outline.sections(submission, outcome)
    if found:
        yield f"\n#### {_TITLES[outcome]}\n"
    for section in found:
        result = section.result
        level = f" ({result.level})" if outcome is not Outcome.INFO else ""
        head = f"- **{result.code}** {prose(result.name)}{level}"
        if not section.findings:
            yield f"{head}: {prose(result.reason)}"
        elif len(section.findings) == 1:
            yield f"{head}: {_finding(section.findings[0], '  ', section.findings[0].remediation)}"
        else:
            shown = section.findings[:FINDINGS_PER_RULE]
            advice = section.shared_remediation
            rows = (_finding(finding, "    ", "" if advice else finding.remediation) for finding in shown)
            yield "\n".join([head, *(f"  - {row}" for row in rows)])
            if advice:
                yield f"  - fix: {prose(advice)}"
            if len(shown) < len(section.findings):
                yield f"  - +{len(section.findings) - len(shown)} more"
        if full and section.findings and section.findings[0].sources:
            yield "  - source: " + ", ".join(f"<{source}>" for source in section.findings[0].sources)


def _finding(finding: Finding, indent: str, advice: str) -> str:
    text = prose(finding.message)
    if numbers := wording.measured_line(finding):
        text += f" ({prose(numbers)})"
    lines = [text]
    for location in finding.locations[:PLACES_PER_FINDING]:
        excerpt = f" {code(location.excerpt, 160)}" if location.excerpt.strip() else ""
        lines.append(f"{indent}- {code(wording.place(location))}{excerpt}")
    if len(finding.locations) > PLACES_PER_FINDING:
        lines.append(f"{indent}- +{len(finding.locations) - PLACES_PER_FINDING} more places")
    if advice:
        lines.append(f"{indent}- fix: {prose(advice)}")
    return "\n".join(lines)


def _measurements(report: Report, submission: SubmissionReport) -> Iterator[str]:
    if submission.seeds:
        rows = (
            (
                wording.seed_words(row.seed),
                wording.whole(row.steps),
                wording.decimal(row.step_ms, 1),
                wording.decimal(row.train_seconds, 1),
                wording.decimal(row.eval_seconds, 1),
                cell(row.val_loss or "", 24),
                cell(row.val_bpb or "", 24),
                cell(row.claimed_bpb or "", 24),
                wording.whole(row.artifact_bytes),
            )
            for row in submission.seeds[:TABLE_ROWS]
        )
        head = ("seed", "steps", "ms/step", "train s", "eval s", "loss", "BPB", "claimed", "total bytes")
        yield _details("Seeds", f"{_table(head, rows)}\n{_more(len(submission.seeds))}")
    if submission.timelines:
        lines = (
            (
                wording.seed_words(timeline.seed),
                wording.budget_words(lane.budget),
                f"{lane.total:,.1f}",
                wording.decimal(outline.budget_seconds(report, lane.budget), 0),
                " + ".join(f"{phase.kind} {phase.seconds:,.1f}" for phase in lane.phases[:12])
                + (f" + not itemised {lane.rest:,.1f}" if lane.rest else ""),
            )
            for timeline in submission.timelines[:TABLE_ROWS]
            for lane in outline.lanes(timeline)
        )
        titles = ("seed", "counts as", "s", "budget s", "phases")
        yield _details("Timeline", f"{_table(titles, lines)}\n{_more(len(submission.timelines))}")
    lines_of_text: list[str] = []
    if submission.statistics is not None:
        lines_of_text += wording.statistics_lines(submission.statistics)
    lines_of_text += wording.bytes_lines(submission)
    lines_of_text += [f"{row.path} layer {row.layer}: {row.codec}, {row.bytes:,} bytes" for row in submission.layers[:TABLE_ROWS]]
    if lines_of_text:
        yield _details("Statistics, bytes per token, code layers", "\n".join(f"- {prose(line)}" for line in lines_of_text))


def _table(head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of trusted or already escaped cells."""
    titles = tuple(head)
    lines = [f"| {' | '.join(titles)} |", f"|{'|'.join('---' for _ in titles)}|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def _details(title: str, body: str) -> str:
    return f"\n<details><summary>{title}</summary>\n\n{body.rstrip()}\n\n</details>\n"


def _more(count: int) -> str:
    return f"\n+{count - TABLE_ROWS} more runs" if count > TABLE_ROWS else ""
