"""A re-run decides rules only where it is one of the record itself, and then never against it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audits.reproduction.command import contradicts
from audits.reproduction.compare import Conditions, Pair, compare
from audits.reproduction.page import Reproduction
from audits.reproduction.phases import measure_phases
from audits.reproduction.rules import CHECKS, MEMO, deciding
from tests.audits.reproduction.samples import ELSEWHERE, FULL, MODEL_BYTES, SCRIPT_BYTES, TOY, log_text, pair
from tests.builders import context
from verifier.engine.registry import load_rules
from verifier.evidence import Location
from verifier.rule import Decision, Finding, Outcome, Tier
from verifier.submission.logs.reader import read_log


def outcomes(one: Pair, conditions: Conditions = FULL) -> dict[str, Outcome]:
    lines = compare([one], [1.08], conditions)
    found = Reproduction("x", "own", conditions, None, (one,), lines, ())
    asked = context()
    asked.memo[MEMO] = found
    return {code: check(asked).outcome for code, check in CHECKS.items()}


def test_a_run_within_the_limits_passes_what_it_measured() -> None:
    assert outcomes(pair(log_text(), log_text())) == {
        "TIM001": Outcome.PASS, "TIM002": Outcome.PASS, "SIZ001": Outcome.PASS, "EVA003": Outcome.NOT_AVAILABLE,
    }  # fmt: skip


def test_only_the_script_s_word_between_training_and_score_passes_nothing() -> None:
    """Sizes that are printed again after eleven minutes, just before the score, may hide an evaluation."""
    late = log_text().splitlines()
    sizes = [line for line in late if "submission size" in line]
    assert sizes
    again = pair(log_text(), log_text())
    lines = again.rerun.lines
    at = next(number for number, (_, text) in enumerate(lines) if "submission size" in text)
    moved = tuple((when + 700.0 if number >= at else when, text) for number, (when, text) in enumerate(lines))
    rerun = replace(again.rerun, lines=moved)
    assert outcomes(replace(again, rerun=rerun, phases=measure_phases(rerun, None)))["TIM002"] is Outcome.NOT_AVAILABLE


def test_one_seed_of_several_passes_nothing() -> None:
    one = pair(log_text(), log_text())
    lines = compare([one], [1.08], FULL)
    asked = context()
    logs = tuple(read_log(f"train_seed{seed}.log", log_text(seed).encode()) for seed in (42, 43))
    asked = replace(asked, submission=replace(asked.submission, logs=logs))
    asked.memo[MEMO] = Reproduction("x", "own", FULL, None, (one,), lines, ())
    assert {CHECKS[code](asked).outcome for code in ("TIM001", "TIM002", "SIZ001")} == {Outcome.NOT_AVAILABLE}


def test_a_run_beyond_a_limit_is_for_a_human() -> None:
    assert outcomes(pair(log_text(), log_text(), step_ms=120.0))["TIM001"] is Outcome.REVIEW
    model = 16_000_000
    fat = pair(log_text(), log_text(model=model), left={"train_gpt.py": SCRIPT_BYTES, "m": model})
    assert outcomes(fat)["SIZ001"] is Outcome.REVIEW
    assert outcomes(pair(log_text(), log_text(bpb=1.1)))["EVA003"] is Outcome.REVIEW


@pytest.mark.parametrize("conditions", [TOY, ELSEWHERE, replace(FULL, own_script=False)])
def test_a_run_of_something_else_decides_nothing(conditions: Conditions) -> None:
    worse = pair(log_text(), log_text(bpb=3.0), left={"train_gpt.py": SCRIPT_BYTES, "m": MODEL_BYTES}, step_ms=130.0)
    assert set(outcomes(worse, conditions).values()) == {Outcome.NOT_AVAILABLE}
    assert set(outcomes(pair(log_text(), log_text(), failure="it crashed")).values()) == {Outcome.NOT_AVAILABLE}


def test_the_score_contradicts_only_where_it_can() -> None:
    for conditions, wanted in ((FULL, True), (TOY, False), (ELSEWHERE, False), (replace(FULL, own_script=False), False)):
        one = pair(log_text(), log_text(bpb=1.2))
        found = Reproduction("x", "own", conditions, None, (one,), compare([one], [1.08], conditions), ())
        assert contradicts(found) is wanted


@pytest.mark.parametrize("shown", [Outcome.FAIL, Outcome.REVIEW])
def test_a_re_run_clears_nothing_that_the_logs_show(shown: Outcome) -> None:
    accusing = Decision.of([Finding(shown, "the log shows 620 s", (Location("train.log", 7),))])
    rule = replace(next(one for one in load_rules() if one.code == "TIM001"), check=lambda context: accusing)
    one = pair(log_text(), log_text())
    asked = context()
    asked.memo[MEMO] = Reproduction("x", "own", FULL, None, (one,), compare([one], [1.08], FULL), ())
    assert CHECKS["TIM001"](asked).outcome is Outcome.PASS
    assert deciding([rule])[0].decide(asked).outcome is shown


def test_only_these_rules_change() -> None:
    before, after = load_rules(), deciding(load_rules())
    changed = {one.code for one, other in zip(before, after, strict=True) if one.check is not other.check}
    assert changed == set(CHECKS)
    assert {rule.tier for rule in after if rule.code in CHECKS} == {Tier.DYNAMIC}
