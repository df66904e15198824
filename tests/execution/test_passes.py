"""The pass behind the printed number is rebuilt, or there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.execution.records import Script

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
