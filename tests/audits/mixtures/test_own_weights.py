"""Weights and gates of mixtures by the score of the very token that is predicted."""

from __future__ import annotations

import pytest

from fixtures.program.mixtures_base import record
from fixtures.program.mixtures_weights import BY_THE_ANSWER, BY_WHAT_IS_KNOWN
from tests.program.judge import judge, result_of


@pytest.mark.parametrize("name", BY_THE_ANSWER)
def test_a_weight_or_gate_by_the_token_s_own_score_fails(name: str) -> None:
    answer = result_of(judge(record("Variant", BY_THE_ANSWER[name]), "NGR002"), "NGR002")
    assert answer.outcome.value == "fail", answer.reason


@pytest.mark.parametrize("name", BY_WHAT_IS_KNOWN)
def test_a_weight_or_gate_by_what_is_known_before_passes(name: str) -> None:
    answer = result_of(judge(record("Variant", BY_WHAT_IS_KNOWN[name]), "NGR002"), "NGR002")
    assert answer.outcome.value == "pass", answer.reason
