"""Rules are isolated, capped and never pass unexamined."""

from __future__ import annotations

import pytest

from tests.builders import context, rule
from verifier.engine.run import decide_record_claim, decide_verdict, run_rules
from verifier.evidence import Location
from verifier.report.model import RecordClaim, RuleResult, Verdict
from verifier.rule import Decision, Finding, Level, Outcome, Tier
from verifier.submission.submission import Track


def result(outcome: Outcome, level: Level = Level.ERROR, tier: Tier = Tier.STATIC) -> RuleResult:
    return RuleResult("AAA001", "a-rule", outcome, level, tier, "")


def finding(outcome: Outcome, path: str = "a", line: int = 1, message: str = "m") -> Finding:
    return Finding(outcome, message, (Location(path, line, excerpt="text"),))


def test_a_rule_that_raises_is_an_error_and_the_others_still_answer() -> None:
    def broken(_: object) -> Decision:
        raise RuntimeError("no such thing")

    run = run_rules(context(), [rule("AAA001", broken), rule("AAA002", lambda _: Decision.passed("looked"))])
    assert [(one.code, one.outcome) for one in run.results] == [("AAA001", Outcome.ERROR), ("AAA002", Outcome.PASS)]
    assert "no such thing" in run.results[0].reason


def test_rules_of_other_tiers_and_unselected_rules_are_not_examined() -> None:
    rules = [
        rule("AAA001", lambda _: Decision.passed("x"), tier=Tier.DYNAMIC),
        rule("AAA002", lambda _: Decision.passed("x")),
        rule("AAA003", lambda _: Decision.passed("x")),
    ]
    run = run_rules(context(), rules, selected={"AAA003"})
    assert run.not_examined == ("AAA001", "AAA002")
    assert [one.outcome for one in run.results] == [Outcome.NOT_AVAILABLE, Outcome.NOT_AVAILABLE, Outcome.PASS]


def test_time_used_up_is_not_available_and_never_pass() -> None:
    ticks = iter([0.0, 1.0, 99.0])
    rules = [rule("AAA001", lambda _: Decision.passed("x")), rule("AAA002", lambda _: Decision.passed("x"))]
    run = run_rules(context(), rules, seconds=30.0, clock=lambda: next(ticks))
    assert [one.outcome for one in run.results] == [Outcome.PASS, Outcome.NOT_AVAILABLE]


def test_a_rule_capped_at_review_never_fails() -> None:
    capped = rule("AAA001", lambda _: Decision.of([finding(Outcome.FAIL)]), at_most=Outcome.REVIEW)
    run = run_rules(context(), [capped])
    assert run.results[0].outcome is Outcome.REVIEW
    assert [one.outcome for one in run.findings] == [Outcome.REVIEW]


@pytest.mark.parametrize(
    ("track", "expected"),
    [(Track.TEN_MINUTES, Outcome.FAIL), (Track.NON_RECORD, Outcome.NOT_APPLICABLE), (None, Outcome.NOT_APPLICABLE)],
)
def test_record_track_rules_apply_in_the_record_track_only(track: Track | None, expected: Outcome) -> None:
    budget = rule("AAA001", lambda _: Decision.of([finding(Outcome.FAIL)]), record_track_only=True)
    assert run_rules(context(track=track), [budget]).results[0].outcome is expected


def test_findings_are_in_a_total_order_whatever_the_rules_order() -> None:
    def many(_: object) -> Decision:
        return Decision.of(
            [finding(Outcome.INFO), finding(Outcome.FAIL, "b"), finding(Outcome.FAIL, "a", 9), finding(Outcome.FAIL, "a", 2)]
        )

    rules = [rule("AAA001", many), rule("AAA002", lambda _: Decision.of([finding(Outcome.REVIEW)]))]
    run = run_rules(context(), rules)
    assert [(one.outcome.value, one.locations[0].path, one.locations[0].line) for one in run.findings] == [
        ("fail", "a", 2),
        ("fail", "a", 9),
        ("fail", "b", 1),
        ("review", "a", 1),
        ("info", "a", 1),
    ]


def test_a_finding_needs_evidence_and_a_judging_outcome() -> None:
    with pytest.raises(ValueError, match="without evidence"):
        Finding(Outcome.FAIL, "m", ())
    with pytest.raises(ValueError, match="fail, review or info"):
        Finding(Outcome.PASS, "m", (Location("a"),))


def test_the_fingerprint_survives_shifted_lines_and_not_other_evidence() -> None:
    assert finding(Outcome.FAIL, line=1).fingerprint == finding(Outcome.FAIL, line=200).fingerprint
    assert finding(Outcome.FAIL, "a").fingerprint != finding(Outcome.FAIL, "b").fingerprint


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result(Outcome.PASS), result(Outcome.INFO), result(Outcome.NOT_APPLICABLE)], Verdict.ELIGIBLE),
        ([result(Outcome.PASS), result(Outcome.FAIL)], Verdict.INELIGIBLE),
        ([result(Outcome.FAIL), result(Outcome.ERROR)], Verdict.INELIGIBLE),
        ([result(Outcome.PASS), result(Outcome.REVIEW)], Verdict.UNDETERMINED),
        ([result(Outcome.PASS), result(Outcome.NOT_AVAILABLE)], Verdict.UNDETERMINED),
        ([result(Outcome.PASS), result(Outcome.ERROR)], Verdict.UNDETERMINED),
        ([result(Outcome.PASS), result(Outcome.FAIL, Level.WARNING), result(Outcome.FAIL, Level.NOTE)], Verdict.ELIGIBLE),
        ([result(Outcome.PASS), result(Outcome.FAIL, Level.RECORD)], Verdict.ELIGIBLE),
        ([result(Outcome.PASS), result(Outcome.NOT_AVAILABLE, tier=Tier.DYNAMIC)], Verdict.ELIGIBLE),
        ([], Verdict.UNDETERMINED),
    ],
)
def test_verdict(results: list[RuleResult], expected: Verdict) -> None:
    assert decide_verdict(results) is expected


@pytest.mark.parametrize(
    ("record_outcome", "verdict", "claimed", "expected"),
    [
        (Outcome.PASS, Verdict.ELIGIBLE, True, RecordClaim.SUPPORTED),
        (Outcome.INFO, Verdict.ELIGIBLE, True, RecordClaim.SUPPORTED),
        (Outcome.PASS, Verdict.UNDETERMINED, True, RecordClaim.UNDECIDED),
        (Outcome.REVIEW, Verdict.ELIGIBLE, True, RecordClaim.UNDECIDED),
        (Outcome.FAIL, Verdict.UNDETERMINED, True, RecordClaim.UNSUPPORTED),
        (Outcome.PASS, Verdict.INELIGIBLE, True, RecordClaim.UNSUPPORTED),
        (Outcome.FAIL, Verdict.INELIGIBLE, False, RecordClaim.NOT_CLAIMED),
    ],
)
def test_record_claim(record_outcome: Outcome, verdict: Verdict, claimed: bool, expected: RecordClaim) -> None:
    assert decide_record_claim([result(record_outcome, Level.RECORD)], verdict, claimed) is expected
