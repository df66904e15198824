"""The reports of the shipped example in every format, and the picture of the README, as they were last looked at.

`UPDATE_GOLDEN=1 pytest tests/shipped` rewrites them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from verifier.challenge.load import load_challenge
from verifier.cli.audit import finish
from verifier.engine.audit import Plan, audit_source
from verifier.engine.registry import load_rules
from verifier.report.formats import FORMATS, render
from verifier.report.human import export_svg
from verifier.report.model import Report
from verifier.submission.discover import discover

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "fixtures" / "records" / "track_10min_16mb" / "2026-04-29_LateCalibration"
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def report() -> Report:
    plan = Plan(load_rules(), load_challenge())
    (source,) = discover(EXAMPLE, plan.limits)
    return finish([audit_source(source, plan)], plan)


def check(file: Path, printed: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(printed, encoding="utf-8", newline="\n")
    assert printed == file.read_text(encoding="utf-8"), f"{file.name} differs; look at it, then UPDATE_GOLDEN=1"


@pytest.mark.parametrize("name", FORMATS)
def test_the_report_of_the_example(name: str, report: Report) -> None:
    check(GOLDEN / f"report.{name}", render(report, name))


def test_the_picture_of_the_readme(report: Report) -> None:
    check(ROOT / "docs" / "report.svg", export_svg(report, title="verifier audit fixtures/records/…/2026-04-29_LateCalibration"))
