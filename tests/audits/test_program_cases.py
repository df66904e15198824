"""Rules about the script as a program: violations and evasions are found, twins and decoys are not accused."""

from __future__ import annotations

from collections import Counter

import pytest

from fixtures.program import ProgramCase
from fixtures.program_cases import PROGRAM_CASES
from fixtures.record import files_of
from tests.program.judge import RULES, judge, result_of
from verifier.rule import Level, Outcome, Rule

LEAST: dict[str, int] = {"violation": 3, "twin": 1, "evasion": 1, "decoy": 1}
REQUIRED: tuple[str, ...] = (
    *("TTT001", "TTT002", "TTT003", "TTT004", "TTT005", "SLT001"),
    *("NGR001", "NGR002", "MIX001", "MIX002", "PPM001"),
    *("VAL001", "VAL002", "VAL004", "VAL005", "EVA001", "EVA002", "EVA004", "EVA005", "CAU001"),
    *("CLM002", "CLM004", "CLM008", "CLM010", "TIM003", "NET001", "SIZ004", "BYT001"),
    *("COD001", "COD002", "COD003", "COD004", "COD005"),
)
"""Rules about the script as a program: each must have the least number of cases of each kind, in scripts that differ."""


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


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule.code in REQUIRED and rule.at_most is Outcome.FAIL], ids=lambda rule: rule.code
)
def test_violations_of_a_rule_that_can_fail_do(rule: Rule) -> None:
    have = Counter[str](case.kind for case in PROGRAM_CASES if case.rule == rule.code and case.expected == "fail")
    assert have["violation"] >= LEAST["violation"]
    assert have["evasion"] >= LEAST["evasion"]


@pytest.mark.parametrize("rule", REQUIRED)
def test_no_two_cases_of_a_required_rule_are_the_same_folder(rule: str) -> None:
    folders = [files_of(case.record.but(name="2026-04-30_Same")) for case in PROGRAM_CASES if case.rule == rule]
    assert [index for index, files in enumerate(folders) if files in folders[:index]] == []


def test_every_rule_with_cases_is_required() -> None:
    assert {case.rule for case in PROGRAM_CASES} == set(REQUIRED)


def test_cases_are_well_formed() -> None:
    assert {case.rule for case in PROGRAM_CASES} <= {rule.code for rule in RULES}
    assert {case.kind for case in PROGRAM_CASES} <= set(LEAST)
    assert {case.expected for case in PROGRAM_CASES} <= {outcome.value for outcome in Outcome}
    names = Counter((case.rule, case.slug) for case in PROGRAM_CASES)
    assert [name for name, count in names.items() if count > 1] == []
