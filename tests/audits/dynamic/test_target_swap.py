"""Target swap: sums of probabilities, and what makes copies untrustworthy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from audits.dynamic.probe import Probe
from audits.dynamic.target_swap import FULL, PLAIN, judge, probe_full_swap, probe_swap
from tests.execution.records import TOKENIZER, Script
from verifier.execution.bench import Attempt
from verifier.execution.experiment import Experiment, Swap, branching_point, scoring_points
from verifier.execution.launch import Ending
from verifier.execution.passes import Run
from verifier.execution.toy_data import make_data, swap_token
from verifier.execution.transform import Replacement
from verifier.rule import Outcome
from verifier.sandbox.policy import Reason

WHOLE = range(1, 4097)
PLACE = 3000
VALUES = (7, 300, 411)
ENDED = Ending(Reason.FINISHED, 0, 1.0, 0, "namespaces", "", "")
REPLACED = (Replacement("train_gpt.py", 50, "", 4_194_304, 512),)


def told(folder: Path, value: int | None = None, loss: float = 7.0, prefix: float = 0.0) -> Run:
    """A run whose target at `PLACE` is `value` and has `loss`; `prefix` is added to all losses before it."""
    script = Script.on()
    if value is not None:
        script.data = swap_token(script.data, PLACE, value)
    script.score(range(1, PLACE), shift=prefix)
    script.score(range(PLACE, PLACE + 8), shift=loss - 7 - (PLACE * 37 % 101) / 1000)
    script.score(range(PLACE + 8, 4097))
    script.print_mean(WHOLE)
    script.end()
    return script.write(folder)


def attempt(run: Run, branches: tuple[Run | None, ...] = ()) -> Attempt:
    return Attempt("x", ENDED, run, "end", {}, branches)


def swap(tmp_path: Path, *losses: float, prefix: float = 0.0, check: float | None = None) -> Swap:
    branches = tuple(told(tmp_path / f"branch-{value}", value, loss, prefix) for value, loss in zip(VALUES, losses, strict=True))
    checked = told(tmp_path / "check", VALUES[0], losses[0] if check is None else check, prefix)
    trunk = attempt(told(tmp_path / "trunk"), branches)
    return Swap(tuple((PLACE, value) for value in VALUES), attempt(checked), trunk)


def ask(made: Swap) -> Probe:
    return probe_swap(Experiment(base=made.trunk, swap=made))


def test_alternatives_that_share_what_there_is(tmp_path: Path) -> None:
    answer = ask(swap(tmp_path, 3.0, 4.0, 5.0))
    # Four of 512 alternatives do not tell.
    assert answer.outcome is Outcome.NOT_AVAILABLE
    expected = math.exp(-7) + math.exp(-3) + math.exp(-4) + math.exp(-5)
    assert answer.facts[f"sum_at_{PLACE}"] == pytest.approx(expected, rel=1e-3)


def test_some_alternatives_above_one_are_proof(tmp_path: Path) -> None:
    answer = ask(swap(tmp_path, 0.5, 0.6, 0.7))
    assert answer.outcome is Outcome.FAIL
    assert answer.sites == ("train_gpt.py:9 forward",)


def test_a_copy_that_differs_from_a_run_from_the_start_proves_nothing(tmp_path: Path) -> None:
    answer = ask(swap(tmp_path, 0.5, 0.6, 0.7, check=0.51))
    assert answer.outcome is Outcome.NOT_AVAILABLE
    assert "from the start" in answer.summary


def test_scores_before_the_target_that_move_are_for_a_human(tmp_path: Path) -> None:
    answer = ask(swap(tmp_path, 3.0, 4.0, 5.0, prefix=0.01))
    assert answer.outcome is Outcome.REVIEW
    assert "moved in 3" in answer.summary


@pytest.mark.parametrize(
    ("total", "count", "outcome"),
    [
        (1.0, 64, Outcome.PASS),
        (0.99999, 64, Outcome.PASS),
        (0.98, 63, Outcome.PASS),
        (0.4, 20, Outcome.NOT_AVAILABLE),
        (1.0015, 64, Outcome.REVIEW),
        (1.05, 64, Outcome.FAIL),
        (125.0, 20, Outcome.FAIL),
        (0.9, 64, Outcome.REVIEW),
    ],
)
def test_sums(total: float, count: int, outcome: Outcome) -> None:
    answer = judge(
        PLAIN,
        {10: (1.0, 64, 0), 20: (total, count, 0)} if outcome is not Outcome.NOT_AVAILABLE else {20: (total, count, 0)},
        64,
        "",
        "",
        (),
    )
    assert answer.outcome is outcome


def test_what_a_transformed_run_shows_is_labelled(tmp_path: Path) -> None:
    made = swap(tmp_path, 0.5, 0.6, 0.7)
    answer = probe_full_swap(Experiment(base=made.trunk, transformed=made, replacements=REPLACED))
    assert (answer.name, answer.outcome) == (FULL, Outcome.FAIL)
    assert "[transformed: train_gpt.py:50 4194304 -> 512]" in answer.summary
    assert answer.facts["transformed"] == "[transformed: train_gpt.py:50 4194304 -> 512]"


def test_nothing_to_transform_and_nothing_run(tmp_path: Path) -> None:
    base = attempt(told(tmp_path / "base"))
    assert probe_full_swap(Experiment(base=base)).outcome is Outcome.NOT_APPLICABLE
    assert probe_full_swap(Experiment(base=base, replacements=REPLACED)).outcome is Outcome.NOT_AVAILABLE
    assert probe_full_swap(Experiment()).outcome is Outcome.NOT_AVAILABLE
    answer = probe_swap(Experiment(base=base, left_out=("target swap: the time was used up",)))
    assert (answer.outcome, answer.stage) == (Outcome.NOT_AVAILABLE, "not run")


def test_where_a_process_is_copied(tmp_path: Path) -> None:
    script = Script.on()
    script.update(script.score(range(1, 9), grad=True, count=False))
    script.event("file", path="final_model.ptz", mode="w", by="open", site="")
    script.event("file", path="a/final_model.ptz", mode="r", by="open", site="")
    before = len(script.events)
    script.score(range(1, 2049))
    script.score(range(2049, 4097))
    script.print_mean(WHOLE)
    script.event("file", path="final_model.ptz", mode="r", by="open", site="")
    script.end()
    run = script.write(tmp_path)
    assert branching_point(run) == {"kind": "file", "name": "final_model.ptz", "count": 1}
    # Between the two scorings of halves, each with its count.
    assert scoring_points(run, [100, PLACE]) == {100: before - 1, PLACE: before + 1}


def test_without_an_artifact_the_last_update_counts(tmp_path: Path) -> None:
    script = Script.on()
    script.update(script.score(range(1, 9), grad=True, count=False))
    script.update(script.score(range(1, 9), grad=True, count=False))
    script.score(WHOLE)
    script.print_mean(WHOLE)
    script.end()
    assert branching_point(script.write(tmp_path)) == {"kind": "update", "count": 2}
    assert len(make_data(TOKENIZER, 11).val) == 4097
