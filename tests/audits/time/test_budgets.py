"""TIM001 and TIM002, each violation beside its legal twin."""

from __future__ import annotations

import pytest

from audits.time.budgets import EVAL_OVER_BUDGET, TRAIN_OVER_BUDGET
from tests.audits.time.build import decide
from tests.submission.logs.samples import classic, modern
from verifier.rule import Outcome


@pytest.mark.parametrize(
    ("train_ms", "outcome"),
    [
        (588_044, Outcome.PASS),
        (600_000, Outcome.PASS),
        (600_032, Outcome.INFO),
        (601_000, Outcome.INFO),
        (601_153, Outcome.FAIL),
        (3_600_100, Outcome.FAIL),
    ],
)
def test_training_clock(train_ms: int, outcome: Outcome) -> None:
    decision = decide(TRAIN_OVER_BUDGET, classic(train_ms=train_ms))
    assert decision.outcome is outcome
    for finding in decision.findings:
        assert "stopping_early" in finding.locations[0].excerpt


def test_one_seed_over_the_budget_is_enough() -> None:
    decision = decide(TRAIN_OVER_BUDGET, classic(42), classic(7, train_ms=612_000))
    assert decision.outcome is Outcome.FAIL
    assert [finding.message.split(" ")[1] for finding in decision.findings if finding.outcome is Outcome.FAIL] == ["7"]


def test_other_hardware_proves_no_time_on_the_challenges() -> None:
    assert decide(TRAIN_OVER_BUDGET, classic(train_ms=4_800_000, world_size=1)).outcome is Outcome.REVIEW


def test_no_clock_is_not_available() -> None:
    assert decide(TRAIN_OVER_BUDGET).outcome is Outcome.NOT_AVAILABLE
    assert decide(TRAIN_OVER_BUDGET, "legal_ttt val_loss:1.9 val_bpb:1.1\n").outcome is Outcome.NOT_AVAILABLE
    mixed = decide(TRAIN_OVER_BUDGET, classic(42), "seed:7\nlegal_ttt val_loss:1.9 val_bpb:1.1\n")
    assert mixed.outcome in (Outcome.INFO, Outcome.NOT_AVAILABLE)


@pytest.mark.parametrize(
    ("tail", "outcome"),
    [
        ("legal_ttt val_loss:1.91 val_bpb:1.11 eval_time:688000ms", Outcome.FAIL),
        ("legal_ttt val_loss:1.91 val_bpb:1.11 eval_time:430000ms", Outcome.PASS),
        (
            "sliding val_loss:1.93 val_bpb:1.13 eval_time:190000ms\nlegal_ttt val_loss:1.91 val_bpb:1.11 eval_time:430000ms",
            Outcome.INFO,
        ),
        ("ttt:done elapsed=405.9s\nfinal val_loss:1.91 val_bpb:1.11 eval_time:196900ms", Outcome.REVIEW),
        ("ttt:done elapsed=505.9s\nfinal val_loss:1.91 val_bpb:1.11 eval_time:196900ms", Outcome.FAIL),
        ("ttt:done elapsed=385.5s\nttt:elapsed=385.5s\nfinal val_loss:1.91 val_bpb:1.11 eval_time:190000ms", Outcome.PASS),
        ("legal_ttt val_loss:1.91 val_bpb:1.11 eval_time:430000ms\ntotal_eval_time:651.0s", Outcome.FAIL),
    ],
)
def test_evaluation(tail: str, outcome: Outcome) -> None:
    assert decide(EVAL_OVER_BUDGET, classic(tail=tail)).outcome is outcome


def test_a_total_that_leaves_a_precomputation_out_is_for_the_reviewer() -> None:
    outside = (
        "ngram_tilt:precompute_outside_timer_done elapsed=164.5s\nquantized val_loss:2.34 val_bpb:1.07 eval_time:13439ms\n"
        "quantized_ttt_phased val_loss:2.3 val_bpb:1.06 eval_time:475600ms\ntotal_eval_time:475.6s"
    )
    decision = decide(EVAL_OVER_BUDGET, modern(tail=outside))
    assert decision.outcome is Outcome.REVIEW
    assert decision.findings[0].measured is not None
    assert decision.findings[0].measured.value == pytest.approx(640.1)
    inside = outside.replace("elapsed=164.5s", "elapsed=12.0s")
    assert decide(EVAL_OVER_BUDGET, modern(tail=inside)).outcome is not Outcome.REVIEW


def test_an_evaluation_without_a_clock_is_not_available() -> None:
    text = "\n".join(line.split(" eval_time")[0] for line in classic().splitlines())
    assert decide(EVAL_OVER_BUDGET, text).outcome is Outcome.NOT_AVAILABLE


def test_slow_evaluation_on_one_gpu_is_for_the_reviewer() -> None:
    text = classic(world_size=1, tail="legal_ttt val_loss:1.91 val_bpb:1.11 eval_time:1856000ms")
    assert decide(EVAL_OVER_BUDGET, text).outcome is Outcome.REVIEW


def test_a_table_built_beside_the_evaluation_proves_nothing() -> None:
    tail = "ngram_cache: built in 413.0s\nngram_eval val_loss:1.0 val_bpb:0.6 eval_time:331900ms"
    assert decide(EVAL_OVER_BUDGET, classic(tail=tail)).outcome is Outcome.REVIEW
    shipped = tail.replace("ngram_cache", "ngram_artifact")
    assert decide(EVAL_OVER_BUDGET, classic(tail=shipped)).outcome is Outcome.PASS


def test_a_score_from_an_evaluation_log_takes_the_clock_of_its_training_log() -> None:
    evaluation = "seed:42\nlegal_ttt val_loss:1.9 val_bpb:1.1 eval_time:430000ms\n"
    assert decide(TRAIN_OVER_BUDGET, evaluation, classic(42, train_ms=612_000)).outcome is Outcome.FAIL
    assert decide(TRAIN_OVER_BUDGET, evaluation, classic(42)).outcome is Outcome.INFO
