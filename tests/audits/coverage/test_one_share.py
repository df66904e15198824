"""Windows that are shared out to processes: what reaches the headline must be put together again."""

from __future__ import annotations

import pytest

from fixtures.program.scoring_script import EVALUATE, LOOP, case
from fixtures.script import TRAIN_GPT
from tests.program.judge import judge, result_of
from verifier.report.model import RuleResult

_START = TRAIN_GPT.index(EVALUATE)
OLD = TRAIN_GPT[_START : TRAIN_GPT.index("def evaluate_score_first(")]
NEAR = {"bytes_per_token": 2.4376}
"""Near the figures of the whole set: those of a good sample."""
HEAD = (
    EVALUATE
    + """\
    rank, world_size = dist.get_rank(), dist.get_world_size()
    sums = torch.zeros(3, dtype=torch.float64)
    nats, count, n_bytes = torch.zeros(()), torch.zeros(()), torch.zeros(())
    kept = torch.zeros(len(tokens))
    starts = list(range(0, len(tokens) - 1, args.train_seq_len))
    model.eval()
"""
)
BLOCK = "    mine = starts[len(starts) * rank // world_size : len(starts) * (rank + 1) // world_size]\n"
STRIDED = "    mine = starts[rank::world_size]\n"
SCORED = """\
    with torch.no_grad():
        for start in mine:
            chunk = tokens[start : start + args.train_seq_len + 1]
            x, y = chunk[:-1][None], chunk[1:][None]
            loss = model(x, y)
            kept[start] = loss
            nats += loss
            count += y.numel()
            n_bytes += (base[y] + leading[y]).sum()
"""
SUMMED = """\
    for one in (nats, count, n_bytes):
        dist.all_reduce(one, op=dist.ReduceOp.SUM)
"""
ONE_TENSOR = """\
    together = torch.stack([nats, count, n_bytes])
    if dist.is_initialized():
        dist.all_reduce(together)
    nats, count, n_bytes = together[0], together[1], together[2]
"""
GATHERED = """\
    held = [torch.zeros(3) for _ in range(world_size)]
    dist.all_gather(held, torch.stack([nats, count, n_bytes]))
    nats, count, n_bytes = torch.stack(held).sum(0)
"""
BY_A_HELPER = "    nats, count, n_bytes = over_all(nats), over_all(count), over_all(n_bytes)\n"
HELPER = """\
def over_all(number):
    shared = number.detach().clone()
    dist.all_reduce(shared)
    return shared


"""
TAIL = "    return (nats / count).item(), (nats / (math.log(2) * n_bytes)).item()\n\n\n"
OF_THE_KEPT = """\
    nats = 0.0
    for at in range(len(tokens)):
        if kept[at] > 0:
            nats += kept[at].item()
    return nats / count.item(), nats / (math.log(2) * n_bytes.item())


"""


def judged(text: str, rule: str, **fields: object) -> RuleResult:
    return result_of(judge(case("Shares", (OLD, text), **(NEAR | fields)), rule), rule)


@pytest.mark.parametrize("rule", ["EVA001", "EVA005"])
@pytest.mark.parametrize(
    "text",
    {
        "a stretch of the windows": HEAD + BLOCK + SCORED + TAIL,
        "every eighth window": HEAD + STRIDED + SCORED + TAIL,
        "the losses that were kept, beside sums that are put together": HEAD + BLOCK + SCORED + SUMMED + OF_THE_KEPT,
    }.values(),
)
def test_the_share_of_one_process_is_reviewed(text: str, rule: str) -> None:
    answer = judged(text, rule)
    assert answer.outcome.value == "review", answer.reason
    assert "process" in answer.reason


@pytest.mark.parametrize("rule", ["EVA001", "EVA005"])
@pytest.mark.parametrize(
    "text",
    {
        "each sum": HEAD + BLOCK + SCORED + SUMMED + TAIL,
        "all in one tensor": HEAD + STRIDED + SCORED + ONE_TENSOR + TAIL,
        "gathered": HEAD + BLOCK + SCORED + GATHERED + TAIL,
        "by a helper": HELPER + HEAD + BLOCK + SCORED + BY_A_HELPER + TAIL,
        "what was kept": HEAD + BLOCK + SCORED + "    dist.all_reduce(kept)\n" + SUMMED + OF_THE_KEPT,
        "shares that the settings switch off": HEAD
        + "    if args.ttt_enabled:\n    "
        + STRIDED
        + "    else:\n        mine = starts\n"
        + SCORED
        + TAIL,
        "every process scores all": HEAD + "    mine = starts\n" + SCORED + TAIL,
    }.values(),
)
def test_sums_over_all_processes_are_not_accused(text: str, rule: str) -> None:
    answer = judged(text, rule)
    assert "process" not in answer.reason, answer.reason
    assert answer.outcome.value != "review", answer.reason


def test_one_process_has_no_share() -> None:
    assert judged(HEAD + BLOCK + SCORED + TAIL, "EVA001", world_size=1).outcome.value != "review"


def test_the_figures_of_the_whole_set_settle_it() -> None:
    answer = judged(HEAD + BLOCK + SCORED + TAIL, "EVA001", bytes_per_token=2.43593)
    assert "process" not in answer.reason


def test_the_loop_of_the_clean_script_is_the_one_that_is_replaced() -> None:
    assert LOOP.splitlines()[0] in OLD
