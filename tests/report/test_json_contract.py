"""The JSON report keeps what other programs rely on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from verifier.evidence import Fact, Location
from verifier.report import json_report
from verifier.report.model import Report
from verifier.rule import Measured

from . import sample


def parsed(report: Report) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    return dict(json.loads(json_report.render(report), parse_constant=refuse))


@pytest.fixture
def submission() -> dict[str, Any]:
    return dict(parsed(sample.single())["submissions"][0])


def test_head() -> None:
    document = parsed(sample.batch())
    assert list(document) == ["schema_version", "tool", "challenge", "submissions"]
    assert document["schema_version"] == 1
    assert document["tool"] == {"name": "contest-verifier", "version": "0.1.0"}
    assert document["challenge"] == {"name": "parameter-golf", "rules": "2026-05-02"}


def test_verdicts(submission: dict[str, Any]) -> None:
    assert submission["verdict"] == "ineligible"
    assert submission["record_claim"] == "unsupported"
    assert submission["track"] == "10min_16mb"
    assert submission["as_of"] == "2026-04-19"
    assert submission["not_examined"] == ["CAU002", "EVA003"]
    assert submission["rules"]["TIM003"] == {
        "name": "calibration-outside-budget",
        "outcome": "fail",
        "level": "error",
        "tier": "static",
        "reason": "638.1 s of training data access against 600 s",
    }


def test_finding(submission: dict[str, Any]) -> None:
    finding = submission["findings"][0]
    assert list(finding) == [
        *("rule", "name", "level", "outcome", "confidence", "message", "locations"),
        *("measured", "limit", "remediation", "sources", "fingerprint"),
    ]
    assert finding["locations"][1] == {
        "path": "train_gpt.py",
        "line": 2211,
        "end_line": 2240,
        "layer": 1,
        "excerpt": "hessians = collect_hessians(model, train_loader, batches=64)",
    }
    assert finding["measured"] == {"value": 638.1, "unit": "s"}
    assert submission["findings"][2]["measured"] is None


def test_facts(submission: dict[str, Any]) -> None:
    facts = submission["facts"]
    assert facts["val_bpb"][0] == {"value": 1.08118, "unit": "bpb", "seed": None, "source": "submission.json:8"}
    first = facts["timeline"][0]
    assert {key: first[key] for key in ("phase", "seconds", "seed", "source")} == {
        "phase": "train",
        "seconds": 588.0,
        "seed": 42,
        "source": "train_seed42.log:1170",
    }
    assert facts["config"]["TTT_ENABLED"]["value"] == "1"
    assert facts["config"]["TTT_ENABLED"]["source"] == "train_seed42.log:12"
    assert facts["config"]["TTT_ENABLED"]["others"][1]["source"] == "train_gpt.py[layer 1]:88"


def test_statistics_are_those_of_the_stricter_unit(submission: dict[str, Any]) -> None:
    statistics = submission["statistics"]
    assert (statistics["seeds"], statistics["mean"], statistics["sota"]) == (3, 1.0811833333, 1.0810)
    assert (statistics["p_value"], statistics["min_acceptable_mean"]) == (0.9998, 1.07254)
    assert [test["unit"] for test in statistics["tests"]] == ["nats/token", "nats/byte"]


def test_bytes_and_layers(submission: dict[str, Any]) -> None:
    assert submission["bytes"]["implied_bytes_per_token"] == 3.7266
    assert submission["bytes"]["corrected_bpb"] is None
    assert submission["layers"] == [{"path": "train_gpt.py", "layer": 1, "codec": "lzma+base85", "bytes": 86_046}]


def test_absent_parts_are_null_or_empty() -> None:
    submission = parsed(sample.report(sample.clean_submission()))["submissions"][0]
    assert submission["statistics"] is None
    assert submission["bytes"] is None
    assert submission["facts"] == {"val_bpb": [], "timeline": [], "config": {}}
    assert submission["findings"] == submission["layers"] == []


def test_numbers_that_json_has_not_become_null() -> None:
    base = sample.failing_submission()
    odd = replace(
        base,
        findings=(replace(base.findings[0], measured=Measured(float("nan"), "s")),),
        facts={"loss": (Fact("loss", float("inf"), "nats/token", Location("a.log", 1)),)},
    )
    submission = parsed(sample.report(odd))["submissions"][0]
    assert submission["findings"][0]["measured"] == {"value": None, "unit": "s"}
    assert submission["facts"]["loss"][0]["value"] is None


def test_undecodable_names_are_printable() -> None:
    submission = parsed(sample.report(replace(sample.clean_submission(), path="records/bad\udcff")))["submissions"][0]
    assert submission["path"] == "records/bad\\xff"
