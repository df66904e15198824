"""The report as one HTML file: no scripts, no network, plots inside. Everything from a submission is escaped.

A content security policy allows the page's own style sheet (by digest) and nothing else, so that even an escaping bug of
ours could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

from verifier.ledger.configuration import ConfigRow
from verifier.report import outline, wording
from verifier.report.html_style import STYLE
from verifier.report.model import RecordClaim, Report, SubmissionReport, Verdict
from verifier.report.svg_bars import draw_sizes, draw_timeline
from verifier.report.svg_curves import curve_plots
from verifier.report.svg_seeds import draw_seeds
from verifier.report.text import MESSAGE_LIMIT, printable
from verifier.rule import Finding, Outcome

DETAILED = 200
"""Submissions of a batch that are shown in full, those that cross the line first; all stand in the table."""
PLOTTED = 25
"""Submissions of a batch that get plots."""
ROWS = 200
"""Rows of one table."""

_VERDICTS = {Verdict.ELIGIBLE: "pass", Verdict.INELIGIBLE: "fail", Verdict.UNDETERMINED: "review"}
_CLAIMS = {
    RecordClaim.SUPPORTED: "pass",
    RecordClaim.UNSUPPORTED: "fail",
    RecordClaim.UNDECIDED: "review",
    RecordClaim.NOT_CLAIMED: "",
}
_OUTCOMES = {Outcome.FAIL: "fail", Outcome.REVIEW: "review", Outcome.INFO: "info", Outcome.PASS: "pass", Outcome.ERROR: "fail"}


def render(report: Report) -> str:
    """The whole page."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    single = len(report.submissions) == 1
    title = report.submissions[0].path.rstrip("/").rsplit("/", 1)[-1] if single else wording.verdict_totals(report)
    body = [_article(report, report.submissions[0], "s0", plots=True)] if single else _batch(report)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + f'\n</main>\n<footer class="foot">contest-verifier {_text(report.tool_version)} · {_text(report.challenge)} rules of'
        f" {_text(report.ruleset)}</footer>\n</body>\n</html>\n"
    )


def _text(text: str, limit: int = MESSAGE_LIMIT) -> str:
    return escape(printable(text, limit), quote=True)


def _batch(report: Report) -> list[str]:
    order = sorted(range(len(report.submissions)), key=lambda index: not outline.crosses_line(report.submissions[index]))
    detailed = set(order[:DETAILED])
    rows = []
    for index, submission in enumerate(report.submissions):
        name = f"<code>{_text(submission.path)}</code>"
        counts = outline.outcome_counts(submission)
        rows.append(
            (
                f'<a href="#s{index}">{name}</a>' if index in detailed else name,
                f'<span class="tag {_VERDICTS[submission.verdict]}">{submission.verdict}</span>',
                f'<span class="tag {_CLAIMS[submission.record_claim]}">{wording.claim_words(submission.record_claim)}</span>',
                str(counts.get(Outcome.FAIL, 0)),
                str(counts.get(Outcome.REVIEW, 0)),
            )
        )
    head = ("submission", "verdict", "record claim", "fail", "review")
    parts = [f"<header><h1>{_text(wording.verdict_totals(report))}</h1></header>"]
    parts.append(_table("All submissions", head, rows, numeric=(3, 4), most=len(rows)))
    if len(detailed) < len(order):
        parts.append(f'<p class="soft">Details of {len(detailed)} submissions, those that cross the line first.</p>')
    plotted = set(order[:PLOTTED])
    parts += [
        _article(report, submission, f"s{index}", plots=index in plotted)
        for index, submission in enumerate(report.submissions)
        if index in detailed
    ]
    return parts


def _article(report: Report, submission: SubmissionReport, anchor: str, *, plots: bool) -> str:
    day = f"as of {submission.as_of}" if submission.as_of is not None else "day unknown"
    counts = "".join(
        f'<span class="badge {_OUTCOMES.get(outcome, "")}">{count} {outcome.value.replace("-", " ")}</span>'
        for outcome, count in outline.outcome_counts(submission).items()
    )
    parts = [
        f'<article id="{anchor}"><header>',
        f'<h1 class="path mono">{_text(submission.path)}</h1>',
        f'<div class="badges"><span class="badge big {_VERDICTS[submission.verdict]}">{submission.verdict}</span>'
        f'<span class="badge big {_CLAIMS[submission.record_claim]}">record claim {wording.claim_words(submission.record_claim)}</span>'
        f'<span class="soft">{_text(wording.track_words(submission.track))} · {_text(day)}</span></div>',
        f'<div class="badges" aria-label="Rules by outcome">{counts}</div></header>',
    ]
    parts.append(_findings(submission, Outcome.FAIL, "Fails"))
    parts.append(_findings(submission, Outcome.REVIEW, "Needs a human"))
    if plots:
        parts.append(_plots(report, submission, anchor))
    parts += [_seeds(submission), _statistics(submission), _configuration(submission)]
    parts.append(_findings(submission, Outcome.INFO, "Facts"))
    parts += [_unchecked(submission), _layers(submission), _rules(submission), "</article>"]
    return "\n".join(part for part in parts if part)


def _findings(submission: SubmissionReport, outcome: Outcome, title: str) -> str:
    cards = []
    for section in outline.sections(submission, outcome):
        result = section.result
        level = f'<span class="tag">{result.level}</span>' if outcome is not Outcome.INFO else ""
        advice = section.shared_remediation
        body = (
            "".join(_finding(finding, "" if advice else finding.remediation) for finding in section.findings[:ROWS])
            or f"<p>{_text(result.reason)}</p>"
        )
        if len(section.findings) > ROWS:
            body += f'<p class="soft">+{len(section.findings) - ROWS} more</p>'
        if advice:
            body += f'<p class="fix">{_text(advice)}</p>'
        sources = section.findings[0].sources if section.findings else ()
        if sources:
            body += f'<p class="soft">Source: {", ".join(_link(source) for source in sources)}</p>'
        cards.append(
            f'<section class="card is-{_OUTCOMES[outcome]}"><h3><code>{_text(result.code)}</code> {_text(result.name)}{level}</h3>'
            f"{body}</section>"
        )
    return f"<h2>{title}</h2>\n" + "\n".join(cards) if cards else ""


def _finding(finding: Finding, advice: str) -> str:
    parts = [f'<div class="finding"><p>{_text(finding.message)}</p>']
    if numbers := wording.measured_line(finding):
        parts.append(f'<p class="soft">{_text(numbers)}</p>')
    places = []
    for location in finding.locations[:ROWS]:
        excerpt = f'<code class="excerpt">{_text(location.excerpt)}</code>' if location.excerpt.strip() else ""
        places.append(f'<li><code class="at">{_text(wording.place(location))}</code>{excerpt}</li>')
    parts.append(f'<ul class="places">{"".join(places)}</ul>')
    if advice:
        parts.append(f'<p class="fix">{_text(advice)}</p>')
    return "".join(parts) + "</div>"


def _plots(report: Report, submission: SubmissionReport, anchor: str) -> str:
    plots: list[tuple[str, str | None]] = []
    if submission.statistics is not None:
        plots.append(("BPB per seed, mean with 95% interval", draw_seeds(f"{anchor}-seeds", submission.statistics)))
    plots.append(("Timeline of each run against both budgets", draw_timeline(f"{anchor}-time", report, submission)))
    plots.append(("Artifact against the cap", draw_sizes(f"{anchor}-size", report, submission)))
    plots += curve_plots(anchor, submission.curves)
    drawn = [
        f"<figure><figcaption>{_text(caption)}</figcaption><div>{svg}</div></figure>" for caption, svg in plots if svg is not None
    ]
    return f'<h2>Measurements</h2>\n<div class="plots">{"".join(drawn)}</div>' if drawn else ""


def _seeds(submission: SubmissionReport) -> str:
    if not submission.seeds:
        return ""
    rows = [
        (
            wording.seed_words(row.seed),
            wording.whole(row.steps),
            wording.decimal(row.step_ms, 1),
            wording.decimal(row.train_seconds, 1),
            wording.decimal(row.eval_seconds, 1),
            _text(row.val_loss or "–", 24),
            f"<strong>{_text(row.val_bpb or '–', 24)}</strong>",
            f'<span class="tag review">{_text(row.claimed_bpb or "", 24)}</span>'
            if outline.claim_differs(row)
            else _text(row.claimed_bpb or "–", 24),
            wording.whole(row.artifact_bytes),
            wording.whole(row.code_bytes),
            f"<code>{_text(row.headline_label or '–', 80)}</code>",
        )
        for row in submission.seeds
    ]
    head = ("seed", "steps", "ms/step", "train s", "eval s", "loss", "BPB", "claimed", "total bytes", "code bytes", "metric")
    metrics = [
        (wording.seed_words(row.seed), f"<code>{_text(label, 120)}</code>", _text(loss or "–", 24), _text(bpb or "–", 24))
        for row in submission.seeds
        for label, loss, bpb in row.metrics
    ]
    more = (
        _folded("Every final metric", _table("Final metrics", ("seed", "label", "loss", "BPB"), metrics, (0, 2, 3)))
        if metrics
        else ""
    )
    return f"<h2>Seeds</h2>\n{_table('Seeds', head, rows, tuple(range(10)))}{more}"


def _statistics(submission: SubmissionReport) -> str:
    lines = list(wording.statistics_lines(submission.statistics)) if submission.statistics is not None else []
    lines += wording.bytes_lines(submission)
    if not lines:
        return ""
    return "<h2>Statistics and bytes per token</h2>\n" + _list(_text(line) for line in lines)


def _configuration(submission: SubmissionReport) -> str:
    def rows(settings: Iterable[ConfigRow]) -> list[tuple[str, ...]]:
        return [
            (
                f"<code>{_text(row.name, 80)}</code>",
                f"<code>{_text(row.value, 200)}</code>",
                f"{_text(row.origin)}, <code>{_text(wording.place(row.source))}</code>",
                "<br>".join(
                    f"<code>{_text(value, 200)}</code> {_text(origin)}, <code>{_text(wording.place(at))}</code>"
                    for origin, value, at in row.others
                ),
            )
            for row in settings
        ]

    head = ("setting", "value of the run", "from", "other sources say")
    parts = []
    if differing := outline.conflicts(submission):
        title = "The run and the documented command differ"
        parts.append(f"<h2>{title}</h2>\n{_table(title, head, rows(differing))}")
    if submission.config:
        count = wording.plural(len(submission.config), "setting")
        parts.append(
            _folded(f"Configuration of the run: {count}", _table("Configuration", head, rows(submission.config), most=2_000))
        )
    return "\n".join(parts)


def _unchecked(submission: SubmissionReport) -> str:
    items = [
        f"<code>{_text(wording.place(row.location)) if row.location is not None else ', '.join(row.codes)}</code> {_text(row.reason)}"
        for row in outline.unchecked(submission)
    ]
    return f"<h2>Could not be checked</h2>\n{_list(items)}" if items else ""


def _layers(submission: SubmissionReport) -> str:
    if not submission.layers:
        return ""
    rows = [(f"<code>{_text(row.path)}</code>", str(row.layer), _text(row.codec), f"{row.bytes:,}") for row in submission.layers]
    return f"<h2>Code layers</h2>\n{_table('Code layers', ('file', 'layer', 'codec', 'bytes'), rows, (1, 3))}"


def _rules(submission: SubmissionReport) -> str:
    rows = [
        (
            f"<code>{_text(result.code)}</code> {_text(result.name)}",
            f'<span class="tag {_OUTCOMES.get(result.outcome, "")}">{result.outcome.value.replace("-", " ")}</span>',
            f"{result.level}, {result.tier}",
            _text(result.reason),
        )
        for result in submission.rules
    ]
    title = f"All {len(rows)} rules"
    return _folded(title, _table(title, ("rule", "outcome", "level, tier", "reason"), rows))


def _table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]], numeric: tuple[int, ...] = (), most: int = ROWS) -> str:
    """A table of escaped cells that scrolls sideways where it does not fit."""

    def css(index: int) -> str:
        return ' class="num"' if index in numeric else ""

    top = "".join(f'<th scope="col"{css(index)}>{title}</th>' for index, title in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{css(index)}>{cell}</td>" for index, cell in enumerate(row)) + "</tr>" for row in rows[:most]
    )
    more = f'<p class="soft">+{len(rows) - most:,} more rows</p>' if len(rows) > most else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(name)}"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{more}"
    )


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{_text(title)}</summary>{body}</details>"


def _list(items: Iterable[str]) -> str:
    return f'<ul class="plain">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def _link(url: str) -> str:
    if not url.startswith("https://"):
        return _text(url)
    return f'<a href="{_text(url)}" rel="noopener noreferrer">{_text(url.removeprefix("https://"))}</a>'
