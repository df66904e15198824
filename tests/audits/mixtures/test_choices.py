"""Choices among scores by the target or by what came before; what is, and is not, one distribution over the alphabet."""

from __future__ import annotations

import pytest

from fixtures.program import mixtures_choices as choices
from fixtures.program.mixtures_base import record, script
from tests.program.judge import judge, result_of


def _outcome(rule: str, text: str) -> str:
    return result_of(judge(record("Variant", text), rule), rule).outcome.value


@pytest.mark.parametrize("score", choices.BETTER_BY_TARGET.values(), ids=list(choices.BETTER_BY_TARGET))
def test_the_smaller_loss_without_a_minimum_is_reviewed(score: str) -> None:
    assert _outcome("MIX002", choices.with_second_model(score)) == "review"


def test_the_smaller_of_two_listed_losses_fails() -> None:
    assert _outcome("MIX002", choices.with_second_model(choices.LESS_OF_LISTS)) == "fail"


@pytest.mark.parametrize("score", choices.CHOSEN_WHERE.values(), ids=list(choices.CHOSEN_WHERE))
def test_the_better_of_two_compared_losses_fails(score: str) -> None:
    assert _outcome("MIX002", choices.with_second_model(score)) == "fail"


@pytest.mark.parametrize("score", choices.CHOSEN_BY_THE_LOSS.values(), ids=list(choices.CHOSEN_BY_THE_LOSS))
def test_a_choice_by_the_loss_of_the_same_tokens_is_reviewed(score: str) -> None:
    assert _outcome("MIX002", choices.with_second_model(score)) == "review"


def test_a_heading_that_fits_the_headline_s_line_hides_no_choice() -> None:
    text = choices.with_second_model(choices.CHOSEN_WHERE["named mask"])
    heading = '    print("=" * 1 + "' + "= " * 20 + 'Evaluation of the whole validation text")\n'
    headed = text.replace("    val_loss, val_bpb = evaluate(", heading + "    val_loss, val_bpb = evaluate(")
    assert headed != text
    assert _outcome("MIX002", headed) == "fail"


@pytest.mark.parametrize("score", choices.BY_WHAT_CAME_BEFORE.values(), ids=list(choices.BY_WHAT_CAME_BEFORE))
def test_a_choice_by_what_came_before_passes(score: str) -> None:
    assert _outcome("MIX002", choices.with_second_model(score)) == "pass"


@pytest.mark.parametrize("score", choices.NO_DISTRIBUTION.values(), ids=list(choices.NO_DISTRIBUTION))
def test_what_could_not_be_followed_to_a_distribution_is_not_passed(score: str) -> None:
    assert _outcome("MIX001", script(score)) == "not-available"


@pytest.mark.parametrize("score", choices.DISTRIBUTIONS.values(), ids=list(choices.DISTRIBUTIONS))
def test_shares_of_distributions_over_the_alphabet_pass(score: str) -> None:
    assert _outcome("MIX001", script(score)) == "pass"


@pytest.mark.parametrize("score", choices.RAISED.values(), ids=list(choices.RAISED))
def test_mass_that_nothing_pays_for_is_reviewed(score: str) -> None:
    assert _outcome("MIX001", choices.counted(score)) == "review"


@pytest.mark.parametrize("score", choices.KEPT_FINITE.values(), ids=list(choices.KEPT_FINITE))
def test_what_gives_nothing_away_is_not_reviewed(score: str) -> None:
    assert _outcome("MIX001", choices.counted(score)) == "pass"
