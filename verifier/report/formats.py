"""The formats by name."""

from __future__ import annotations

from verifier.report import github, html, human, json_report, markdown, sarif
from verifier.report.human import TerminalOptions
from verifier.report.model import Report

FORMATS = ("human", "json", "sarif", "github", "markdown", "html")


def render(report: Report, name: str, terminal: TerminalOptions) -> str:
    """The report in one format. `terminal` matters to `human` only. Raises `KeyError` on other names."""
    if name == "human":
        return human.render_human(report, terminal)
    module = {"json": json_report, "sarif": sarif, "github": github, "markdown": markdown, "html": html}[name]
    return module.render(report)
