"""Every format against the file it printed when it was last looked at. `UPDATE_GOLDEN=1 pytest tests/report` rewrites them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from verifier.report import github, html, json_report, markdown, sarif
from verifier.report.formats import FORMATS, render
from verifier.report.human import TerminalOptions, render_human

from . import sample

GOLDEN = Path(__file__).parent / "golden"

CASES: dict[str, Callable[[], str]] = {
    "single_80.txt": lambda: render_human(sample.single(), TerminalOptions(width=80)),
    "single_120_verbose.txt": lambda: render_human(sample.single(), TerminalOptions(width=120, verbose=True)),
    "single_100_color.ansi": lambda: render_human(sample.single(), TerminalOptions(color=True)),
    "batch_100.txt": lambda: render_human(sample.batch(), TerminalOptions()),
    "clean_80.txt": lambda: render_human(sample.report(sample.clean_submission()), TerminalOptions(width=80)),
    "single.json": lambda: json_report.render(sample.single()),
    "batch.sarif": lambda: sarif.render(sample.batch()),
    "single_problems.sarif": lambda: sarif.render(sample.single(), problems_only=True),
    "single.github.txt": lambda: github.render(sample.single()),
    "summary.md": lambda: github.render_summary(sample.single()),
    "single.md": lambda: markdown.render(sample.single()),
    "batch.md": lambda: markdown.render(sample.batch()),
    "single.html": lambda: html.render(sample.single()),
    "batch.html": lambda: html.render(sample.batch()),
}


@pytest.mark.parametrize("name", CASES)
def test_prints_what_was_looked_at(name: str) -> None:
    printed = CASES[name]()
    file = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(printed, encoding="utf-8", newline="\n")
    assert printed == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FORMATS)
def test_same_report_same_bytes(name: str) -> None:
    assert render(sample.batch(), name) == render(sample.batch(), name)


@pytest.mark.parametrize("name", FORMATS)
def test_environment_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = render(sample.single(), name)
    for variable, value in (("COLUMNS", "40"), ("FORCE_COLOR", "1"), ("NO_COLOR", "1"), ("TERM", "dumb"), ("TZ", "Asia/Tokyo")):
        monkeypatch.setenv(variable, value)
    assert render(sample.single(), name) == before


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_report_renders(name: str) -> None:
    assert "Traceback" not in render(sample.report(), name)


@pytest.mark.parametrize("name", FORMATS)
def test_every_failing_rule_and_its_place_is_named(name: str) -> None:
    printed = render(sample.single(), name)
    for expected in ("TIM003", "SIG003", "CLM007", "train_seed42.log"):
        assert expected in printed


@pytest.mark.parametrize("name", ["human", "markdown", "html"])
def test_what_a_reviewer_needs_is_printed(name: str) -> None:
    """Timeline, seeds, mean, interval, p in both units, bytes per token, layers, conflicts, what could not be checked."""
    printed = render(sample.single(), name, width=200)
    for expected in ("638.1", "493.9", "1.08118", "1.07987", "0.993", "per token", "per byte", "1.07781", "3.72664", "86,046"):
        assert expected in printed, expected
    for expected in ("MIX001, VAL005", "wandb/latest-run", "CAU002, EVA003", "COD004"):
        assert expected in printed, expected
    assert "TTT_ENABLED" in printed.replace("&#95;", "_")
