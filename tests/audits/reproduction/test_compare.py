"""Comparison of logs with re-runs: equal runs agree, others differ by what is theirs, and what can't be alike is not compared."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from audits.reproduction.compare import Conditions, Judgement, Line, compare, welch
from tests.audits.reproduction.samples import ELSEWHERE, FULL, MODEL_BYTES, SCRIPT_BYTES, TOY, log_text, pair


def judged(lines: tuple[Line, ...], subject: str) -> list[Judgement]:
    return [line.judgement for line in lines if line.subject == subject]


def test_a_run_that_repeats_its_log_agrees_in_all() -> None:
    lines = compare([pair(log_text(), log_text())], [1.08], FULL)
    assert {line.judgement for line in lines} == {Judgement.AGREES}
    assert {line.subject for line in lines} >= {
        "headline metric", "order of steps", "steps", "time per step", "sizes of the re-run", "artifact", "time: training", "time: evaluation",
        "training clock of the re-run", "training loss", "validation loss in training", "final BPB",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "subject"),
    [
        ({"bpb": 1.10}, "final BPB"),
        ({"shift": 0.2}, "training loss"),
        ({"shift": 0.2}, "validation loss in training"),
        ({"steps": 5000}, "steps"),
        ({"model": 14_000_000}, "artifact"),
        ({"label": "final_other"}, "headline metric"),
    ],
)
def test_what_is_not_repeated_differs(changed: dict[str, float], subject: str) -> None:
    text = log_text(**changed)  # type: ignore[arg-type]
    model = int(changed.get("model", MODEL_BYTES))
    lines = compare([pair(log_text(), text, left={"train_gpt.py": SCRIPT_BYTES, "m": model})], [1.08], FULL)
    assert judged(lines, subject) == [Judgement.DIFFERS]
    assert judged(lines, "order of steps") == [Judgement.AGREES]


def test_a_slower_run_differs_in_pace() -> None:
    lines = compare([pair(log_text(), log_text(step_ms=130.0), step_ms=130.0)], [1.08], FULL)
    assert judged(lines, "time per step") == judged(lines, "time: training") == [Judgement.DIFFERS]
    assert judged(lines, "final BPB") == [Judgement.AGREES]


def test_a_clock_that_runs_slow_is_told() -> None:
    """The script says 100 ms a step; from outside it took 140."""
    lines = compare([pair(log_text(), log_text(), step_ms=140.0)], [1.08], FULL)
    assert judged(lines, "training clock of the re-run") == [Judgement.DIFFERS]


@pytest.mark.parametrize("conditions", [TOY, ELSEWHERE])
def test_another_size_or_machine_is_never_held_against_a_record(conditions: Conditions) -> None:
    lines = compare([pair(log_text(), log_text(bpb=4.0, shift=2.0, steps=3000))], [1.08], conditions)
    assert Judgement.DIFFERS not in {line.judgement for line in lines}
    for subject in ("final BPB", "training loss", "steps", "artifact", "time: training"):
        assert judged(lines, subject) == [Judgement.NOT_COMPARABLE]
    assert judged(lines, "sizes of the re-run") == [Judgement.AGREES]


def test_the_reference_is_compared_in_scores_and_not_in_pace() -> None:
    lines = compare([pair(log_text(), log_text(step_ms=200.0))], [1.08], replace(FULL, own_script=False))
    assert judged(lines, "time per step") == judged(lines, "headline metric") == [Judgement.NOT_COMPARABLE]
    assert judged(lines, "final BPB") == [Judgement.AGREES]


def test_sizes_are_counted_to_the_byte() -> None:
    one_off = compare([pair(log_text(), log_text(), left={"train_gpt.py": SCRIPT_BYTES, "m": MODEL_BYTES + 1})], [1.08], FULL)
    (line,) = [line for line in one_off if line.subject == "sizes of the re-run"]
    assert line.judgement is Judgement.NOT_COMPARABLE
    packed = log_text().replace(f"{MODEL_BYTES + SCRIPT_BYTES} bytes", f"{MODEL_BYTES + 1200} bytes")
    (line,) = [one for one in compare([pair(log_text(), packed)], [1.08], FULL) if one.subject == "sizes of the re-run"]
    assert (line.judgement, line.measured) == (Judgement.NOT_COMPARABLE, MODEL_BYTES + SCRIPT_BYTES)


def test_a_run_that_did_not_end_is_one_line() -> None:
    (line,) = compare([pair(log_text(), log_text(), failure="more than 20 s of wall time")], [1.08], FULL)
    assert line.judgement is Judgement.NOT_COMPARABLE
    assert "more than 20 s" in line.reason


def test_several_seeds_are_tested_together() -> None:
    seeds = {1: 1.0801, 2: 1.0805, 3: 1.0803}
    same = compare([pair(log_text(s, b), log_text(s, b + 0.0002), s) for s, b in seeds.items()], [*seeds.values()], FULL)
    assert set(judged(same, "final BPB")) == {Judgement.AGREES}
    worse = compare([pair(log_text(s, b), log_text(s, b + 0.02), s) for s, b in seeds.items()], [*seeds.values()], FULL)
    assert [line.judgement for line in worse if line.subject == "final BPB" and line.seed is None] == [Judgement.DIFFERS]
    noisy = [pair(log_text(1, 1.08), log_text(1, 1.05), 1), pair(log_text(2, 1.12), log_text(2, 1.16), 2)]
    over = [line for line in compare(noisy, [1.08, 1.12], FULL) if line.subject == "final BPB" and line.seed is None]
    assert [line.judgement for line in over] != [Judgement.DIFFERS]


def test_steps_that_fall_back_are_told() -> None:
    text = log_text().replace("step:3000/", "step:500/")
    assert judged(compare([pair(log_text(), text)], [1.08], TOY), "order of steps") == [Judgement.DIFFERS]


values = st.lists(st.floats(0.5, 2.0), min_size=2, max_size=6).filter(lambda found: max(found) - min(found) > 1e-3)


@given(values, values)
def test_welch_is_the_textbook_one(one: list[float], other: list[float]) -> None:
    assert welch(one, other) == pytest.approx(stats.ttest_ind(one, other, equal_var=False).pvalue, abs=1e-9)


@given(st.floats(0.9, 1.3), st.integers(1, 8), st.floats(20, 300))
def test_equal_runs_agree_whatever_they_are(bpb: float, thousands: int, step_ms: float) -> None:
    text = log_text(bpb=bpb, steps=1000 * thousands, step_ms=step_ms)
    lines = compare([pair(text, text, step_ms=step_ms)], [bpb], FULL)
    assert Judgement.DIFFERS not in {line.judgement for line in lines}
