"""Answers of the validation rules that the cases don't reach: doubt, words alone, scripts that can't be read."""

from __future__ import annotations

import pytest

from audits.validation import RULES
from fixtures.program.editing import before, record
from fixtures.program.validation_weights import CASES
from fixtures.record import Record
from tests.program.judge import judge, result_of
from verifier.rule import Outcome

STATE = "    state = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}"
STEP = (
    "for start in range(0, len(val) - 1, 1024):",
    "    loss = model(val[start : start + 1024][None], val[start + 1 : start + 1025][None])",
    "    loss.backward()",
    "    optimizer.step()",
)
PROGRAM_RULES = ("VAL001", "VAL002", "VAL004", "VAL005", "EVA005", "CAU001")


def outcome(case: Record, code: str) -> Outcome:
    return result_of(judge(case, code), code).outcome


@pytest.mark.parametrize("code", PROGRAM_RULES)
def test_a_clean_folder_passes(code: str) -> None:
    assert outcome(Record(), code) is Outcome.PASS


@pytest.mark.parametrize("code", PROGRAM_RULES)
def test_without_a_script_there_is_no_answer(code: str) -> None:
    assert outcome(Record(without=("train_gpt.py",)), code) is Outcome.NOT_AVAILABLE


@pytest.mark.parametrize("code", PROGRAM_RULES)
def test_a_script_that_can_not_be_read_never_passes(code: str) -> None:
    assert outcome(Record(script="def main(:\n    pass\n"), code) is Outcome.NOT_AVAILABLE


def test_a_setting_without_a_known_value_leaves_doubt() -> None:
    asked = record("Asked", before(STATE, 'if os.environ["EXTRA"] == "1":', *("    " + line for line in STEP)))
    assert outcome(asked, "VAL001") is Outcome.REVIEW


def test_weights_that_are_changed_after_the_claimed_score_are_for_a_human() -> None:
    later = record("Later", before("    if args.ttt_enabled:", *STEP, 'torch.save(model.state_dict(), "released.pt")'))
    assert outcome(later, "VAL001") is Outcome.REVIEW
    assert outcome(record("First", before(STATE, *STEP)), "VAL001") is Outcome.FAIL


def test_an_average_of_the_training_s_weights_is_no_calibration() -> None:
    averaged = record(
        "Averaged",
        before(
            STATE,
            "average = {name: tensor.clone() for name, tensor in model.state_dict().items()}",
            "model.load_state_dict(average)",
        ),
    )
    assert outcome(averaged, "TIM003") is Outcome.PASS


LOOKED_UP = (
    "kept = model.state_dict()",
    "names = [(one, one) for one in train.tolist()]",
)


@pytest.mark.parametrize(
    ("value", "expected"), [("kept[name]", Outcome.PASS), ("model.mix(model.embed(train[:64][None]))[0]", Outcome.FAIL)]
)
def test_weights_that_are_looked_up_by_name_meet_no_data(value: str, expected: Outcome) -> None:
    # The names come from an object that holds training data: names are no data.
    loaded = f"model.load_state_dict({{name: {value} for name, _ in names}})"
    assert outcome(record("Kept", before(STATE, *LOOKED_UP, loaded)), "TIM003") is expected


@pytest.mark.parametrize(("reserve", "expected"), [("12.0", Outcome.REVIEW), ("0.0", Outcome.FAIL)])
def test_a_script_with_a_reserve_is_not_said_to_have_none(reserve: str, expected: Outcome) -> None:
    (case,) = (one for one in CASES if (one.rule, one.slug) == ("TIM003", "ranges"))
    setting = f'    reserve_seconds = float(os.environ.get("CALIBRATION_RESERVE_SECONDS", {reserve}))\n    ttt_enabled ='
    changed = case.record.but(script=case.record.script.replace("    ttt_enabled =", setting))
    assert outcome(changed, "TIM003") is expected


@pytest.mark.parametrize(
    ("blurb", "expected"),
    [
        ("Trained on the validation shard only.", Outcome.REVIEW),
        ("Not trained on the validation set.", Outcome.PASS),
        ("Score-first TTT trains on validation tokens already scored.", Outcome.PASS),
    ],
)
def test_words_alone_ask_for_a_look(blurb: str, expected: Outcome) -> None:
    assert outcome(Record(claim={"blurb": blurb}), "VAL001") is expected


@pytest.mark.parametrize(
    ("blurb", "expected"),
    [
        ("The mixer's alpha was swept on the validation stream.", Outcome.FAIL),
        ("Mixture temperature tuned for BPB.", Outcome.REVIEW),
        ("The gate was not tuned on validation data.", Outcome.PASS),
        ("Learning rates come from a sweep scored in BPB.", Outcome.PASS),
    ],
)
def test_words_about_a_sweep_count_for_what_mixes_at_evaluation(blurb: str, expected: Outcome) -> None:
    assert outcome(Record(claim={"blurb": blurb}), "VAL005") is expected


def test_every_rule_of_the_package_is_declared_once() -> None:
    codes = [rule.code for rule in RULES]
    assert len(codes) == len(set(codes))
    assert {*PROGRAM_RULES, "CAU002", "EVA003"} == set(codes)
