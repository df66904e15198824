"""The report for a terminal: what a reviewer must know on one page, `verbose` for all evidence.

Text of a submission only ever enters as `rich.text.Text` made from `printable` strings: no markup is interpreted and no
control character survives. Long lines fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule as Line
from rich.table import Table
from rich.text import Text

from verifier.report import outline, wording
from verifier.report.model import RecordClaim, Report, SubmissionReport, Verdict
from verifier.report.terminal_svg import SVG_TEMPLATE
from verifier.report.terminal_tables import config_table, seeds_table, sizes_table, timeline_table
from verifier.report.text import printable
from verifier.rule import Finding, Outcome

COMPACT_FINDINGS = 3
"""Findings of one rule that the compact page shows; the rest are counted."""
COMPACT_LOCATIONS = 2
COMPACT_EXCERPT = 160
WIDE = 100
"""Columns from which the timeline's bars are drawn with full length."""
WIDE_BAR, NARROW_BAR = 20, 8

_VERDICT_STYLES = {Verdict.ELIGIBLE: "bold green", Verdict.INELIGIBLE: "bold red", Verdict.UNDETERMINED: "bold yellow"}
_CLAIM_STYLES = {
    RecordClaim.SUPPORTED: "green",
    RecordClaim.UNSUPPORTED: "red",
    RecordClaim.UNDECIDED: "yellow",
    RecordClaim.NOT_CLAIMED: "dim",
}
_OUTCOME_STYLES = {
    Outcome.FAIL: "bold red",
    Outcome.REVIEW: "bold yellow",
    Outcome.INFO: "bold blue",
    Outcome.PASS: "green",
    Outcome.ERROR: "bold magenta",
}


@dataclass(frozen=True, slots=True)
class TerminalOptions:
    """How to print: `width` in columns, `color` whether ANSI styles may be used, `verbose` for evidence, facts and passes."""

    width: int = 100
    color: bool = False
    verbose: bool = False


def render_human(report: Report, options: TerminalOptions) -> str:
    """The report as terminal text. A batch gets one line per submission and details for those that fail (all when verbose)."""
    output = StringIO()
    console = _console(options, output)
    for renderable in _page(report, options):
        console.print(renderable)
    text = output.getvalue()
    return text if options.color else "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def export_svg(report: Report, *, width: int = 100, verbose: bool = False, title: str = "verifier audit") -> str:
    """The same page as a self-contained SVG picture (no fonts or anything else is loaded)."""
    console = Console(file=StringIO(), width=width, record=True, force_terminal=True, color_system="truecolor", _environ={})
    for renderable in _page(report, TerminalOptions(width, True, verbose)):
        console.print(renderable)
    return console.export_svg(title=title, code_format=SVG_TEMPLATE, unique_id="report")


def _console(options: TerminalOptions, output: StringIO) -> Console:
    """A console that depends on nothing but the options: no environment, no detection, no markup, no emoji codes."""
    return Console(
        file=output,
        width=options.width,
        force_terminal=options.color,
        color_system="standard" if options.color else None,
        no_color=not options.color,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
        _environ={},
    )


def _page(report: Report, options: TerminalOptions) -> Iterator[RenderableType]:
    if len(report.submissions) == 1:
        yield from _submission(report, report.submissions[0], options)
        return
    for submission in report.submissions:
        if options.verbose or outline.crosses_line(submission):
            yield from _submission(report, submission, options) if options.verbose else _failing_only(submission)
            yield Line(style="dim", characters="─")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for submission in report.submissions:
        table.add_row(
            Text(submission.verdict.value, _VERDICT_STYLES[submission.verdict]),
            Text(wording.claim_words(submission.record_claim), _CLAIM_STYLES[submission.record_claim]),
            Text.assemble(printable(submission.path), ("  " + _short_counts(submission), "dim")),
        )
    yield table
    yield Text("")
    yield Text(wording.verdict_totals(report), "bold")


def _short_counts(submission: SubmissionReport) -> str:
    counts = outline.outcome_counts(submission)
    shown = (Outcome.FAIL, Outcome.REVIEW, Outcome.ERROR)
    return " · ".join(f"{counts[outcome]} {outcome.value}" for outcome in shown if outcome in counts)


def _header(submission: SubmissionReport) -> Iterator[RenderableType]:
    yield Text(printable(submission.path), "bold")
    day = f"as of {submission.as_of}" if submission.as_of is not None else "day unknown"
    yield Text.assemble(
        (submission.verdict.value.upper(), _VERDICT_STYLES[submission.verdict]),
        " · record claim ",
        (wording.claim_words(submission.record_claim), _CLAIM_STYLES[submission.record_claim]),
        (f" · {printable(wording.track_words(submission.track))} · {printable(day)}", "dim"),
    )
    yield Text(f"rules: {wording.counts_line(submission)}", "dim")


def _failing_only(submission: SubmissionReport) -> Iterator[RenderableType]:
    yield from _header(submission)
    yield from _findings(submission, Outcome.FAIL, verbose=False)


def _submission(report: Report, submission: SubmissionReport, options: TerminalOptions) -> Iterator[RenderableType]:
    verbose = options.verbose
    yield from _header(submission)
    yield from _findings(submission, Outcome.FAIL, verbose)
    yield from _findings(submission, Outcome.REVIEW, verbose)
    if verbose:
        yield from _findings(submission, Outcome.INFO, verbose)
        yield from _other_rules(submission)
    else:
        yield from _facts_line(submission)
    if submission.seeds:
        yield _heading("Seeds")
        yield from map(_indented, seeds_table(submission, verbose))
    if submission.sizes:
        yield _heading(f"Artifact, cap {report.artifact_cap:,} bytes")
        yield _indented(sizes_table(report, submission, verbose))
    if submission.timelines:
        yield _heading(f"Timeline, budgets {report.train_budget:g} s training and {report.eval_budget:g} s evaluation")
        yield _indented(timeline_table(report, submission, verbose, WIDE_BAR if options.width >= WIDE else NARROW_BAR))
    if submission.statistics is not None:
        yield _heading("Statistics")
        yield from _lines(wording.statistics_lines(submission.statistics))
    if submission.bytes is not None:
        yield _heading("Bytes per token")
        yield from _lines(wording.bytes_lines(submission))
    if submission.layers:
        yield _heading("Code layers")
        yield from _lines(f"{row.path} layer {row.layer}: {row.codec}, {row.bytes:,} bytes" for row in submission.layers)
    yield from _configuration(submission, verbose)
    yield from _not_checked(submission, verbose)


def _findings(submission: SubmissionReport, outcome: Outcome, verbose: bool) -> Iterator[RenderableType]:
    for section in outline.sections(submission, outcome):
        result = section.result
        yield Text("")
        yield Text.assemble(
            (f"{outcome.value.upper():<6} ", _OUTCOME_STYLES[outcome]),
            (result.code, "bold"),
            f" {printable(result.name)} ",
            (f"({result.level})" if outcome is not Outcome.INFO else "", "dim"),
        )
        if not section.findings:
            yield _indented(Text(printable(result.reason)))
        shown = section.findings if verbose else section.findings[:COMPACT_FINDINGS]
        advice = section.shared_remediation
        for finding in shown:
            yield from _finding(
                finding, verbose, bullet=len(section.findings) > 1, advice=finding.remediation if not advice else ""
            )
        if advice:
            yield _indented(Text.assemble(("fix: ", "bold"), printable(advice)))
        if len(shown) < len(section.findings):
            yield _indented(Text(f"+{len(section.findings) - len(shown)} more (-v shows them)", "dim"))
        if verbose and shown:
            yield _indented(Text(f"source: {' '.join(map(printable, shown[0].sources))}", "dim"))


def _finding(finding: Finding, verbose: bool, *, bullet: bool, advice: str) -> Iterator[RenderableType]:
    """Message, numbers, places, advice; with a bullet where the rule has several findings."""
    message = Text(printable(finding.message))
    if bullet:
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_row("•", message)
        yield _indented(row)
    else:
        yield _indented(message)
    indent = 4 if bullet else 2
    if line := wording.measured_line(finding):
        yield _indented(Text(line, "dim"), indent)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", max_width=40)
    table.add_column(overflow="fold")
    locations = finding.locations if verbose else finding.locations[:COMPACT_LOCATIONS]
    for location in locations:
        excerpt = printable(location.excerpt.strip(), COMPACT_EXCERPT if not verbose else 240)
        table.add_row(Text(wording.place(location), "cyan"), Text(excerpt, "italic"))
    if len(locations) < len(finding.locations):
        table.add_row(Text(f"+{len(finding.locations) - len(locations)} more places", "dim"), Text(""))
    yield _indented(table, indent)
    if advice:
        yield _indented(Text.assemble(("fix: ", "bold"), printable(advice)), indent)


def _facts_line(submission: SubmissionReport) -> Iterator[RenderableType]:
    facts = outline.sections(submission, Outcome.INFO)
    if facts:
        count = sum(max(1, len(section.findings)) for section in facts)
        names = ", ".join(f"{section.result.code} {printable(section.result.name)}" for section in facts)
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_row(Text(f"{'INFO':<6}", _OUTCOME_STYLES[Outcome.INFO]), Text(f"{wording.plural(count, 'fact')}: {names} (-v)"))
        yield Text("")
        yield table


def _other_rules(submission: SubmissionReport) -> Iterator[RenderableType]:
    """The rules that passed or don't apply, with what they looked at."""
    rows = [result for result in submission.rules if result.outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE)]
    if not rows:
        return
    yield _heading("Passed and not applicable")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for result in rows:
        style = _OUTCOME_STYLES.get(result.outcome, "dim")
        name = f"{result.code} {printable(result.name)}"
        table.add_row(Text(result.outcome.value.replace("-", " "), style), Text(name), Text(printable(result.reason), "dim"))
    yield _indented(table)


def _configuration(submission: SubmissionReport, verbose: bool) -> Iterator[RenderableType]:
    rows = submission.config if verbose else outline.conflicts(submission)
    if not rows:
        return
    yield _heading("Configuration" if verbose else "Configuration: the run and the documented command differ")
    yield _indented(config_table(rows))


def _not_checked(submission: SubmissionReport, verbose: bool) -> Iterator[RenderableType]:
    rows = outline.unchecked(submission)
    if not rows:
        return
    yield _heading("Could not be checked")
    for row in rows:
        what = wording.place(row.location) if row.location is not None else wording.join_codes(row.codes, 999 if verbose else 12)
        yield _indented(Text.assemble((what, "cyan"), f"  {printable(row.reason)}"))


def _heading(text: str) -> RenderableType:
    return Text("\n" + printable(text), "bold")


def _indented(renderable: RenderableType, columns: int = 2) -> RenderableType:
    return Padding(renderable, (0, 0, 0, columns))


def _lines(lines: Iterator[str] | tuple[str, ...]) -> Iterator[RenderableType]:
    for line in lines:
        yield _indented(Text(printable(line)))
