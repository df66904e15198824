"""GitHub Actions: annotations, the job summary, and a fence around text that may forge workflow commands.

The runner obeys any line of output that starts with `::`
(https://docs.github.com/actions/reference/workflow-commands-for-github-actions), so nothing of a submission may reach a log
unescaped or unfenced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from verifier.evidence import Location
from verifier.report import human, markdown, outline, wording
from verifier.report.model import Report, SubmissionReport
from verifier.report.text import printable
from verifier.rule import Level, Outcome

ANNOTATIONS_PER_LEVEL = 10
"""What GitHub shows of the errors, warnings and notices of one step; it drops the rest without a word."""
SUMMARY_LIMIT = 1_000_000
"""Bytes; a job summary above 1,024 KiB is refused."""
LOG_WIDTH = 120
_COMMANDS = ("error", "warning", "notice")


def render(report: Report) -> str:
    """What a step of a workflow prints: the page for people, fenced, then the annotations."""
    return fence(human.render_human(report, human.TerminalOptions(width=LOG_WIDTH))) + render_annotations(report)


def render_annotations(report: Report) -> str:
    """Workflow commands, one annotation a line: fails of level error and record as errors, other fails and reviews as
    warnings, notes as notices; the first ten of each, the tenth says how many more there are."""
    lines: list[str] = []
    found = list(_annotations(report))
    for command in _COMMANDS:
        of_level = [(properties, message) for name, properties, message in found if name == command]
        more = len(of_level) - ANNOTATIONS_PER_LEVEL
        for number, (properties, message) in enumerate(of_level[:ANNOTATIONS_PER_LEVEL], 1):
            note = f" (+{more:,} more of this level, see the job summary)" if more > 0 and number == ANNOTATIONS_PER_LEVEL else ""
            fields = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
            lines.append(f"::{command} {fields}::{_data(message + note)}")
    return "".join(f"{line}\n" for line in lines)


def render_summary(report: Report) -> str:
    """Markdown for the job summary: everything, within GitHub's limit."""
    return markdown.render(report, limit=SUMMARY_LIMIT, full=True)


def fence(text: str) -> str:
    """The text between `stop-commands` markers: the runner prints it and obeys none of it.

    The marker is a digest of the text itself, which no text can contain; the same text gives the same bytes.
    """
    token = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    body = text if text.endswith("\n") or not text else f"{text}\n"
    return f"::stop-commands::{token}\n{body}::{token}::\n"


def _annotations(report: Report) -> Iterator[tuple[str, dict[str, str], str]]:
    """(command, properties, message) of every fail and review, fails first, most severe level first."""
    for submission, outcome, section in outline.ranked(report, (Outcome.FAIL, Outcome.REVIEW)):
        result = section.result
        command = _command(outcome, result.level)
        title = f"{result.code} {printable(result.name)}{': needs a human' if outcome is Outcome.REVIEW else ''}"
        for finding in section.findings:
            first = finding.locations[0]
            unlined = first.layer or first.line is None
            message = printable(finding.message) + (f" [{wording.place(first)}]" if unlined else "")
            yield command, _where(submission, first) | {"title": title}, message
        if not section.findings:
            yield command, {"title": title}, f"{printable(submission.path)}: {printable(result.reason)}"


def _command(outcome: Outcome, level: Level) -> str:
    if level is Level.NOTE:
        return "notice"
    return "error" if outcome is Outcome.FAIL and level in (Level.ERROR, Level.RECORD) else "warning"


def _where(submission: SubmissionReport, location: Location) -> dict[str, str]:
    """Lines of an unpacked layer are none of the file, so those annotations stand at the file as a whole."""
    where = {"file": printable(outline.file_path(submission, location))}
    if location.line is not None and location.layer == 0:
        where["line"] = str(location.line)
        where["endLine"] = str(location.end_line if location.end_line is not None else location.line)
    return where


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
