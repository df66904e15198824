"""Phases of a run: what counts against which budget, and which of several clocks are one stretch."""

from __future__ import annotations

import pytest

from tests.submission.logs.samples import classic, modern
from verifier.ledger.timeline import Budget, Timeline, build_timeline, training_data_after_clock
from verifier.submission.logs.model import PhaseKind, Run
from verifier.submission.logs.reader import read_log


def read_run(text: str) -> Run:
    (run,) = read_log("train.log", text.encode()).runs
    return run


def timeline(text: str) -> Timeline:
    return build_timeline(read_run(text))


def phases(found: Timeline, kind: PhaseKind) -> list[tuple[float, Budget, bool]]:
    return [(round(phase.seconds, 3), phase.budget, phase.diagnostic) for phase in found.phases if phase.kind is kind]


def test_a_modern_run() -> None:
    found = timeline(modern())
    assert found.train_seconds == pytest.approx(588.044)
    assert found.reserve_seconds == 12.0
    assert found.calibration_seconds == 11.3
    assert found.eval_seconds == pytest.approx(79.162)
    assert found.diagnostic_seconds == pytest.approx(1.988 + 8.340)
    calibration = next(phase for phase in found.phases if phase.kind is PhaseKind.CALIBRATION)
    assert calibration.start == pytest.approx(588.044 + 1.988)
    assert calibration.end == pytest.approx(601.332)
    assert (calibration.budget, calibration.reads) == (Budget.TRAIN, "train")
    assert [phase.source.line for phase in found.phases] == sorted(phase.source.line or 0 for phase in found.phases)


def test_self_generated_calibration_counts_against_no_budget() -> None:
    body = "gptq:generating calibration sequences\ngptq:generated 64 sequences in 205392ms\ngptq:collecting hessians\ngptq:collected 68 hessians"
    run = read_run(classic(body=body))
    found = build_timeline(run)
    assert phases(found, PhaseKind.SELF_GENERATION) == [(205.392, Budget.NONE, False)]
    assert found.calibration_seconds is None
    assert training_data_after_clock(run) == ()


def test_adaptation_with_a_clock_of_its_own_is_on_the_path() -> None:
    body = (
        "prequant_ttt:start epochs=21 lr=0.0005\nprequant_ttt:epoch 1/21 val_bpb=1.084492 lr=0.0005 time=44.6s\n"
        "prequant_ttt:done in 378.9s (8 gpus)\npost-prequant-ttt val_loss:2.25063651 val_bpb:1.02845306 eval_time:7367ms\n"
        "GPTQ:collecting Hessians from calibration data...\nGPTQ:collected 67 Hessians in 49.9s"
    )
    found = timeline(modern(body=body))
    assert phases(found, PhaseKind.ADAPT) == [(378.9, Budget.EVAL, False)]
    assert found.eval_seconds == pytest.approx(378.9 + 79.162)
    assert not found.eval_is_total


def test_clocks_of_one_stretch_are_one_phase() -> None:
    tail = (
        "ttt_sliding:done val_loss=1.950891 val_bpb=1.090641 elapsed=429.5s\n"
        "legal_ttt val_loss:1.9509 val_bpb:1.0906 eval_time:429875ms\nlegal_ttt_exact val_loss:1.95089092 val_bpb:1.09064082"
    )
    found = timeline(classic(tail=tail))
    assert found.eval_seconds == pytest.approx(429.875)
    assert phases(found, PhaseKind.EVAL) == [
        (2.15, Budget.NONE, True),
        (429.875, Budget.EVAL, False),
    ]


def test_a_clock_printed_twice_counts_once() -> None:
    tail = "ttt:done elapsed=385.5s\nttt:elapsed=385.5s\nfinal_int6_sliding_window val_loss:1.9 val_bpb:1.1 eval_time:78700ms"
    assert timeline(classic(tail=tail)).eval_seconds == pytest.approx(464.2)


def test_parts_of_a_two_pass_evaluation_lie_within_its_clock() -> None:
    tail = (
        "ngram_two_pass: Pass 1 done val_bpb=1.088995 tokens_scored=7797440 time=99.7s\nngram_two_pass: cache built in 59.8s\n"
        "ngram_two_pass: Pass 2 done val_bpb=0.195173 improvement=0.893823 time=38.4s\nngram_two_pass: total time=197.9s\n"
        "ngram_two_pass val_loss:0.3491 val_bpb:0.1952 eval_time:198058ms"
    )
    found = timeline(classic(tail=tail))
    assert found.eval_seconds == pytest.approx(198.058)
    assert found.path_seconds == pytest.approx(198.058)


def test_evaluations_on_the_way_are_diagnostics() -> None:
    tail = "final_int6_sliding_window val_loss:1.93 val_bpb:1.14 eval_time:300000ms\nlegal_ttt val_loss:1.90 val_bpb:1.12 eval_time:450000ms"
    found = timeline(classic(tail=tail))
    assert found.eval_seconds == pytest.approx(450.0)
    assert found.diagnostic_seconds == pytest.approx(302.15)


def test_the_logs_own_total_is_the_path() -> None:
    tail = "quantized_ttt_phased val_loss:2.3 val_bpb:1.06 eval_time:475600ms\ntotal_eval_time:475.6s"
    found = timeline(modern(tail=tail))
    assert found.eval_seconds == pytest.approx(475.6)
    assert found.eval_is_total
    assert found.path_seconds == pytest.approx(475.6)


def test_precomputation_outside_the_total_shows_in_the_path() -> None:
    tail = (
        "ngram_tilt:precompute_outside_timer_done elapsed=164.53s total_targets=47851520\n"
        "quantized val_loss:2.34 val_bpb:1.07 eval_time:13439ms\n"
        "quantized_ttt_phased val_loss:2.3 val_bpb:1.06 eval_time:475600ms\ntotal_eval_time:475.6s"
    )
    found = timeline(modern(tail=tail))
    assert found.eval_seconds == pytest.approx(475.6)
    assert found.path_seconds == pytest.approx(640.13)


def test_the_claimed_metric_may_be_another_than_the_last() -> None:
    run = read_run(classic(tail="legal_ttt val_loss:1.90 val_bpb:1.12 eval_time:450000ms"))
    first = next(metric for metric in run.final_metrics if metric.label == "final_int8_zlib_roundtrip")
    assert build_timeline(run, first).eval_seconds == pytest.approx(2.15)
    assert build_timeline(run).eval_seconds == pytest.approx(450.0)


def test_an_evaluation_log_has_no_training() -> None:
    found = timeline("legal_ttt val_loss:1.9 val_bpb:1.1 eval_time:430000ms\n")
    assert found.train_seconds is None
    assert found.eval_seconds == 430.0


def test_nothing_printed_is_none_and_not_zero() -> None:
    found = timeline("seed:42\n")
    assert (found.train_seconds, found.eval_seconds, found.calibration_seconds, found.reserve_seconds) == (None, None, None, None)
    assert found.phases == ()


def test_running_clocks_are_no_phases() -> None:
    tail = (
        "tttg: c1/111 lr:0.001000 t:0.3s\ntttg: c15/111 lr:0.000961 t:120.4s\nttpr: phase:1/1 t:270.5s\n"
        "ttt_chunk [401/474] bpb=1.121880 time=250.8s\nquantized_ttt_phased val_loss:2.3 val_bpb:1.06 eval_time:475600ms\n"
        "total_eval_time:475.6s"
    )
    assert timeline(modern(tail=tail)).path_seconds == pytest.approx(475.6)
