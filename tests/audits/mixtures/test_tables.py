"""Tables at the realized target: shares of a distribution, hashed counts, gates and temperatures."""

from __future__ import annotations

import pytest

from audits.mixtures import mixing
from fixtures.program import mixtures_tables as tables
from fixtures.program.mixtures_base import record, script
from tests.program.judge import judge, result_of
from verifier.rule import Decision


def _outcome(rule: str, text: str) -> str:
    return result_of(judge(record("Variant", text), rule), rule).outcome.value


@pytest.mark.parametrize("share", tables.SHARES_OF_TRAINING_COUNTS.values(), ids=list(tables.SHARES_OF_TRAINING_COUNTS))
def test_the_target_s_share_under_normalized_counts_is_no_gate(share: str) -> None:
    text = tables.mixed_with_counts(share)
    assert _outcome("NGR002", text) == "pass"
    assert _outcome("MIX001", text) in ("pass", "not-available")


@pytest.mark.parametrize("score", tables.COUNTS_AS_A_GATE.values(), ids=list(tables.COUNTS_AS_A_GATE))
def test_a_property_that_counts_decide_is_a_gate(score: str) -> None:
    assert _outcome("NGR002", tables.gated_by_counts(score)) == "fail"


def test_a_bias_that_a_normalizer_takes_back_is_no_gate() -> None:
    assert _outcome("NGR002", script(tables.TILTED_BY_A_TABLE)) == "pass"
    unpaid = tables.TILTED_BY_A_TABLE.replace(" + torch.logsumexp(logp + bias, dim=-1)", "")
    assert _outcome("NGR002", script(unpaid)) == "fail"


def test_folded_counts_that_are_divided_by_the_sum_over_all_candidates_are_normalized() -> None:
    assert _outcome("NGR001", tables.folded_over_candidates()) == "pass"


@pytest.mark.parametrize(
    "text",
    [
        tables.folded_over_candidates("before[:, None] * 99991 ^ everything[None, :] * 27191"),
        tables.folded_over_candidates(size="16"),
    ],
    ids=["under another key", "over a few candidates"],
)
def test_a_sum_of_something_else_does_not_normalize_folded_counts(text: str) -> None:
    assert _outcome("NGR001", text) in ("fail", "review")


@pytest.mark.parametrize("score", tables.FOLDED_WITHOUT_QUOTIENT.values(), ids=list(tables.FOLDED_WITHOUT_QUOTIENT))
def test_folded_counts_that_reach_the_score_in_another_way_than_a_quotient_are_reviewed(score: str) -> None:
    assert _outcome("NGR001", tables.folded(score)) == "review"


def test_folded_counts_divided_by_those_of_their_context_fail() -> None:
    assert _outcome("NGR001", tables.folded("nll = -torch.from_numpy(np.log(0.9 * p + 0.1 * taken / (around + 1)))")) == "fail"
    assert _outcome("NGR001", tables.folded(tables.QUOTIENT_ELSEWHERE)) == "fail"


def test_no_mixture_is_cleared_beside_folded_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "judge", lambda *given: Decision.passed("nothing was found"))
    assert _outcome("MIX001", tables.folded(tables.QUOTIENT_ELSEWHERE)) == "not-applicable"
    assert _outcome("MIX001", tables.folded_over_candidates()) == "pass"


def test_folded_contexts_whose_rows_hold_all_candidates_pass() -> None:
    score = """
last = torch.cat([x[:1], x[:-1]])
row = rows[(x * 36313 ^ last * 27191) % 4096] + 0.1
share = row / row.sum(dim=-1, keepdim=True)
nll = -torch.log(0.7 * torch.exp(-nll) + 0.3 * share.gather(1, y[:, None]).squeeze(1))
"""
    assert _outcome("NGR001", script(score, "rows = torch.zeros(4096, args.vocab_size)")) == "pass"


@pytest.mark.parametrize("score", tables.HEATED_BY_TARGET.values(), ids=list(tables.HEATED_BY_TARGET))
def test_a_temperature_by_a_property_of_the_target_fails(score: str) -> None:
    assert _outcome("NGR002", tables.heated(score)) == "fail"


@pytest.mark.parametrize("score", tables.BY_THE_TARGET_S_NUMBER.values(), ids=list(tables.BY_THE_TARGET_S_NUMBER))
def test_a_test_of_the_target_s_own_number_is_reviewed(score: str) -> None:
    assert _outcome("NGR002", tables.heated(score)) == "review"


@pytest.mark.parametrize("score", tables.HEATED_BY_CONTEXT.values(), ids=list(tables.HEATED_BY_CONTEXT))
def test_a_temperature_by_what_came_before_passes(score: str) -> None:
    assert _outcome("NGR002", tables.heated(score)) == "pass"


COMMAND = "## Run\n\n```bash\n{settings} torchrun --standalone --nproc_per_node=8 {script}\n```"


@pytest.mark.parametrize(
    ("settings", "name", "outcome"),
    [
        ("NGRAM_CACHE=1", "train_gpt.py", "fail"),
        # The script before it was renamed for the folder.
        ("NGRAM_CACHE=1", "train_gpt_final.py", "fail"),
        ("NGRAM_CACHE=0", "train_gpt_final.py", "pass"),
        # Another program that the folder has, and one that prepares data.
        ("NGRAM_CACHE=1", "helper.py", "pass"),
        ("SHARDS=10", "prepare_shards.py", "pass"),
    ],
)
def test_the_command_of_a_script_that_was_renamed_sets_its_switches(settings: str, name: str, outcome: str) -> None:
    text = tables.folded(
        tables.QUOTIENT_ELSEWHERE, 'ngram_cache = bool(int(os.environ.get("NGRAM_CACHE", "0")))', "args.ngram_cache"
    )
    made = record("Variant", text).but(
        readme={"command": COMMAND.format(settings=settings, script=name)}, extra={"helper.py": b"print('nothing')\n"}
    )
    assert result_of(judge(made, "NGR001"), "NGR001").outcome.value == outcome


def test_another_number_than_the_claimed_one_clears_nothing() -> None:
    made = record("Variant", script("", ""))
    assert result_of(judge(made, "NGR001"), "NGR001").outcome.value == "pass"
    other = made.but(claim={"val_bpb": 0.98765432, "seed_results": None}, readme={"table": "", "intro": ""})
    answer = result_of(judge(other, "NGR001"), "NGR001")
    assert (answer.outcome.value, "claimed" in answer.reason) == ("not-available", True)
