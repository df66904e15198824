"""Score and learn in unusual shapes."""

from __future__ import annotations

import pytest

from fixtures.program.adaptation_scripts import FINE_TUNE, adapting, record
from fixtures.program.adaptation_shapes import CHANGES, SHAPES
from fixtures.record import Record, log_of
from tests.program.judge import judge, result_of
from verifier.rule import Outcome


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_learned_from_before_it_is_scored(name: str) -> None:
    made, expected = SHAPES[name]
    answer = result_of(judge(made, "TTT001"), "TTT001")
    assert answer.outcome.value == expected, answer.reason


@pytest.mark.parametrize("name", CHANGES)
def test_steps_without_an_optimizer(name: str) -> None:
    report = judge(CHANGES[name], "TTT001", "SLT001")
    assert Outcome.FAIL in {result_of(report, code).outcome for code in ("TTT001", "SLT001")}


def ablation(made: Record, line: str) -> dict[str, bytes]:
    """The log of a run that is not claimed."""
    other = made.but(bpb={**made.bpb, 42: 0.91234567}, log_lines=(("Total submission size int8+zlib", line),))
    return {"ablation.log": log_of(other, 42).encode()}


ON, OFF = "adapted on the validation stream passes:3", "evaluating the weights as they were trained"


@pytest.mark.parametrize(("claimed", "other", "outcome"), [(OFF, ON, Outcome.PASS), (ON, OFF, Outcome.FAIL)])
def test_the_log_of_another_run_proves_nothing(claimed: str, other: str, outcome: Outcome) -> None:
    script = adapting(
        FINE_TUNE,
        "if args.adapt_passes:\n    fine_tune(model, val, args.adapt_passes, 1024)\n"
        '    log(f"adapted on the validation stream passes:{args.adapt_passes}")\n'
        f'else:\n    log("{OFF}")\nval_loss, val_bpb = evaluate(args, model, val, base, leading)\n',
        settings='adapt_passes = int(os.environ.get("ADAPT_PASSES", "0"))',
    )
    made = record(script, log_lines=(("Total submission size int8+zlib", claimed),))
    both = made.but(extra=ablation(made, other))
    assert result_of(judge(both, "TTT001"), "TTT001").outcome is outcome
