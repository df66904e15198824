"""Targets that are cut out of one array more than once: for the score and for the key of a table."""

from __future__ import annotations

import pytest

from fixtures.program.mixtures_base import record, script
from tests.program.judge import judge, result_of

TABLES = """
width = 1 << 20
pairs, seen = torch.zeros(width), torch.zeros(width)
"""
SCORE = """
first, end = 0 if start == 0 else args.train_seq_len // 2, y.numel()
logits = model.logits(x[None])[0].float()
p = F.softmax(logits[first:end], dim=-1).gather(1, y[first:end].unsqueeze(1)).squeeze(1)
places = torch.arange(first, end)
used = (places > 0).nonzero(as_tuple=True)[0]
at = places[used]
after = {after}
before = x[at].unsqueeze(1)
both = torch.cat([before, after.unsqueeze(1)], dim=1)
short = torch.zeros(len(used), dtype=torch.int64)
for k in range(1):
    short = short ^ (36313 * before[:, k])
full = torch.zeros(len(used), dtype=torch.int64)
for k in range(2):
    full = full ^ (36313 * both[:, k])
share = torch.zeros(end - first)
share[used] = pairs[full % width] / seen[short % width].clamp(min=1)
nll = -torch.log(0.8 * p + 0.2 * share)
pairs.scatter_add_(0, full % width, torch.ones(len(used)))
seen.scatter_add_(0, short % width, torch.ones(len(used)))
"""


def outcome(score: str, setup: str = TABLES) -> str:
    return result_of(judge(record("Cuts", script(score, setup)), "NGR001"), "NGR001").outcome.value


@pytest.mark.parametrize("after", ["y[at]", "y[first:end][used]", "y[torch.arange(first, end)[used]]"])
def test_a_key_with_the_targets_that_are_scored_fails(after: str) -> None:
    assert outcome(SCORE.format(after=after)) == "fail"


@pytest.mark.parametrize("after", ["y[at - 1]", "x[(at - 1).clamp(min=0)]"])
def test_a_key_with_other_tokens_passes(after: str) -> None:
    assert outcome(SCORE.format(after=after)) == "pass"


ELSEWHERE = """
at = np.arange(start + 1, start + 1 + y.numel())
here = stream[at - 1] * 36313
short = here % width
full = (here ^ (stream[at] * 51647)) % width
share = np.zeros(len(full))
np.divide({over}, {under}, out=share, where=seen[short] > 0)
nll = torch.from_numpy(-np.log(0.8 * np.exp(-nll.numpy()) + 0.2 * share))
np.add.at(seen, short, 1)
np.add.at(pairs, full, 1)
"""
STREAM = "width = 1 << 20\nseen, pairs = np.zeros(width), np.zeros(width)\nstream = tokens.numpy().astype(np.int64)"


def test_a_quotient_that_is_put_into_an_array_is_one() -> None:
    assert outcome(ELSEWHERE.format(over="pairs[full]", under="np.maximum(seen[short], 1)"), STREAM) == "fail"


def test_numbers_of_the_context_alone_that_are_put_into_an_array_pass() -> None:
    assert outcome(ELSEWHERE.format(over="seen[short]", under="np.maximum(seen.sum(), 1)"), STREAM) == "pass"
