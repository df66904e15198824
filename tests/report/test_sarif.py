"""SARIF: valid, every outcome under its kind, stable identities, order by severity."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from verifier.report import sarif
from verifier.report.model import Report

from . import hostile, sample
from .sarif_subset import SCHEMA


def run_of(report: Report, *, problems_only: bool = False) -> dict[str, Any]:
    document = json.loads(sarif.render(report, problems_only=problems_only))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return dict(document["runs"][0])


@pytest.mark.parametrize("text", hostile.TEXTS, ids=range(len(hostile.TEXTS)))
def test_valid_whatever_the_text(text: str) -> None:
    run_of(hostile.poisoned_single(text))


@pytest.mark.skipif("SARIF_SCHEMA" not in os.environ, reason="SARIF_SCHEMA names no copy of the standard's schema")
@pytest.mark.parametrize("text", ["plain", *hostile.TEXTS], ids=range(len(hostile.TEXTS) + 1))
def test_valid_under_the_standards_schema(text: str) -> None:
    schema = json.loads(Path(os.environ["SARIF_SCHEMA"]).read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    for problems_only in (False, True):
        validator.validate(json.loads(sarif.render(hostile.poisoned(text), problems_only=problems_only)))


def test_kinds_carry_the_outcomes() -> None:
    kinds = {result["ruleId"]: result["kind"] for result in run_of(sample.single())["results"]}
    assert kinds["TIM003"] == "fail"
    assert kinds["CLM002"] == "review"
    assert kinds["TTT005"] == "informational"
    assert kinds["BYT004"] == "pass"
    assert kinds["TIM005"] == "notApplicable"
    assert kinds["MIX001"] == kinds["COD004"] == "open"


def test_uploads_hold_problems_only() -> None:
    results = run_of(sample.batch(), problems_only=True)["results"]
    assert {result["kind"] for result in results} == {"fail", "review"}


def test_most_severe_first() -> None:
    codes = [result["ruleId"] for result in run_of(sample.batch())["results"]]
    assert codes[:5] == ["TIM003", "SIG003", "CLM007", "CLM007", "CLM002"]


def test_broken_rule_is_an_unsuccessful_execution() -> None:
    invocation = run_of(sample.single())["invocations"][0]
    assert invocation["executionSuccessful"] is False
    assert "COD004 broke" in invocation["toolExecutionNotifications"][0]["message"]["text"]
    assert run_of(sample.report(sample.clean_submission()))["invocations"][0]["executionSuccessful"] is True


def test_lines_of_a_layer_are_not_lines_of_the_file() -> None:
    (related,) = run_of(sample.single())["results"][0]["relatedLocations"]
    assert related["physicalLocation"]["region"] == {"startLine": 1}
    assert "train_gpt.py[layer 1]:2211-2240" in related["message"]["text"]
    layers = run_of(sample.single())["artifacts"]
    assert layers[1]["parentIndex"] == 0
    assert "lzma+base85" in layers[1]["description"]["text"]


def test_fingerprints_survive_line_shifts_and_stay_unique() -> None:
    submission = sample.failing_submission()
    moved = replace(
        submission,
        findings=tuple(
            replace(finding, locations=tuple(replace(at, line=at.line and at.line + 7) for at in finding.locations))
            for finding in submission.findings
        ),
    )

    def prints(report: Report) -> list[str]:
        return [result["partialFingerprints"]["primaryLocationLineHash"] for result in run_of(report)["results"]]

    assert prints(sample.report(submission)) == prints(sample.report(moved))
    doubled = replace(submission, findings=submission.findings * 2)
    assert len(set(prints(sample.report(doubled)))) == len(prints(sample.report(doubled)))
    other = replace(submission, path="records/track_10min_16mb/2026-04-20_Other")
    assert not set(prints(sample.report(submission))) & set(prints(sample.report(other)))


def test_rule_pages_are_shipped() -> None:
    rules = {rule["id"]: rule for rule in run_of(sample.single())["tool"]["driver"]["rules"]}
    assert rules["TIM003"]["name"] == "CalibrationOutsideBudget"
    assert "### What settles it" in rules["TIM003"]["help"]["markdown"]
    bare = run_of(replace(sample.single(), rules=()))["tool"]["driver"]["rules"]
    assert all("help" not in rule for rule in bare)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("records/a b/x#1?", "records/a%20b/x%231%3F/f.py"),
        ("/abs/dir/", "file:///abs/dir/f.py"),
        ("records/../records/x", "records/x/f.py"),
    ],
)
def test_paths_become_uris(path: str, uri: str) -> None:
    submission = sample.failing_submission()
    first = replace(submission.findings[0], locations=(replace(submission.findings[0].locations[0], path="f.py"),))
    (result,) = run_of(sample.report(replace(submission, path=path, findings=(first,), rules=submission.rules[13:14])))["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri
