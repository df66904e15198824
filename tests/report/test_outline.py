"""What all formats share: sections, counts, lanes, numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verifier.evidence import Location
from verifier.ledger.timeline import Budget
from verifier.report import outline, wording
from verifier.rule import Measured, Outcome

from . import sample


def test_rule_without_finding_speaks_by_its_reason() -> None:
    base = sample.failing_submission()
    found = outline.sections(replace(base, findings=()), Outcome.FAIL)
    assert [(section.result.code, section.findings) for section in found] == [("TIM003", ()), ("SIG003", ()), ("CLM007", ())]


def test_findings_stand_under_their_own_outcome() -> None:
    """A failing rule's review is a review."""
    base = sample.failing_submission()
    review = sample.finding("TIM003", Outcome.REVIEW, "seed 7 is unclear", Location("a.log", 1))
    found = outline.sections(replace(base, findings=(*base.findings, review)), Outcome.REVIEW)
    assert [section.result.code for section in found] == ["CLM002", "TIM003"]
    assert found[1].findings == (review,)


def test_counts_leave_out_what_was_not_examined() -> None:
    counts = outline.outcome_counts(sample.failing_submission())
    assert list(counts) == [
        *(Outcome.FAIL, Outcome.REVIEW, Outcome.NOT_AVAILABLE, Outcome.ERROR),
        *(Outcome.INFO, Outcome.PASS, Outcome.NOT_APPLICABLE),
    ]
    assert counts[Outcome.NOT_AVAILABLE] == 2


def test_unchecked_rules_with_one_reason_share_a_line() -> None:
    rows = outline.unchecked(sample.failing_submission())
    assert [row.codes for row in rows] == [("COD004",), ("MIX001", "VAL005"), (), (), ("CAU002", "EVA003")]


def test_lanes_keep_what_the_log_does_not_itemise() -> None:
    timeline = replace(sample.make_timeline(42), eval_seconds=520.0, eval_is_total=True)
    train, evaluation, neither = outline.lanes(timeline)
    assert (train.budget, round(train.total, 1), train.rest) == (Budget.TRAIN, 638.1, 0.0)
    assert (round(evaluation.total, 1), round(evaluation.rest, 1)) == (520.0, 26.1)
    assert round(neither.total, 1) == 78.2


def test_conflicts_are_between_run_and_command() -> None:
    assert [row.name for row in outline.conflicts(sample.failing_submission())] == ["TTT_ENABLED"]


@pytest.mark.parametrize(
    ("claimed", "logged", "differs"),
    [("1.0811", "1.08112345", False), ("1.0812", "1.08112345", True), (None, "1.08", False), ("about 1.1", "1.08", False)],
)
def test_claims_are_compared_within_their_digits(claimed: str | None, logged: str, differs: bool) -> None:
    row = replace(sample.make_seed_row(42), claimed_bpb=claimed, val_bpb=logged)
    assert outline.claim_differs(row) is differs


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "< 0.0001"), (0.00012, "0.00012"), (0.0312, "0.031"), (0.5, "0.500"), (1.0, "> 0.999")],
)
def test_p_values(value: float | None, text: str) -> None:
    assert wording.probability(value) == text


def test_quantities() -> None:
    assert wording.quantity(Measured(16_057_284, "bytes")) == "16,057,284 bytes"
    assert wording.quantity(Measured(602.60, "s")) == "602.6 s"
    assert wording.quantity(Measured(float("nan"), "s")) == "nan s"
