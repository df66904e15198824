"""Phases between the lines of a run, timed from outside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audits.reproduction.phases import charged, logged_seconds, measure_phases
from tests.audits.reproduction.samples import log_text, logged, rerun
from verifier.ledger.timeline import Budget


def test_phases_lie_between_the_lines_that_end_them() -> None:
    phases = measure_phases(rerun(log_text()), "final_int6_roundtrip")
    assert [phase.name for phase in phases] == ["set-up", "training", "quantization and packing", "evaluation"]
    assert [phase.seconds for phase in phases] == pytest.approx([20.0, 600.0, 30.0, 82.0])
    assert phases[-1].start + phases[-1].seconds == pytest.approx(rerun(log_text()).lines[-1][0])
    assert charged(phases, Budget.TRAIN) == pytest.approx(600.0)
    assert charged(phases, Budget.EVAL) == pytest.approx(82.0)


def test_calibration_on_training_data_counts_as_training() -> None:
    text = log_text().replace("Code size", "GPTQ:collected 66 Hessians from training data in 10.6s\nCode size")
    names = {phase.name: phase.budget for phase in measure_phases(rerun(text), None)}
    assert names["calibration"] is Budget.TRAIN


def test_what_comes_after_the_headline_counts_in_no_phase() -> None:
    text = log_text() + "phases: train=600.0s calibration=10.0s\nTotal submission size int6+brotli: 15005000 bytes\n"
    assert [phase.name for phase in measure_phases(rerun(text), None)][-1] == "evaluation"


def test_training_starts_after_the_line_above_it() -> None:
    """A clock that counts the warm-up too can't reach back before it."""
    text = log_text().replace("step:1000/20000 train", "warmup_step: 20/20\nstep:1000/20000 train")
    assert measure_phases(rerun(text), None)[0].seconds == pytest.approx(20.0)
    late = rerun(text)
    lines = tuple((60.0 if "warmup" in line else when, line) for when, line in late.lines)
    assert measure_phases(replace(late, lines=lines), None)[0].seconds == pytest.approx(60.0)


def test_a_run_without_steps_has_no_phases() -> None:
    assert measure_phases(rerun("loading\nTraceback (most recent call last):\n"), None) == ()
    assert measure_phases(rerun(""), None) == ()


def test_what_a_log_says_of_the_budgets() -> None:
    run = logged(log_text())
    assert logged_seconds(run, run.headline, Budget.TRAIN) == pytest.approx(600.0)
    assert logged_seconds(run, run.headline, Budget.EVAL) == pytest.approx(80.0)
