"""A run and the program about one rule: one finding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audits.dynamic.probe import Probe
from audits.dynamic.rules import MEMO, deciding
from audits.dynamic.together import join
from fixtures.probes import write_folder
from verifier.challenge.load import load_challenge
from verifier.engine.context import Context
from verifier.engine.registry import load_rules
from verifier.evidence import Location
from verifier.rule import Decision, Finding, Outcome, Tier
from verifier.submission.discover import discover
from verifier.submission.load import load_submission

SEEN, READ = Location("train_gpt.py", 20), Location("train_gpt.py", 10)


def said(outcome: Outcome, words: str, place: Location) -> Decision:
    if outcome in (Outcome.FAIL, Outcome.REVIEW):
        return Decision.of([Finding(outcome, words, (place,), remediation=f"after {words}")])
    return Decision(outcome, words)


@pytest.mark.parametrize(
    ("observed", "read", "expected"),
    [
        (Outcome.FAIL, Outcome.FAIL, Outcome.FAIL),
        (Outcome.FAIL, Outcome.REVIEW, Outcome.FAIL),
        (Outcome.REVIEW, Outcome.FAIL, Outcome.FAIL),
        (Outcome.REVIEW, Outcome.REVIEW, Outcome.REVIEW),
        (Outcome.FAIL, Outcome.PASS, Outcome.FAIL),
        (Outcome.PASS, Outcome.FAIL, Outcome.REVIEW),
        (Outcome.PASS, Outcome.REVIEW, Outcome.REVIEW),
        (Outcome.PASS, Outcome.PASS, Outcome.PASS),
        (Outcome.NOT_AVAILABLE, Outcome.FAIL, Outcome.FAIL),
        (Outcome.NOT_AVAILABLE, Outcome.PASS, Outcome.NOT_AVAILABLE),
        (Outcome.NOT_APPLICABLE, Outcome.FAIL, Outcome.FAIL),
        (Outcome.NOT_APPLICABLE, Outcome.REVIEW, Outcome.REVIEW),
        (Outcome.NOT_APPLICABLE, Outcome.PASS, Outcome.NOT_APPLICABLE),
    ],
)
def test_outcomes(observed: Outcome, read: Outcome, expected: Outcome) -> None:
    made = join(said(observed, "a run", SEEN), said(read, "the text", READ))
    assert made.outcome is expected
    assert len(made.findings) == (expected in (Outcome.FAIL, Outcome.REVIEW))


def test_one_finding_cites_both() -> None:
    made = join(said(Outcome.FAIL, "a run", SEEN), said(Outcome.FAIL, "the text", READ))
    assert made.findings[0].locations == (SEEN, READ)
    assert "a run" in made.findings[0].message
    assert "the text" in made.findings[0].message


def outcomes(tmp_path: Path, **probes: Probe) -> dict[str, Outcome]:
    """Rules that count as dynamic after a run with these probes (names with `_` for `-`) on a script without any doubt."""
    context = Context(load_submission(discover(write_folder(tmp_path, "plain"))[0]), load_challenge())
    context.memo[MEMO] = {name.replace("_", "-"): probe for name, probe in probes.items()}
    return {
        rule.code: rule.decide(context).outcome
        for rule in deciding(load_rules(), context)
        if rule.tier is Tier.DYNAMIC and rule.code not in ("CAU002", "NRM001", "TTT001", "TTT002")
    }


def test_a_run_adds_what_it_can_say_alone(tmp_path: Path) -> None:
    bpb = Probe("bpb-recomputed", Outcome.FAIL, "the script counts 1.3 times the true bytes", "")
    assert outcomes(tmp_path, bpb_recomputed=bpb)["BYT001"] is Outcome.FAIL
    network = Probe("files-and-network", Outcome.REVIEW, "attempts", "", facts={"network_attempts": 2})
    assert outcomes(tmp_path, files_and_network=network)["NET001"] is Outcome.REVIEW


def test_a_number_that_is_no_mean_is_for_a_human_whatever_the_program_shows(tmp_path: Path) -> None:
    mean = Probe("plain-mean", Outcome.REVIEW, "printed 6.1, the plain mean is 6.2", "")
    assert outcomes(tmp_path, plain_mean=mean)["EVA005"] is Outcome.REVIEW
    assert outcomes(tmp_path, plain_mean=replace(mean, outcome=Outcome.INFO)) == {}


def test_bytes_that_a_total_leaves_out_count_where_they_can_decide(tmp_path: Path) -> None:
    size = Probe("artifact-bytes", Outcome.REVIEW, "the logged total is below the model", "", facts={"left_out": "model"})
    assert outcomes(tmp_path, artifact_bytes=size)["SIZ001"] is Outcome.REVIEW
    # Without a claimed total near the cap a script more or less decides nothing.
    code = replace(size, facts={"left_out": "code"})
    assert outcomes(tmp_path, artifact_bytes=code) == {}
    folder = tmp_path / "records" / "track_10min_16mb" / "2026-04-01_plain"
    for total, expected in ((15_990_000, {}), (15_999_000, {"SIZ001": Outcome.REVIEW})):
        log = f"seed:1337\nTotal submission size: {total} bytes\nfinal_roundtrip_exact val_loss:2.02 val_bpb:1.20000000\n"
        (folder / "train.log").write_text(log)
        assert outcomes(tmp_path, artifact_bytes=code) == expected


def test_an_effect_of_the_toy_size_accuses_nobody(tmp_path: Path) -> None:
    missing = Probe("evaluation-coverage", Outcome.REVIEW, "missing", "", facts={"missing": 1024, "missing_inside": 1024})
    prefix = Probe("prefix-perturbation", Outcome.FAIL, "moved", "")
    assert outcomes(tmp_path, evaluation_coverage=missing, prefix_perturbation=prefix) == {}


@pytest.mark.parametrize("stated", [Outcome.FAIL, Outcome.REVIEW])
def test_a_run_that_fits_more_than_one_rule_proves_no_more_than_the_program(tmp_path: Path, stated: Outcome) -> None:
    context = Context(load_submission(discover(write_folder(tmp_path, "plain"))[0]), load_challenge())
    steps = Probe("updates-before-artifact", Outcome.FAIL, "8 steps", "")
    context.memo[MEMO] = {steps.name: steps}
    rules = [
        replace(rule, check=lambda context: said(stated, "the text", READ)) for rule in load_rules() if rule.code == "VAL001"
    ]
    decision = deciding(rules, context)[0].decide(context)
    assert decision.outcome is stated
    assert len(decision.findings) == 1
    assert "8 steps" in decision.findings[0].message
