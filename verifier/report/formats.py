"""The formats by name."""

from __future__ import annotations

from verifier.report import github, html, human, json_report, markdown, sarif
from verifier.report.model import Report

FORMATS = ("human", "json", "sarif", "github", "markdown", "html")


def render(
    report: Report, name: str, *, width: int = 100, color: bool = False, verbose: bool = False, problems_only: bool = False
) -> str:
    """The report in one format; `problems_only` matters to `sarif` only, the other options to `human` only.

    Raises `KeyError` on other names.
    """
    match name:
        case "human":
            return human.render_human(report, human.TerminalOptions(width, color, verbose))
        case "json":
            return json_report.render(report)
        case "sarif":
            return sarif.render(report, problems_only=problems_only)
        case "github":
            return github.render(report)
        case "markdown":
            return markdown.render(report)
        case "html":
            return html.render(report)
    raise KeyError(name)
