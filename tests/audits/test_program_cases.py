"""Rules about the script as a program: violations and evasions are found, twins and decoys are not accused."""

from __future__ import annotations

from collections import Counter

import pytest

from fixtures.program import ProgramCase
from fixtures.program_cases import PROGRAM_CASES
from tests.program.judge import RULES, judge, result_of
from verifier.rule import Level, Outcome

LEAST: dict[str, int] = {"violation": 3, "twin": 1, "evasion": 1, "decoy": 1}
REQUIRED: tuple[str, ...] = ()
"""Rules that must have the least number of cases of each kind."""


@pytest.mark.parametrize("case", PROGRAM_CASES, ids=lambda case: f"{case.rule}-{case.slug}")
def test_the_rule_answers_as_expected(case: ProgramCase) -> None:
    report = judge(case.record)
    answer = result_of(report, case.rule)
    assert answer.outcome.value == case.expected, answer.reason
    assert [result for result in report.rules if result.outcome is Outcome.ERROR] == []
    if case.expected == "fail":
        cited = [finding for finding in report.findings if finding.rule == case.rule and finding.outcome is Outcome.FAIL]
        assert any(location.line is not None for finding in cited for location in finding.locations)
    if case.kind in ("twin", "decoy"):
        accused = [result for result in report.rules if result.outcome is Outcome.FAIL and result.level is Level.ERROR]
        assert accused == []


@pytest.mark.parametrize("rule", REQUIRED)
def test_a_required_rule_has_cases_of_every_kind(rule: str) -> None:
    have = Counter[str](case.kind for case in PROGRAM_CASES if case.rule == rule)
    assert {kind: have[kind] for kind, least in LEAST.items() if have[kind] < least} == {}


def test_cases_are_well_formed() -> None:
    assert {case.rule for case in PROGRAM_CASES} <= {rule.code for rule in RULES}
    assert {case.kind for case in PROGRAM_CASES} <= set(LEAST)
    assert {case.expected for case in PROGRAM_CASES} <= {outcome.value for outcome in Outcome}
    names = Counter((case.rule, case.slug) for case in PROGRAM_CASES)
    assert [name for name, count in names.items() if count > 1] == []
