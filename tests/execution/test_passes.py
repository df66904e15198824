"""The pass behind the printed number is rebuilt, or there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.execution.records import Script
from verifier.execution.passes import Run

WHOLE = range(1, 4097)


def test_what_the_script_counted_is_the_pass(tmp_path: Path) -> None:
    script = Script.on()
    script.score(WHOLE)
    script.print_mean(WHOLE)
    script.end()
    final = script.write(tmp_path).final
    assert final is not None
    assert final.how == "counted"
    assert final.positions.tolist() == list(WHOLE)


def test_an_earlier_pass_is_not_taken_for_the_final_one(tmp_path: Path) -> None:
    script = Script.on()
    script.score(WHOLE, shift=1.0)
    script.print_mean(WHOLE)
    script.score(WHOLE)
    script.print_mean(WHOLE)
    script.end()
    run = script.write(tmp_path)
    assert run.final is not None
    assert run.final.indices.min() == len(WHOLE)


def test_windows_that_overlap_count_each_target_once(tmp_path: Path) -> None:
    """Sums that were not seen: the first score of each target explains the number."""
    script = Script.on()
    for start in range(1, 4097, 64):
        script.score(range(max(1, start - 64), min(4097, start + 64)), count=False)
    script.counted = list(range(0))
    expected = [7 + (position * 37 % 101) / 1000 for position in WHOLE]
    script.print(float(np.mean(expected)), 6.0)
    script.end()
    final = script.write(tmp_path).final
    assert final is not None
    assert final.how == "first-scores"
    assert sorted(final.positions.tolist()) == list(WHOLE)


def test_a_number_that_does_not_follow_has_no_pass(tmp_path: Path) -> None:
    script = Script.on()
    script.score(WHOLE)
    script.print(5.0, 5.0)
    script.end()
    run = script.write(tmp_path)
    assert run.printed is not None
    assert run.final is None


def test_without_a_printed_number_there_is_no_pass(tmp_path: Path) -> None:
    script = Script.on()
    script.score(WHOLE)
    script.end()
    assert script.write(tmp_path).printed is None


def test_losses_mixed_outside_of_torch_are_found_in_the_script_s_logarithms(tmp_path: Path) -> None:
    script = Script.on()
    mixed: list[float] = []
    for start in range(1, 4097, 512):
        script.score(range(start, start + 512), count=False)
        part = [-5.0 - position * 31 % 97 / 500 for position in range(start, start + 512)]
        script.logarithms(part)
        mixed += part
    script.logarithms([0.6931471805599453], "train_gpt.py:40 report")
    script.print(-float(np.mean(mixed)), 5.0)
    script.end()
    final = script.write(tmp_path).final
    assert final is not None
    assert final.how == "logarithms"
    assert final.positions.tolist() == list(WHOLE)
    assert (final.losses == -np.array(mixed)).all()


def test_the_order_in_which_losses_left_torch_is_that_of_the_logarithms(tmp_path: Path) -> None:
    """Overlapping windows whose last one scores 64 targets again: no sum and no first score has that many."""
    script = Script.on()
    mixed: list[float] = []
    start, _ = script.score(WHOLE, count=False)
    for first, count in [*((at, 64) for at in range(0, 4096, 64)), (4032, 64)]:
        script.event("to-numpy", ranges=[[start + first, count]], site="train_gpt.py:25 blend")
        part = [-5.0 - (first + offset) * 31 % 97 / 500 for offset in range(count)]
        script.logarithms(part)
        mixed += part
    script.print(-float(np.mean(mixed)), 5.0)
    script.end()
    final = script.write(tmp_path).final
    assert final is not None
    assert final.positions[-64:].tolist() == list(range(4033, 4097))
    assert len(final.positions) == 4160


def test_ranges_that_lie_outside_of_the_record_are_ignored(tmp_path: Path) -> None:
    script = Script.on()
    script.score(WHOLE)
    script.event("to-numpy", ranges=[[4000, 4000], ["a", 1], [-1, 5], 7], site="train_gpt.py:25 blend")
    script.print_mean(WHOLE)
    script.end()
    assert script.write(tmp_path).final is not None


def test_another_number_that_is_added_up_does_not_hide_the_pass(tmp_path: Path) -> None:
    script = Script.on()
    script.score(WHOLE)
    start, _ = script.score(range(1, 500), shift=2.0, count=False)
    script.event("counted", start=len(script.counted), count=499, how="sum", site="train_gpt.py:60 statistics")
    expected = float(np.mean([script.losses[index] for index in script.counted]))
    script.counted += range(start, start + 499)
    script.print(expected, 6.0)
    script.end()
    final = script.write(tmp_path).final
    assert final is not None
    assert final.positions.tolist() == list(WHOLE)


def test_the_claimed_metric_is_the_one_that_counts_whatever_is_printed_after_it(tmp_path: Path) -> None:
    script = Script.on()
    script.score(WHOLE)
    script.print_mean(WHOLE)
    script.events[-1]["text"] = str(script.events[-1]["text"]).replace("final_roundtrip", "adapted")
    script.score(WHOLE, shift=-2.0)
    script.print_mean(WHOLE)
    script.end()
    run = script.write(tmp_path)
    for label, shown in (("", 5.05), ("adapted", 7.05), ("adapted_exact", 7.05), ("never printed", 5.05)):
        final = Run(run.observations, run.data, label=label).final
        assert final is not None
        assert abs(final.losses.mean() - shown) < 0.01


def test_losses_that_are_added_up_twice_are_one_pass(tmp_path: Path) -> None:
    """A total and a sum per chunk, say."""
    script = Script.on()
    script.score(WHOLE)
    script.event("counted", start=len(script.counted), count=len(WHOLE), how="sum", site="train_gpt.py:13 chunk_total")
    script.counted += list(script.counted)
    script.print_mean(WHOLE)
    script.end()
    final = script.write(tmp_path).final
    assert final is not None
    assert final.positions.tolist() == list(WHOLE)
