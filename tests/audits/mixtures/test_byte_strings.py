"""A byte model's probability of the realized token's string, mixed with the token model's."""

from __future__ import annotations

import pytest

from fixtures.program.mixtures_base import record
from fixtures.program.mixtures_strings import DIVIDED, OF_ALL_TOKENS, OF_ONE_TOKEN
from tests.program.judge import judge, result_of


def _outcome(text: str) -> tuple[str, str]:
    answer = result_of(judge(record("Variant", text), "PPM001"), "PPM001")
    return answer.outcome.value, answer.reason


@pytest.mark.parametrize("name", OF_ONE_TOKEN)
def test_the_string_of_the_realized_token_alone_fails(name: str) -> None:
    outcome, reason = _outcome(OF_ONE_TOKEN[name])
    assert outcome == "fail", reason


@pytest.mark.parametrize("name", OF_ALL_TOKENS)
def test_a_distribution_over_all_tokens_passes(name: str) -> None:
    outcome, reason = _outcome(OF_ALL_TOKENS[name])
    assert outcome == "pass", reason


def test_a_division_that_may_be_by_the_sum_over_all_tokens_is_reviewed() -> None:
    outcome, reason = _outcome(DIVIDED)
    assert outcome == "review", reason
