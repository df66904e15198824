"""Every violation is found, by its own rule and with its line; its legal twin is not accused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.byte_cases import BYTE_CASES
from fixtures.cases import CASES, Case
from fixtures.record import Record, files_of
from verifier.challenge.load import load_challenge
from verifier.engine.audit import Plan, audit_source
from verifier.engine.registry import load_rules
from verifier.report.model import SubmissionReport
from verifier.rule import Level, Outcome
from verifier.submission.discover import discover

PLAN = Plan(load_rules(), load_challenge())


def audit(record: Record, below: Path) -> SubmissionReport:
    folder = below / "records" / record.path
    for path, data in files_of(record).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (source,) = discover(folder, PLAN.limits)
    return audit_source(source, PLAN)


def outcome(report: SubmissionReport, code: str) -> Outcome:
    return next(result.outcome for result in report.rules if result.code == code)


def reasons(report: SubmissionReport, code: str) -> str:
    return next(result.reason for result in report.rules if result.code == code)


@pytest.mark.parametrize("case", [*CASES, *BYTE_CASES], ids=lambda case: f"{case.rule}-{case.slug}")
def test_a_violation_is_found_and_its_twin_is_not_accused(case: Case, tmp_path: Path) -> None:
    violation = audit(case.violation, tmp_path / "violation")
    assert outcome(violation, case.rule).value == case.expected, reasons(violation, case.rule)
    cited = [finding for finding in violation.findings if finding.rule == case.rule]
    assert any(location.path != "." for finding in cited for location in finding.locations) or case.rule == "PKG001"

    twin = audit(case.twin, tmp_path / "twin")
    if case.twin_outcome is not None:
        assert outcome(twin, case.rule).value == case.twin_outcome, reasons(twin, case.rule)
    else:
        assert outcome(twin, case.rule).value != case.expected, reasons(twin, case.rule)
    accused = [result.code for result in twin.rules if result.outcome is Outcome.FAIL and result.level is Level.ERROR]
    assert accused == []
    assert [result for report in (violation, twin) for result in report.rules if result.outcome is Outcome.ERROR] == []


def test_the_clean_record_is_settled_but_for_what_this_version_cannot_see(tmp_path: Path) -> None:
    report = audit(Record(), tmp_path)
    settled = {Outcome.PASS, Outcome.INFO, Outcome.NOT_APPLICABLE}
    unsettled = {result.code for result in report.rules if result.outcome not in settled}
    assert not [result for result in report.rules if result.outcome is Outcome.REVIEW]
    assert {result.outcome for result in report.rules if result.code in unsettled} <= {Outcome.NOT_AVAILABLE}
